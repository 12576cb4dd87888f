//! The discrete cosine transform in 8 points, forward and inverse, of Loeffler, Ligtenberg and Moschytz (1989): as the
//! IJG's accurate integer transform rounds it.
//!
//! Each direction is one pass along the rows of a block and one along its columns. Constants have 13 fractional bits,
//! and what goes from the first pass to the second keeps 2 more bits than the samples. Sums of products have 32 bits and
//! are rounded only at the end of a pass, so that any order of exact steps gives the same result: here the rotations are
//! multiplied out into dot products of pairs, for which processors have an instruction.

use super::lanes::Lanes;

/// Fractional bits of the constants.
const CONSTANT_BITS: i32 = 13;
/// Bits that the numbers between both passes have more than samples.
const FIRST_PASS_BITS: i32 = 2;
/// A block's coefficients are eight times the standard's: the inverse transform takes that back.
const BLOCK_SCALE_BITS: i32 = 3;

/// `factor` in fixed point.
const fn fixed(factor: f64) -> i16 {
    (factor * (1 << CONSTANT_BITS) as f64 + 0.5) as i16
}

// Sums and differences of sqrt(2) * cos(k * pi / 16), as the algorithm's flow graph names them.
const F_0_298: i16 = fixed(0.298_631_336);
const F_0_390: i16 = fixed(0.390_180_644);
const F_0_541: i16 = fixed(0.541_196_100);
const F_0_765: i16 = fixed(0.765_366_865);
const F_0_899: i16 = fixed(0.899_976_223);
const F_1_175: i16 = fixed(1.175_875_602);
const F_1_501: i16 = fixed(1.501_321_110);
const F_1_847: i16 = fixed(1.847_759_065);
const F_1_961: i16 = fixed(1.961_570_560);
const F_2_053: i16 = fixed(2.053_119_869);
const F_2_562: i16 = fixed(2.562_915_447);
const F_3_072: i16 = fixed(3.072_711_026);

/// The even part's rotation of two numbers: into coefficients 2 and 6, or back.
const EVEN: [[i16; 2]; 2] = [[F_0_541 + F_0_765, F_0_541], [F_0_541, F_0_541 - F_1_847]];
/// What all odd outputs share: of the sums of their even and of their odd members.
const ODD_SHARED: [[i16; 2]; 2] = [[F_1_175 - F_1_961, F_1_175], [F_1_175, F_1_175 - F_0_390]];
/// The rest of the outermost two odd outputs.
const ODD_OUTER: [[i16; 2]; 2] = [[F_0_298 - F_0_899, -F_0_899], [-F_0_899, F_1_501 - F_0_899]];
/// The rest of the inner two odd outputs.
const ODD_INNER: [[i16; 2]; 2] = [[F_2_053 - F_2_562, -F_2_562], [-F_2_562, F_3_072 - F_2_562]];

/// Numbers of 32 bits made of two vectors of 16-bit numbers: the lanes' lower and upper halves.
type Wide<V> = [V; 2];

/// Pairs of the numbers of two vectors.
#[inline(always)]
fn pair<L: Lanes>(lanes: L, a: L::Vector, b: L::Vector) -> Wide<L::Vector> {
    [lanes.interleave_low16(a, b), lanes.interleave_high16(a, b)]
}

/// `a * factors[0] + b * factors[1]` of pairs `(a, b)`.
#[inline(always)]
fn turn<L: Lanes>(lanes: L, pairs: Wide<L::Vector>, factors: [i16; 2]) -> Wide<L::Vector> {
    let factors = lanes.splat_pair(factors[0], factors[1]);
    [lanes.dot(pairs[0], factors), lanes.dot(pairs[1], factors)]
}

/// `sum + a * factors[0] + b * factors[1]` of pairs `(a, b)`.
#[inline(always)]
fn turn_and_add<L: Lanes>(
    lanes: L,
    sum: Wide<L::Vector>,
    pairs: Wide<L::Vector>,
    factors: [i16; 2],
) -> Wide<L::Vector> {
    let factors = lanes.splat_pair(factors[0], factors[1]);
    [lanes.dot_add(sum[0], pairs[0], factors), lanes.dot_add(sum[1], pairs[1], factors)]
}

/// Drops fractional bits, and makes one vector of 16-bit numbers.
#[inline(always)]
fn descale<L: Lanes>(lanes: L, wide: Wide<L::Vector>, bits: i32) -> L::Vector {
    lanes.narrow32(lanes.right32(wide[0], bits), lanes.right32(wide[1], bits))
}

