//! 64 look-ups at a time: a table of 256 bytes is four vectors, which two permutations choose from.
#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions without the features")]

use std::arch::x86_64::*;

use super::{CHANNELS, Tables};

/// Bytes of a vector.
const VECTOR: usize = 64;
/// Bytes of a step: whole pixels and whole vectors.
const STEP: usize = VECTOR * CHANNELS;

/// The bytes of the vector `part` of a step that are of one channel.
const fn channel_mask(part: usize, channel: usize) -> __mmask64 {
    let mut mask = 0;
    let mut place = 0;
    while place < VECTOR {
        if (part * VECTOR + place) % CHANNELS == channel {
            mask |= 1 << place;
        }
        place += 1;
    }
    mask
}

const fn channel_masks(part: usize) -> [__mmask64; CHANNELS] {
    [channel_mask(part, 0), channel_mask(part, 1), channel_mask(part, 2)]
}

const MASKS: [[__mmask64; CHANNELS]; CHANNELS] = [channel_masks(0), channel_masks(1), channel_masks(2)];

/// Replaces all values if the processor has byte permutations, and says whether it has.
pub(super) fn look_up(image: &mut [u8], tables: &Tables) -> bool {
    let present = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi");
    if present {
        // SAFETY: the features are there.
        unsafe { look_up_vectors(image, tables) }
    }
    present
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_vectors(image: &mut [u8], tables: &Tables) {
    let quarters = tables.each_ref().map(|table| {
        std::array::from_fn(|quarter| {
            let bytes = &table[quarter * VECTOR..][..VECTOR];
            // SAFETY: the slice is 64 bytes long.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        })
    });
    let (steps, rest) = image.as_chunks_mut::<STEP>();
    for step in steps {
        look_up_step(step, &quarters);
    }
    let mut last = [0; STEP];
    last[..rest.len()].copy_from_slice(rest);
    look_up_step(&mut last, &quarters);
    rest.copy_from_slice(&last[..rest.len()]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn look_up_step(step: &mut [u8; STEP], quarters: &[[__m512i; 4]; CHANNELS]) {
    for (vector, masks) in step.as_chunks_mut::<VECTOR>().0.iter_mut().zip(MASKS) {
        // SAFETY: the array is 64 bytes long.
        let values: __m512i = unsafe { _mm512_loadu_si512(vector.as_ptr().cast()) };
        let upper_half = _mm512_movepi8_mask(values);
        // A permutation replaces the bytes of its mask; all others stay what they are, to be looked up by another.
        let mut found = values;
        for ([first, second, third, fourth], mask) in quarters.iter().zip(masks) {
            found = _mm512_mask2_permutex2var_epi8(*first, found, mask & !upper_half, *second);
            found = _mm512_mask2_permutex2var_epi8(*third, found, mask & upper_half, *fourth);
        }
        // SAFETY: the array is 64 bytes long.
        unsafe { _mm512_storeu_si512(vector.as_mut_ptr().cast(), found) };
    }
}
