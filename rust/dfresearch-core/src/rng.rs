//! Random numbers that are a function of where they are used, never of who asked first.
//!
//! Every number comes from Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw: *Parallel Random
//! Numbers: As Easy as 1, 2, 3*, SC 2011). A sample's numbers depend on (seed, epoch, sample, stream) alone, so any
//! number of threads draws the same ones.
//!
//! ```text
//!  key     = seed                        key     = d0 d1
//!  counter = epoch, sample  ─ Philox ─►  counter = block, d2, stream  ─ Philox ─►  four words a block
//! ```
//!
//! Normals use additions, products, quotients and square roots of `f32` only, each correctly rounded and none fused:
//! they are the same bits on every CPU.

use std::array::from_fn;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_PI_4, LN_2};

/// Philox's multipliers and the Weyl sequence of its key (section 4.3 of the paper).
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Blocks that are computed side by side for normals: enough that the compiler keeps loops, which it vectorises.
const LANES: usize = 64;

/// How many normals [`CounterRng::normals`] makes at a time.
pub const NORMALS_PER_CALL: usize = 4 * LANES;

/// What a sample's random numbers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RandomKey {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, counted from zero.
    pub epoch: u64,
    /// The sample's place in the dataset.
    pub sample: u64,
}

/// One stream of random numbers of one sample.
///
/// ```
/// use dfresearch_core::rng::{CounterRng, RandomKey};
///
/// let key = RandomKey { seed: 1, epoch: 0, sample: 7 };
/// assert_eq!(CounterRng::new(key, 3).next_u64(), CounterRng::new(key, 3).next_u64());
/// assert_ne!(CounterRng::new(key, 3).next_u64(), CounterRng::new(key, 4).next_u64());
/// ```
#[derive(Debug, Clone)]
pub struct CounterRng {
    key: [u32; 2],
    /// The next block's counter; its first word counts the blocks.
    counter: [u32; 4],
    words: [u32; 4],
    words_used: usize,
}

impl CounterRng {
    /// Starts `stream` of the sample that `key` names.
    pub fn new(key: RandomKey, stream: u64) -> Self {
        let [epoch_low, epoch_high] = halves(key.epoch);
        let [sample_low, sample_high] = halves(key.sample);
        let derived = philox([epoch_low, epoch_high, sample_low, sample_high], halves(key.seed));
        let [stream_low, stream_high] = halves(stream);
        Self {
            key: [derived[0], derived[1]],
            counter: [0, derived[2], stream_low, stream_high],
            words: [0; 4],
            words_used: 4,
        }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.words_used == self.words.len() {
            self.words = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.words_used = 0;
        }
        let word = self.words[self.words_used];
        self.words_used += 1;
        word
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between `low` and `high`.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        (low + (high - low) * self.uniform()).clamp(low, high)
    }

    /// A whole number in `0..count`, each as likely as the others to within 2⁻⁶⁴; 0 for a `count` of 0.
    pub fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(count)) >> 64) as u64
    }

    /// Fills `out` with normals of mean 0 and standard deviation 1, starting at a fresh block.
    pub fn fill_standard_normals(&mut self, out: &mut [f32]) {
        for chunk in out.chunks_mut(NORMALS_PER_CALL) {
            chunk.copy_from_slice(&self.normals()[..chunk.len()]);
        }
    }

    /// The next normals of mean 0 and standard deviation 1, from whole blocks.
    ///
    /// Always inlined, so that it is compiled for the CPU features of the loop that calls it.
    #[inline(always)]
    pub fn normals(&mut self) -> [f32; NORMALS_PER_CALL] {
        let words = philox_lanes(self.counter, self.key);
        self.counter[0] = self.counter[0].wrapping_add(LANES as u32);
        self.words_used = self.words.len();
        let mut normals = [0.0; NORMALS_PER_CALL];
        for (pair, out) in normals.chunks_exact_mut(2 * LANES).enumerate() {
            let (first, second) = out.split_at_mut(LANES);
            for lane in 0..LANES {
                [first[lane], second[lane]] = normal_pair(words[2 * pair][lane], words[2 * pair + 1][lane]);
            }
        }
        normals
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Philox4x32-10 of one counter.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut words = counter;
    let mut round_key = key;
    for _ in 0..ROUNDS {
        words = philox_round(words, round_key);
        round_key = next_round_key(round_key);
    }
    words
}