/// Sums of 32 bits.
#[inline(always)]
fn add<L: Lanes>(lanes: L, a: Wide<L::Vector>, b: Wide<L::Vector>) -> Wide<L::Vector> {
    [lanes.add32(a[0], b[0]), lanes.add32(a[1], b[1])]
}

/// Differences of 32 bits.
#[inline(always)]
fn subtract<L: Lanes>(lanes: L, a: Wide<L::Vector>, b: Wide<L::Vector>) -> Wide<L::Vector> {
    [lanes.sub32(a[0], b[0]), lanes.sub32(a[1], b[1])]
}

/// Turns the rows of blocks into their columns, and back.
#[inline(always)]
pub(super) fn transpose<L: Lanes>(lanes: L, [a, b, c, d, e, f, g, h]: [L::Vector; 8]) -> [L::Vector; 8] {
    let left = [
        lanes.interleave_low16(a, b),
        lanes.interleave_low16(c, d),
        lanes.interleave_low16(e, f),
        lanes.interleave_low16(g, h),
    ];
    let right = [
        lanes.interleave_high16(a, b),
        lanes.interleave_high16(c, d),
        lanes.interleave_high16(e, f),
        lanes.interleave_high16(g, h),
    ];
    let ([a, b, c, d], [e, f, g, h]) = (gather_columns(lanes, left), gather_columns(lanes, right));
    [a, b, c, d, e, f, g, h]
}

/// Four columns of eight, from rows that are interleaved two by two.
#[inline(always)]
fn gather_columns<L: Lanes>(lanes: L, [ab, cd, ef, gh]: [L::Vector; 4]) -> [L::Vector; 4] {
    let upper = [lanes.interleave_low32(ab, cd), lanes.interleave_high32(ab, cd)];
    let lower = [lanes.interleave_low32(ef, gh), lanes.interleave_high32(ef, gh)];
    [
        lanes.interleave_low64(upper[0], lower[0]),
        lanes.interleave_high64(upper[0], lower[0]),
        lanes.interleave_low64(upper[1], lower[1]),
        lanes.interleave_high64(upper[1], lower[1]),
    ]
}

