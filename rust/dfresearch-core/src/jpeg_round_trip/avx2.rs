//! Vectors of 256 bits: two blocks side by side.
#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions without the features")]

use std::arch::x86_64::*;

use super::lanes::{Lanes, Task};

/// Proof that the processor has AVX2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// Shuffles for [`Lanes::load_rgb`]: pixels whose 12 bytes begin at byte 0 of a lane, or at byte 4.
const BLUE_BLUE: [[i8; 16]; 2] = [
    [2, -1, 2, -1, 5, -1, 5, -1, 8, -1, 8, -1, 11, -1, 11, -1],
    [6, -1, 6, -1, 9, -1, 9, -1, 12, -1, 12, -1, 15, -1, 15, -1],
];
const RED_GREEN: [[i8; 16]; 2] = [
    [0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1],
    [4, -1, 5, -1, 7, -1, 8, -1, 10, -1, 11, -1, 13, -1, 14, -1],
];

/// For [`Lanes::store_rgb`]: where byte `16 * part + place` of 16 RGB pixels comes from, if it is of this channel. A
/// lane of a channel holds the 8 pixels of even columns, then the 8 of odd ones.
const fn rgb_shuffle(part: usize, channel: usize) -> [i8; 16] {
    let mut shuffle = [-1; 16];
    let mut place = 0;
    while place < 16 {
        let byte = 16 * part + place;
        if byte % 3 == channel {
            let pixel = byte / 3;
            shuffle[place] = (pixel / 2 + pixel % 2 * 8) as i8;
        }
        place += 1;
    }
    shuffle
}

const RGB_SHUFFLES: [[[i8; 16]; 3]; 3] = {
    let mut shuffles = [[[0; 16]; 3]; 3];
    let mut part = 0;
    while part < 3 {
        shuffles[part] = [rgb_shuffle(part, 0), rgb_shuffle(part, 1), rgb_shuffle(part, 2)];
        part += 1;
    }
    shuffles
};

#[inline(always)]
fn load128<T>(from: &[T], at: usize) -> __m128i {
    let from = &from[at..at + 16 / size_of::<T>()];
    // SAFETY: the slice is 16 bytes long; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// 16 bytes in both lanes.
#[inline(always)]
fn broadcast<T>(from: &[T]) -> __m256i {
    // SAFETY: values of `Avx2`, which lead here, prove the feature.
    unsafe { _mm256_broadcastsi128_si256(load128(from, 0)) }
}

/// Four pixels and more from `low`, and as many from `high`.
#[inline(always)]
fn load_fours(from: &[u8], low: usize, high: usize) -> __m256i {
    // SAFETY: values of `Avx2`, which lead here, prove the feature.
    unsafe { _mm256_set_m128i(load128(from, high), load128(from, low)) }
}

/// Shuffles the lower lane by the first of `shuffles`, the upper one by number `upper`.
#[inline(always)]
fn shuffle(pixels: __m256i, shuffles: &[[i8; 16]; 2], upper: usize) -> __m256i {
    // SAFETY: values of `Avx2`, which lead here, prove the feature.
    unsafe {
        let places = _mm256_set_m128i(load128(&shuffles[upper], 0), load128(&shuffles[0], 0));
        _mm256_shuffle_epi8(pixels, places)
    }
}

#[inline(always)]
fn load256<T>(from: &[T]) -> __m256i {
    let from = &from[..32 / size_of::<T>()];
    // SAFETY: the slice is 32 bytes long; values of `Avx2`, which lead here, prove the feature.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline(always)]
fn store256<T>(to: &mut [T], vector: __m256i) {
    let to = &mut to[..32 / size_of::<T>()];
    // SAFETY: the slice is 32 bytes long; values of `Avx2`, which lead here, prove the feature.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
}

/// Methods that are one intrinsic each.
macro_rules! intrinsics {
    ($($name:ident($($argument:ident),*) = $intrinsic:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: __m256i),*) -> __m256i {
            // SAFETY: `self` proves that the processor has the feature.
            unsafe { $intrinsic }
        }
    )*};
}

impl Lanes for Avx2 {
    type Vector = __m256i;
    const WIDTH: usize = 16;

    fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    fn run<T: Task>(self, task: T) {
        #[target_feature(enable = "avx2")]
        fn compiled_with_features<T: Task>(lanes: Avx2, task: T) {
            task.run(lanes);
        }
        // SAFETY: `self` proves that the processor has the feature.
        unsafe { compiled_with_features(self, task) }
    }

    #[inline(always)]
    fn splat16(self, value: i16) -> __m256i {
        // SAFETY: `self` proves that the processor has the feature.
        unsafe { _mm256_set1_epi16(value) }
    }

    #[inline(always)]
    fn splat32(self, value: i32) -> __m256i {
        // SAFETY: `self` proves that the processor has the feature.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    fn splat_row(self, row: &[i16; 8]) -> __m256i {
        broadcast(row)
    }

    #[inline(always)]
    fn load16(self, from: &[i16], at: usize) -> __m256i {
        load256(&from[at..])
    }

    #[inline(always)]
    fn load_tile(self, from: &[i16], at: usize) -> [__m256i; 8] {
        let from = &from[at..at + 8 * Self::WIDTH];
        let mut tile = [self.splat16(0); 8];
        for (row, vector) in tile.iter_mut().enumerate() {
            *vector = load256(&from[row * Self::WIDTH..]);
        }
        tile
    }

    #[inline(always)]
    fn store16(self, to: &mut [i16], at: usize, vector: __m256i) {
        store256(&mut to[at..], vector);
    }

    #[inline(always)]
    fn load8(self, from: &[u8], at: usize) -> __m256i {
        load256(&from[at..])
    }

