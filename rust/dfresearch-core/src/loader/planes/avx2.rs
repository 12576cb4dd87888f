//! 32 pixels at a time: each half of the vectors holds 16 of them, and a channel is collected from three shuffles.
#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions without the features")]

use std::arch::x86_64::*;

use super::{CHANNELS, SplitRows, steps};

/// Pixels of half a vector, and bytes.
const HALF: usize = 16;
/// Pixels of a step.
const STEP: usize = 2 * HALF;

/// No byte: a shuffle puts zero there.
const NONE: u8 = 0x80;

/// Where each byte of a channel lies in each third of 16 pixels.
const fn places(channel: usize, flip: bool) -> [[u8; HALF]; CHANNELS] {
    let mut places = [[NONE; HALF]; CHANNELS];
    let mut place = 0;
    while place < HALF {
        let pixel = if flip { HALF - 1 - place } else { place };
        let byte = pixel * CHANNELS + channel;
        places[byte / HALF][place] = (byte % HALF) as u8;
        place += 1;
    }
    places
}

static STRAIGHT: [[[u8; HALF]; CHANNELS]; CHANNELS] = [places(0, false), places(1, false), places(2, false)];
static MIRRORED: [[[u8; HALF]; CHANNELS]; CHANNELS] = [places(0, true), places(1, true), places(2, true)];

/// The way of rows of `width` pixels, if they are long enough and the processor has AVX2.
pub(super) fn split_rows_for(width: usize) -> Option<SplitRows> {
    (is_x86_feature_detected!("avx2") && width >= STEP).then_some(|pixels, width, planes, flip| {
        // SAFETY: the feature was detected above.
        unsafe { split_rows(pixels, width, planes, flip) }
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn half(bytes: &[u8; HALF]) -> __m128i {
    // SAFETY: the array is 16 bytes long.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn split_rows(pixels: &[u8], width: usize, planes: [&mut [u8]; CHANNELS], flip: bool) {
    let places = if flip { &MIRRORED } else { &STRAIGHT };
    let places =
        places.each_ref().map(|thirds| thirds.each_ref().map(|it| _mm256_broadcastsi128_si256(half(it))));
    for row in (0..pixels.len() / CHANNELS).step_by(width) {
        for start in steps(width, STEP) {
            let (bytes, _) = pixels[(row + start) * CHANNELS..][..STEP * CHANNELS].as_chunks::<HALF>();
            // Mirrored, the second half of the pixels comes first.
            let (low, high) = if flip { (CHANNELS, 0) } else { (0, CHANNELS) };
            let thirds: [__m256i; CHANNELS] = std::array::from_fn(|third| {
                _mm256_set_m128i(half(&bytes[high + third]), half(&bytes[low + third]))
            });
            let target = row + if flip { width - STEP - start } else { start };
            for channel in 0..CHANNELS {
                let [first, second, third] = places[channel];
                let plane = _mm256_or_si256(
                    _mm256_or_si256(
                        _mm256_shuffle_epi8(thirds[0], first),
                        _mm256_shuffle_epi8(thirds[1], second),
                    ),
                    _mm256_shuffle_epi8(thirds[2], third),
                );
                let target = &mut planes[channel][target..][..STEP];
                // SAFETY: the slice is 32 bytes long.
                unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), plane) };
            }
        }
    }
}