/// One forward pass; `x[k]` holds number `k` of many rows (or columns). `FIRST` leaves [`FIRST_PASS_BITS`] more than it
/// found, the second pass takes them away again. The first pass subtracts `offset` from the scaled sum of all eight.
#[inline(always)]
fn forward_pass<L: Lanes, const FIRST: bool>(
    lanes: L,
    x: [L::Vector; 8],
    offset: L::Vector,
) -> [L::Vector; 8] {
    let bits = if FIRST { CONSTANT_BITS - FIRST_PASS_BITS } else { CONSTANT_BITS + FIRST_PASS_BITS };
    let half = [lanes.splat32(1 << (bits - 1)); 2];

    let (s0, d0) = (lanes.add16(x[0], x[7]), lanes.sub16(x[0], x[7]));
    let (s1, d1) = (lanes.add16(x[1], x[6]), lanes.sub16(x[1], x[6]));
    let (s2, d2) = (lanes.add16(x[2], x[5]), lanes.sub16(x[2], x[5]));
    let (s3, d3) = (lanes.add16(x[3], x[4]), lanes.sub16(x[3], x[4]));

    let (outer, inner) = (lanes.add16(s0, s3), lanes.add16(s1, s2));
    let (c0, c4) = (lanes.add16(outer, inner), lanes.sub16(outer, inner));
    let (c0, c4) = if FIRST {
        (lanes.sub16(lanes.left16(c0, FIRST_PASS_BITS), offset), lanes.left16(c4, FIRST_PASS_BITS))
    } else {
        let half = lanes.splat16(1 << (FIRST_PASS_BITS - 1));
        (
            lanes.right16(lanes.add16(c0, half), FIRST_PASS_BITS),
            lanes.right16(lanes.add16(c4, half), FIRST_PASS_BITS),
        )
    };
    let even = pair(lanes, lanes.sub16(s0, s3), lanes.sub16(s1, s2));
    let c2 = descale(lanes, turn_and_add(lanes, half, even, EVEN[0]), bits);
    let c6 = descale(lanes, turn_and_add(lanes, half, even, EVEN[1]), bits);

    let shared = pair(lanes, lanes.add16(d3, d1), lanes.add16(d2, d0));
    let shared_73 = turn_and_add(lanes, half, shared, ODD_SHARED[0]);
    let shared_51 = turn_and_add(lanes, half, shared, ODD_SHARED[1]);
    let (outer, inner) = (pair(lanes, d3, d0), pair(lanes, d2, d1));
    let c7 = descale(lanes, turn_and_add(lanes, shared_73, outer, ODD_OUTER[0]), bits);
    let c1 = descale(lanes, turn_and_add(lanes, shared_51, outer, ODD_OUTER[1]), bits);
    let c5 = descale(lanes, turn_and_add(lanes, shared_51, inner, ODD_INNER[0]), bits);
    let c3 = descale(lanes, turn_and_add(lanes, shared_73, inner, ODD_INNER[1]), bits);
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

/// One inverse pass that drops `bits` after `rounding` was added.
#[inline(always)]
fn inverse_pass<L: Lanes>(lanes: L, c: [L::Vector; 8], rounding: i32, bits: i32) -> [L::Vector; 8] {
    let half = [lanes.splat32(rounding); 2];
    let one = 1 << CONSTANT_BITS;

    let middle = pair(lanes, c[0], c[4]);
    let (outer, inner) =
        (turn_and_add(lanes, half, middle, [one, one]), turn_and_add(lanes, half, middle, [one, -one]));
    let even = pair(lanes, c[2], c[6]);
    let (turned_outer, turned_inner) = (turn(lanes, even, EVEN[0]), turn(lanes, even, EVEN[1]));
    let (e0, e3) = (add(lanes, outer, turned_outer), subtract(lanes, outer, turned_outer));
    let (e1, e2) = (add(lanes, inner, turned_inner), subtract(lanes, inner, turned_inner));

    let shared = pair(lanes, lanes.add16(c[7], c[3]), lanes.add16(c[5], c[1]));
    let shared_73 = turn(lanes, shared, ODD_SHARED[0]);
    let shared_51 = turn(lanes, shared, ODD_SHARED[1]);
    let (outer, inner) = (pair(lanes, c[7], c[1]), pair(lanes, c[5], c[3]));
    let o3 = turn_and_add(lanes, shared_73, outer, ODD_OUTER[0]);
    let o0 = turn_and_add(lanes, shared_51, outer, ODD_OUTER[1]);
    let o2 = turn_and_add(lanes, shared_51, inner, ODD_INNER[0]);
    let o1 = turn_and_add(lanes, shared_73, inner, ODD_INNER[1]);

    [
        descale(lanes, add(lanes, e0, o0), bits),
        descale(lanes, add(lanes, e1, o1), bits),
        descale(lanes, add(lanes, e2, o2), bits),
        descale(lanes, add(lanes, e3, o3), bits),
        descale(lanes, subtract(lanes, e3, o3), bits),
        descale(lanes, subtract(lanes, e2, o2), bits),
        descale(lanes, subtract(lanes, e1, o1), bits),
        descale(lanes, subtract(lanes, e0, o0), bits),
    ]
}

/// Rows of samples, each `offset` too large, to rows of coefficients, eight times the standard's.
#[inline(always)]
pub(super) fn forward<L: Lanes>(lanes: L, rows: [L::Vector; 8], offset: i16) -> [L::Vector; 8] {
    // A row's sum holds the offset eight times.
    let offset = lanes.splat16((offset << BLOCK_SCALE_BITS) << FIRST_PASS_BITS);
    let first = forward_pass::<L, true>(lanes, transpose(lanes, rows), offset);
    forward_pass::<L, false>(lanes, transpose(lanes, first), offset)
}

/// Rows of the standard's coefficients to columns of samples, to each of which `offset` is added; not clamped.
#[inline(always)]
pub(super) fn inverse<L: Lanes>(lanes: L, rows: [L::Vector; 8], offset: i16) -> [L::Vector; 8] {
    let bits = CONSTANT_BITS - FIRST_PASS_BITS;
    let first = inverse_pass(lanes, rows, 1 << (bits - 1), bits);
    let bits = CONSTANT_BITS + FIRST_PASS_BITS + BLOCK_SCALE_BITS;
    let rounding = (i32::from(offset) << bits) + (1 << (bits - 1));
    inverse_pass(lanes, transpose(lanes, first), rounding, bits)
}
