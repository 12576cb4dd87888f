//! 64 pixels at a time: each channel by two permutations that look up bytes in three vectors.
#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions without the features")]

use std::arch::x86_64::*;

use super::{CHANNELS, SplitRows, steps};

/// Pixels of a step.
const STEP: usize = 64;

/// Where each byte of a plane lies among the three vectors of a step.
///
/// `first` chooses from vectors 0 and 1 by bit 6; `second` keeps what `first` found there, or takes vector 2.
#[derive(Clone, Copy)]
struct Places {
    first: [u8; STEP],
    second: [u8; STEP],
}

const fn places(channel: usize, flip: bool) -> Places {
    let mut places = Places { first: [0; STEP], second: [0; STEP] };
    let mut place = 0;
    while place < STEP {
        let pixel = if flip { STEP - 1 - place } else { place };
        let byte = pixel * CHANNELS + channel;
        if byte < 2 * STEP {
            places.first[place] = byte as u8;
            places.second[place] = place as u8;
        } else {
            places.second[place] = (byte - STEP) as u8;
        }
        place += 1;
    }
    places
}

static STRAIGHT: [Places; CHANNELS] = [places(0, false), places(1, false), places(2, false)];
static MIRRORED: [Places; CHANNELS] = [places(0, true), places(1, true), places(2, true)];

/// The way of rows of `width` pixels, if they are long enough and the processor has the byte permutations.
pub(super) fn split_rows_for(width: usize) -> Option<SplitRows> {
    let present = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi");
    (present && width >= STEP).then_some(|pixels, width, planes, flip| {
        // SAFETY: the features were detected above.
        unsafe { split_rows(pixels, width, planes, flip) }
    })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn vector(bytes: &[u8; STEP]) -> __m512i {
    // SAFETY: the array is 64 bytes long.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn split_rows(pixels: &[u8], width: usize, planes: [&mut [u8]; CHANNELS], flip: bool) {
    let places = if flip { &MIRRORED } else { &STRAIGHT };
    let places = places.each_ref().map(|places| (vector(&places.first), vector(&places.second)));
    for row in (0..pixels.len() / CHANNELS).step_by(width) {
        for start in steps(width, STEP) {
            let (vectors, _) = pixels[(row + start) * CHANNELS..][..STEP * CHANNELS].as_chunks::<STEP>();
            let (first, second, third) = (vector(&vectors[0]), vector(&vectors[1]), vector(&vectors[2]));
            let target = row + if flip { width - STEP - start } else { start };
            for channel in 0..CHANNELS {
                let (from_first_two, from_third) = places[channel];
                let found = _mm512_permutex2var_epi8(first, from_first_two, second);
                let plane = _mm512_permutex2var_epi8(found, from_third, third);
                let target = &mut planes[channel][target..][..STEP];
                // SAFETY: the slice is 64 bytes long.
                unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), plane) };
            }
        }
    }
}