/// Philox4x32-10 of [`LANES`] consecutive counters, `[word][lane]`.
#[inline(always)]
fn philox_lanes(first_counter: [u32; 4], key: [u32; 2]) -> [[u32; LANES]; 4] {
    let mut words: [[u32; LANES]; 4] = from_fn(|word| [first_counter[word]; LANES]);
    words[0] = from_fn(|lane| first_counter[0].wrapping_add(lane as u32));
    let mut round_key = key;
    for _ in 0..ROUNDS {
        let mut mixed = [[0; LANES]; 4];
        for lane in 0..LANES {
            let round = philox_round(from_fn(|word| words[word][lane]), round_key);
            for word in 0..4 {
                mixed[word][lane] = round[word];
            }
        }
        words = mixed;
        round_key = next_round_key(round_key);
    }
    words
}

#[inline(always)]
fn philox_round(words: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let first = u64::from(MULTIPLIERS[0]) * u64::from(words[0]);
    let second = u64::from(MULTIPLIERS[1]) * u64::from(words[2]);
    [
        (second >> 32) as u32 ^ words[1] ^ key[0],
        second as u32,
        (first >> 32) as u32 ^ words[3] ^ key[1],
        first as u32,
    ]
}

#[inline(always)]
fn next_round_key(key: [u32; 2]) -> [u32; 2] {
    from_fn(|half| key[half].wrapping_add(KEY_STEPS[half]))
}

/// Two independent normals from two random words (Box and Muller, 1958).
///
/// ```text
///  radius word  31 bits ─► u in (0, 1]          ─► radius = sqrt(-2 ln u), at most 6.66
///  angle word   30 bits ─► angle in [-π/4, π/4) ─► (cos, sin); its two low bits pick the quarter of the circle
/// ```
#[inline(always)]
fn normal_pair(radius_word: u32, angle_word: u32) -> [f32; 2] {
    const SMALLEST_STEP: f32 = 1.0 / (1u32 << 31) as f32;
    let uniform = ((radius_word >> 1) as i32 as f32 + 0.5) * SMALLEST_STEP;
    let radius = (-2.0 * natural_logarithm(uniform)).sqrt();

    let angle = (angle_word & !3) as i32 as f32 * (FRAC_PI_4 * SMALLEST_STEP);
    let squared = angle * angle;
    // Taylor series; at π/4 the first missing term is below half a unit in the last place.
    let sine = angle
        * (1.0
            + squared
                * (-1.0 / 6.0 + squared * (1.0 / 120.0 + squared * (-1.0 / 5040.0 + squared / 362_880.0))));
    let cosine = 1.0
        + squared
            * (-1.0 / 2.0 + squared * (1.0 / 24.0 + squared * (-1.0 / 720.0 + squared * (1.0 / 40_320.0))));
    let cosine_sign = (angle_word & 1) << 31;
    let cosine = f32::from_bits(cosine.to_bits() ^ cosine_sign);
    let swapped = angle_word & 2 != 0;
    let (first, second) = if swapped { (sine, cosine) } else { (cosine, sine) };
    [radius * first, radius * second]
}

