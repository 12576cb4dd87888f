//! Horizontal sums of four columns at a time: each column's two pixels lie in six consecutive bytes.
//!
//! ```text
//!   bytes at the tap   r g b R G B ─ shuffle ─► r R g G b B 0 0 (16 bits each) ─ · near, far, near, far … ─► r g b 0
//! ```
#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions without the features")]

use std::arch::x86_64::*;

use super::{CHANNELS, DROPPED_BITS, GROUP, Tap};

/// Bytes that are read at a tap; the last two are of no use.
const TAP_BYTES: usize = 8;

/// Where four columns read, and their weights: of columns 0 and 2, then of 1 and 3, so that packing restores the order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// First bytes of the near pixels.
    starts: [u32; GROUP],
    /// Pairs of near and far weights, four times for each column.
    weights: [[[[i16; 2]; 4]; 2]; 2],
}

/// Groups for as many columns as can be read without leaving a row of `source_width` pixels; none without AVX2.
pub(super) fn groups(taps: &[Tap], source_width: usize) -> impl Iterator<Item = Group> {
    let row_bytes = source_width * CHANNELS;
    // Taps are in ascending order. In the last column, and left of the first, near and far are the same pixel, and the
    // weight of what is read in its place is zero.
    let readable = taps.partition_point(|tap| tap.near * CHANNELS + TAP_BYTES <= row_bytes);
    let readable = if is_x86_feature_detected!("avx2") { readable } else { 0 };
    taps[..readable].as_chunks::<GROUP>().0.iter().map(|taps| {
        let weights = taps.map(|tap| [[tap.near_weight, tap.far_weight]; 4]);
        Group {
            // A row is shorter than the limits on an image's side, and fits 32 bits by far.
            starts: taps.map(|tap| (tap.near * CHANNELS) as u32),
            weights: [[weights[0], weights[2]], [weights[1], weights[3]]],
        }
    })
}

/// Writes the sums of the groups' columns, and says how many columns that are. `sums` has room for one pixel more.
pub(super) fn interpolate(groups: &[Group], pixels: &[u8], sums: &mut [i16]) -> usize {
    if !groups.is_empty() {
        // SAFETY: groups are made only where the processor has AVX2.
        unsafe { interpolate_groups(groups, pixels, sums) }
    }
    groups.len() * GROUP
}

/// The bytes at one tap.
#[target_feature(enable = "avx2")]
#[inline]
fn tap_bytes(pixels: &[u8], start: u32) -> __m128i {
    let bytes = &pixels[start as usize..][..TAP_BYTES];
    // SAFETY: the slice is 8 bytes long.
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }
}

/// The sums of two columns, one in each half.
#[target_feature(enable = "avx2")]
#[inline]
fn sum_pair(low: __m128i, high: __m128i, weights: &[[[i16; 2]; 4]; 2], pairs: __m256i) -> __m256i {
    // SAFETY: the weights of two columns are 32 bytes.
    let weights = unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) };
    let sums = _mm256_madd_epi16(_mm256_shuffle_epi8(_mm256_set_m128i(high, low), pairs), weights);
    _mm256_srai_epi32::<{ DROPPED_BITS as i32 }>(sums)
}

#[target_feature(enable = "avx2")]
fn interpolate_groups(groups: &[Group], pixels: &[u8], sums: &mut [i16]) {
    let pairs =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    let without_fourth =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, -1, -1, -1, -1));
    for (number, group) in groups.iter().enumerate() {
        // No closures here: what they are handed to is compiled without the features, and would not be inlined.
        let [first, second, third, fourth] = group.starts;
        let [even, odd] = &group.weights;
        let even = sum_pair(tap_bytes(pixels, first), tap_bytes(pixels, third), even, pairs);
        let odd = sum_pair(tap_bytes(pixels, second), tap_bytes(pixels, fourth), odd, pairs);
        let packed = _mm256_shuffle_epi8(_mm256_packs_epi32(even, odd), without_fourth);
        let sums = &mut sums[number * GROUP * CHANNELS..][..GROUP * CHANNELS + 2];
        // SAFETY: 8 sums from 0 and from 6 on lie within the 14 of the slice; the second write covers the last two of
        // the first.
        unsafe {
            _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
            _mm_storeu_si128(sums[6..].as_mut_ptr().cast(), _mm256_extracti128_si256::<1>(packed));
        }
    }
}