    #[inline(always)]
    fn store_halves(self, to: &mut [u8], low: usize, high: usize, vector: __m256i) {
        // SAFETY: `self` proves that the processor has the feature; the slices are 16 bytes long.
        unsafe {
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(vector);
            let target = &mut to[low..low + 16];
            _mm_storeu_si128(target.as_mut_ptr().cast(), _mm256_castsi256_si128(ordered));
            let target = &mut to[high..high + 16];
            _mm_storeu_si128(target.as_mut_ptr().cast(), _mm256_extracti128_si256::<1>(ordered));
        }
    }

    #[inline(always)]
    fn load_rgb(self, from: &[u8], at: usize) -> [[__m256i; 2]; 4] {
        let from = &from[at..at + 96];
        let first = [load_fours(from, 0, 24), load_fours(from, 12, 36)];
        // The last four are read from 4 bytes before, so as not to read over the end.
        let second = [load_fours(from, 48, 72), load_fours(from, 60, 80)];
        [
            [shuffle(first[0], &BLUE_BLUE, 0), shuffle(first[0], &RED_GREEN, 0)],
            [shuffle(first[1], &BLUE_BLUE, 0), shuffle(first[1], &RED_GREEN, 0)],
            [shuffle(second[0], &BLUE_BLUE, 0), shuffle(second[0], &RED_GREEN, 0)],
            [shuffle(second[1], &BLUE_BLUE, 1), shuffle(second[1], &RED_GREEN, 1)],
        ]
    }

    #[inline(always)]
    fn store_rgb(self, to: &mut [u8], at: usize, even: [__m256i; 3], odd: [__m256i; 3]) {
        let to = &mut to[at..at + 96];
        // SAFETY: `self` proves that the processor has the feature.
        unsafe {
            let mut channels = [even[0]; 3];
            for (channel, bytes) in channels.iter_mut().enumerate() {
                *bytes = _mm256_packus_epi16(even[channel], odd[channel]);
            }
            // Each part is a third of the 48 bytes that a lane's 16 pixels make.
            let mut parts = [even[0]; 3];
            for (part, bytes) in parts.iter_mut().enumerate() {
                let shuffles = &RGB_SHUFFLES[part];
                let red = _mm256_shuffle_epi8(channels[0], broadcast(&shuffles[0]));
                let green = _mm256_shuffle_epi8(channels[1], broadcast(&shuffles[1]));
                let blue = _mm256_shuffle_epi8(channels[2], broadcast(&shuffles[2]));
                *bytes = _mm256_or_si256(_mm256_or_si256(red, green), blue);
            }
            let [first, second, third] = parts;
            store256(&mut to[..32], _mm256_permute2x128_si256::<0x20>(first, second));
            store256(&mut to[32..64], _mm256_blend_epi32::<0xf0>(third, first));
            store256(&mut to[64..], _mm256_permute2x128_si256::<0x31>(second, third));
        }
    }

    intrinsics! {
        add16(a, b) = _mm256_add_epi16(a, b);
        sub16(a, b) = _mm256_sub_epi16(a, b);
        add32(a, b) = _mm256_add_epi32(a, b);
        sub32(a, b) = _mm256_sub_epi32(a, b);
        min16(a, b) = _mm256_min_epi16(a, b);
        max16(a, b) = _mm256_max_epi16(a, b);
        and(a, b) = _mm256_and_si256(a, b);
        multiply_low(a, b) = _mm256_mullo_epi16(a, b);
        multiply_high(a, b) = _mm256_mulhi_epi16(a, b);
        multiply_rounded(a, b) = _mm256_mulhrs_epi16(a, b);
        dot(a, b) = _mm256_madd_epi16(a, b);
        dot_add(sum, a, b) = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
        odd_bytes(a) = _mm256_srli_epi16::<8>(a);
        upper_halves(a) = _mm256_srli_epi32::<16>(a);
        join_halves(upper, lower) = _mm256_blend_epi16::<0b0101_0101>(upper, lower);
        interleave_low8(a, b) = _mm256_unpacklo_epi8(a, b);
        interleave_high8(a, b) = _mm256_unpackhi_epi8(a, b);
        interleave_low16(a, b) = _mm256_unpacklo_epi16(a, b);
        interleave_high16(a, b) = _mm256_unpackhi_epi16(a, b);
        interleave_low32(a, b) = _mm256_unpacklo_epi32(a, b);
        interleave_high32(a, b) = _mm256_unpackhi_epi32(a, b);
        interleave_low64(a, b) = _mm256_unpacklo_epi64(a, b);
        interleave_high64(a, b) = _mm256_unpackhi_epi64(a, b);
        narrow32(a, b) = _mm256_packs_epi32(a, b);
        narrow32_ordered(a, b) = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
        narrow16(a, b) = _mm256_packus_epi16(a, b);
    }

    #[inline(always)]
    fn left16(self, a: __m256i, bits: i32) -> __m256i {
        // SAFETY: `self` proves that the processor has the feature.
        unsafe { _mm256_sll_epi16(a, _mm_cvtsi32_si128(bits)) }
    }

    #[inline(always)]
    fn right16(self, a: __m256i, bits: i32) -> __m256i {
        // SAFETY: `self` proves that the processor has the feature.
        unsafe { _mm256_sra_epi16(a, _mm_cvtsi32_si128(bits)) }
    }

    #[inline(always)]
    fn right32(self, a: __m256i, bits: i32) -> __m256i {
        // SAFETY: `self` proves that the processor has the feature.
        unsafe { _mm256_sra_epi32(a, _mm_cvtsi32_si128(bits)) }
    }
}