/// The logarithm of a positive, normal `f32`, to about two units in the last place: `ln(m 2^e) = e ln 2 + 2 atanh z`
/// with `z = (m - 1) / (m + 1)` and `m` in [1/sqrt 2, sqrt 2).
#[inline(always)]
fn natural_logarithm(value: f32) -> f32 {
    const MANTISSA_BITS: u32 = 23;
    let bits = value.to_bits() as i32;
    let exponent = (bits - FRAC_1_SQRT_2.to_bits() as i32) >> MANTISSA_BITS;
    let mantissa = f32::from_bits((bits - (exponent << MANTISSA_BITS)) as u32);
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let squared = z * z;
    let series =
        2.0 + squared * (2.0 / 3.0 + squared * (2.0 / 5.0 + squared * (2.0 / 7.0 + squared * (2.0 / 9.0))));
    exponent as f32 * LN_2 + z * series
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: RandomKey = RandomKey { seed: 42, epoch: 3, sample: 1_000_003 };

    /// The known answers that Random123 publishes for philox4x32-10.
    #[test]
    fn philox_gives_the_published_answers() {
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in answers {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn lanes_are_consecutive_blocks() {
        let counter = [u32::MAX - 5, 7, 8, 9];
        let lanes = philox_lanes(counter, [1, 2]);
        for lane in 0..LANES {
            let block = [counter[0].wrapping_add(lane as u32), 7, 8, 9];
            assert_eq!(lanes.map(|word| word[lane]), philox(block, [1, 2]));
        }
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |key, stream| CounterRng::new(key, stream).next_u64();
        let mut seen = vec![first(KEY, 0)];
        for other in [
            first(RandomKey { seed: 43, ..KEY }, 0),
            first(RandomKey { seed: 42 + (1 << 32), ..KEY }, 0),
            first(RandomKey { epoch: 4, ..KEY }, 0),
            first(RandomKey { sample: 1_000_004, ..KEY }, 0),
            first(KEY, 1),
            first(KEY, 1 << 32),
        ] {
            assert!(!seen.contains(&other));
            seen.push(other);
        }
    }

    #[test]
    fn uniform_numbers_fill_the_unit_interval_evenly() {
        const DRAWS: usize = 100_000;
        let mut rng = CounterRng::new(KEY, 0);
        let mut counts = [0u32; 50];
        for _ in 0..DRAWS {
            let value = rng.uniform();
            assert!((0.0..1.0).contains(&value));
            counts[(value * 50.0) as usize] += 1;
        }
        let expected = DRAWS as f64 / 50.0;
        let chi_squared: f64 =
            counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        // 49 degrees of freedom: 0.9999 quantile.
        assert!(chi_squared < 97.1, "{chi_squared}");
    }

    #[test]
    fn ranges_and_whole_numbers_keep_their_bounds() {
        let mut rng = CounterRng::new(KEY, 1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            assert!((-2.5..=4.0).contains(&rng.range(-2.5, 4.0)));
            seen[rng.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(rng.range(3.0, 3.0), 3.0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn logarithm_and_circle_are_accurate() {
        for word in (0..u32::MAX - 70_000).step_by(65_537) {
            let value = (word as f32 + 1.0) * 2.0f32.powi(-32);
            let exact = f64::from(value).ln();
            let error = (f64::from(natural_logarithm(value)) - exact).abs();
            assert!(error <= 3e-7 * exact.abs().max(1e-6), "ln {value}: {error}");

            let [first, second] = normal_pair(0x8000_0000, word);
            let radius = (2.0 * std::f64::consts::LN_2).sqrt();
            let error = (f64::from(first).hypot(f64::from(second)) - radius).abs();
            assert!(error < 1e-6, "angle word {word}: {error}");
        }
        let [largest, _] = normal_pair(0, 0).map(f32::abs);
        assert!((6.6..6.7).contains(&largest), "{largest}");
    }

    /// The distribution function of the standard normal (Marsaglia's series, 2004).
    fn normal_distribution(value: f64) -> f64 {
        let (mut sum, mut term, mut divisor) = (value, value, 1.0);
        while term.abs() > 1e-17 {
            divisor += 2.0;
            term *= value * value / divisor;
            sum += term;
        }
        0.5 + sum * (-0.5 * value * value).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn normals_follow_the_normal_distribution() {
        const COUNT: usize = 1 << 20;
        let mut normals = vec![0.0f32; COUNT];
        CounterRng::new(KEY, 2).fill_standard_normals(&mut normals);
        let count = COUNT as f64;
        let moment =
            |power: i32| normals.iter().map(|&value| f64::from(value).powi(power)).sum::<f64>() / count;
        // Five standard errors of the first four moments.
        assert!(moment(1).abs() < 5.0 / count.sqrt());
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / count).sqrt());
        assert!(moment(3).abs() < 5.0 * (15.0 / count).sqrt());
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / count).sqrt());
        // Neighbours are independent: in pairs, in lanes, in calls.
        for distance in [1, LANES, 2 * LANES, NORMALS_PER_CALL] {
            let products =
                normals.iter().zip(&normals[distance..]).map(|(&a, &b)| f64::from(a) * f64::from(b));
            assert!((products.sum::<f64>() / count).abs() < 5.0 / count.sqrt(), "distance {distance}");
        }

        normals.sort_by(f32::total_cmp);
        let farthest = normals.iter().enumerate().map(|(rank, &value)| {
            let expected = normal_distribution(f64::from(value));
            (expected - rank as f64 / count).abs().max((expected - (rank + 1) as f64 / count).abs())
        });
        let statistic = farthest.fold(0.0, f64::max) * count.sqrt();
        // Kolmogorov's distribution: 0.9999 quantile.
        assert!(statistic < 2.23, "{statistic}");
    }

    #[test]
    fn normals_do_not_depend_on_how_many_are_asked_for() {
        let mut long = vec![0.0; 1000];
        let mut short = vec![0.0; 300];
        CounterRng::new(KEY, 2).fill_standard_normals(&mut long);
        CounterRng::new(KEY, 2).fill_standard_normals(&mut short);
        assert_eq!(long[..300], short);
    }
}
