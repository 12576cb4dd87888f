//! Vectors of 512 bits: four blocks side by side.
#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions without the features")]

use std::arch::x86_64::*;

use super::lanes::{Lanes, Task};

/// Proof that the processor has AVX-512 with byte permutations (VBMI) and dot products (VNNI): Intel's from Ice Lake,
/// AMD's from Zen 4 on. Earlier ones clock down for 512 bits, and are served better by AVX2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

/// Where each byte of a vector comes from.
type Places = [u8; 64];

/// For [`Lanes::load_rgb`]: byte `channel` of the pixels that lie `first` pixels behind every eighth, in every second
/// byte. The sources are bytes 0 to 63 and 32 to 95 of 32 pixels, which are chosen by bit 6.
const fn pair_places(first: usize, channels: [usize; 2]) -> Places {
    let mut places = [0; 64];
    let mut pair = 0;
    while pair < 16 {
        let pixel = pair / 4 * 8 + first + pair % 4;
        let mut half = 0;
        while half < 2 {
            let byte = pixel * 3 + channels[half];
            places[pair * 4 + half * 2] = if byte < 64 { byte } else { byte - 32 + 64 } as u8;
            half += 1;
        }
        pair += 1;
    }
    places
}

const BLUE_BLUE: [Places; 2] = [pair_places(0, [2, 2]), pair_places(4, [2, 2])];
const RED_GREEN: [Places; 2] = [pair_places(0, [0, 1]), pair_places(4, [0, 1])];
/// The bytes of a vector that hold a number of 16 bits under 256.
const LOWER_BYTES: __mmask64 = 0x5555_5555_5555_5555;

/// For [`Lanes::store_rgb`]: the place of the pixel that each byte of a third of 64 RGB pixels belongs to. A lane of a
/// channel holds the 8 pixels of even columns, then the 8 of odd ones.
const fn rgb_places(part: usize) -> Places {
    let mut places = [0; 64];
    let mut place = 0;
    while place < 64 {
        let pixel = (64 * part + place) / 3;
        places[place] = (pixel / 16 * 16 + pixel % 16 / 2 + pixel % 2 * 8) as u8;
        place += 1;
    }
    places
}

/// The bytes of a third of 64 RGB pixels that are of one channel.
const fn rgb_mask(part: usize, channel: usize) -> __mmask64 {
    let mut mask = 0;
    let mut place = 0;
    while place < 64 {
        if (64 * part + place) % 3 == channel {
            mask |= 1 << place;
        }
        place += 1;
    }
    mask
}

const RGB_PLACES: [Places; 3] = [rgb_places(0), rgb_places(1), rgb_places(2)];
const GREEN: [__mmask64; 3] = [rgb_mask(0, 1), rgb_mask(1, 1), rgb_mask(2, 1)];
const BLUE: [__mmask64; 3] = [rgb_mask(0, 2), rgb_mask(1, 2), rgb_mask(2, 2)];

/// 64-bit halves of lanes: all lower ones, then all upper ones.
const LOWER_THEN_UPPER: [i64; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

#[inline(always)]
fn load512<T>(from: &[T]) -> __m512i {
    let from = &from[..64 / size_of::<T>()];
    // SAFETY: the slice is 64 bytes long; values of `Avx512`, which lead here, prove the features.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Bytes of two vectors, as numbers of 16 bits.
#[inline(always)]
fn gather([near, far]: [__m512i; 2], places: &Places) -> __m512i {
    // SAFETY: values of `Avx512`, which lead here, prove the features.
    unsafe { _mm512_maskz_permutex2var_epi8(LOWER_BYTES, near, load512(places), far) }
}

#[inline(always)]
fn store512<T>(to: &mut [T], vector: __m512i) {
    let to = &mut to[..64 / size_of::<T>()];
    // SAFETY: the slice is 64 bytes long; values of `Avx512`, which lead here, prove the features.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) }
}

/// Methods that are one intrinsic each.
macro_rules! intrinsics {
    ($($name:ident($($argument:ident),*) = $intrinsic:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: __m512i),*) -> __m512i {
            // SAFETY: `self` proves that the processor has the features.
            unsafe { $intrinsic }
        }
    )*};
}

impl Lanes for Avx512 {
    type Vector = __m512i;
    const WIDTH: usize = 32;

    fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        present.then_some(Self(()))
    }

    fn run<T: Task>(self, task: T) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
        fn compiled_with_features<T: Task>(lanes: Avx512, task: T) {
            task.run(lanes);
        }
        // SAFETY: `self` proves that the processor has the features.
        unsafe { compiled_with_features(self, task) }
    }

    #[inline(always)]
    fn splat16(self, value: i16) -> __m512i {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { _mm512_set1_epi16(value) }
    }

    #[inline(always)]
    fn splat32(self, value: i32) -> __m512i {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn splat_row(self, row: &[i16; 8]) -> __m512i {
        // SAFETY: `self` proves that the processor has the features; the row is 16 bytes long.
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(row.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load16(self, from: &[i16], at: usize) -> __m512i {
        load512(&from[at..])
    }

    #[inline(always)]
    fn load_tile(self, from: &[i16], at: usize) -> [__m512i; 8] {
        let from = &from[at..at + 8 * Self::WIDTH];
        let mut tile = [self.splat16(0); 8];
        for (row, vector) in tile.iter_mut().enumerate() {
            *vector = load512(&from[row * Self::WIDTH..]);
        }
        tile
    }

    #[inline(always)]
    fn store16(self, to: &mut [i16], at: usize, vector: __m512i) {
        store512(&mut to[at..], vector);
    }

    #[inline(always)]
    fn load8(self, from: &[u8], at: usize) -> __m512i {
        load512(&from[at..])
    }

    #[inline(always)]
    fn store_halves(self, to: &mut [u8], low: usize, high: usize, vector: __m512i) {
        // SAFETY: `self` proves that the processor has the features; the slices are 32 bytes long.
        unsafe {
            let ordered = _mm512_permutexvar_epi64(load512(&LOWER_THEN_UPPER), vector);
            let target = &mut to[low..low + 32];
            _mm256_storeu_si256(target.as_mut_ptr().cast(), _mm512_castsi512_si256(ordered));
            let target = &mut to[high..high + 32];
            _mm256_storeu_si256(target.as_mut_ptr().cast(), _mm512_extracti64x4_epi64::<1>(ordered));
        }
    }

    #[inline(always)]
    fn load_rgb(self, from: &[u8], at: usize) -> [[__m512i; 2]; 4] {
        let from = &from[at..at + 192];
        let first = [load512(from), load512(&from[32..])];
        let second = [load512(&from[96..]), load512(&from[128..])];
        [
            [gather(first, &BLUE_BLUE[0]), gather(first, &RED_GREEN[0])],
            [gather(first, &BLUE_BLUE[1]), gather(first, &RED_GREEN[1])],
            [gather(second, &BLUE_BLUE[0]), gather(second, &RED_GREEN[0])],
            [gather(second, &BLUE_BLUE[1]), gather(second, &RED_GREEN[1])],
        ]
    }

    #[inline(always)]
    fn store_rgb(self, to: &mut [u8], at: usize, even: [__m512i; 3], odd: [__m512i; 3]) {
        let to = &mut to[at..at + 192];
        // SAFETY: `self` proves that the processor has the features.
        unsafe {
            let red = _mm512_packus_epi16(even[0], odd[0]);
            let green = _mm512_packus_epi16(even[1], odd[1]);
            let blue = _mm512_packus_epi16(even[2], odd[2]);
            for (part, target) in to.chunks_exact_mut(64).enumerate() {
                let places = load512(&RGB_PLACES[part]);
                let bytes = _mm512_permutexvar_epi8(places, red);
                let bytes = _mm512_mask_permutexvar_epi8(bytes, GREEN[part], places, green);
                store512(target, _mm512_mask_permutexvar_epi8(bytes, BLUE[part], places, blue));
            }
        }
    }

    intrinsics! {
        add16(a, b) = _mm512_add_epi16(a, b);
        sub16(a, b) = _mm512_sub_epi16(a, b);
        add32(a, b) = _mm512_add_epi32(a, b);
        sub32(a, b) = _mm512_sub_epi32(a, b);
        min16(a, b) = _mm512_min_epi16(a, b);
        max16(a, b) = _mm512_max_epi16(a, b);
        and(a, b) = _mm512_and_si512(a, b);
        multiply_low(a, b) = _mm512_mullo_epi16(a, b);
        multiply_high(a, b) = _mm512_mulhi_epi16(a, b);
        multiply_rounded(a, b) = _mm512_mulhrs_epi16(a, b);
        dot(a, b) = _mm512_madd_epi16(a, b);
        dot_add(sum, a, b) = _mm512_dpwssd_epi32(sum, a, b);
        odd_bytes(a) = _mm512_srli_epi16::<8>(a);
        upper_halves(a) = _mm512_srli_epi32::<16>(a);
        join_halves(upper, lower) = _mm512_mask_blend_epi16(0x5555_5555, upper, lower);
        interleave_low8(a, b) = _mm512_unpacklo_epi8(a, b);
        interleave_high8(a, b) = _mm512_unpackhi_epi8(a, b);
        interleave_low16(a, b) = _mm512_unpacklo_epi16(a, b);
        interleave_high16(a, b) = _mm512_unpackhi_epi16(a, b);
        interleave_low32(a, b) = _mm512_unpacklo_epi32(a, b);
        interleave_high32(a, b) = _mm512_unpackhi_epi32(a, b);
        interleave_low64(a, b) = _mm512_unpacklo_epi64(a, b);
        interleave_high64(a, b) = _mm512_unpackhi_epi64(a, b);
        narrow32(a, b) = _mm512_packs_epi32(a, b);
        narrow32_ordered(a, b) =
            _mm512_permutexvar_epi64(load512(&LOWER_THEN_UPPER), _mm512_packs_epi32(a, b));
        narrow16(a, b) = _mm512_packus_epi16(a, b);
    }

    #[inline(always)]
    fn left16(self, a: __m512i, bits: i32) -> __m512i {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { _mm512_sll_epi16(a, _mm_cvtsi32_si128(bits)) }
    }

    #[inline(always)]
    fn right16(self, a: __m512i, bits: i32) -> __m512i {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { _mm512_sra_epi16(a, _mm_cvtsi32_si128(bits)) }
    }

    #[inline(always)]
    fn right32(self, a: __m512i, bits: i32) -> __m512i {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { _mm512_sra_epi32(a, _mm_cvtsi32_si128(bits)) }
    }
}
