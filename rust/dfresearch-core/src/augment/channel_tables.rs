//! A function of a channel's value, applied to all pixels: a table of 256 values for each channel.
//!
//! A table says what is right; the way to the same bytes depends on the processor:
//!
//! ```text
//!  AVX-512 with byte permutations   64 look-ups in one table at a time
//!  otherwise                        factor * value + offset in f32, if that gives every value of the tables;
//!                                   one look-up after the other, if rounding makes a difference somewhere
//! ```

#[cfg(target_arch = "x86_64")]
mod avx512;

use multiversion::multiversion;

use super::CHANNELS;
use super::gaussian_noise::truncate;

/// What becomes of each value of each channel.
type Tables = [[u8; 256]; CHANNELS];

/// Values that are computed side by side: whole pixels and whole vectors.
const VALUES_PER_STEP: usize = 48;

/// `factor * value + offset` for each channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Affine {
    pub(super) factor: f32,
    pub(super) offsets: [f32; CHANNELS],
}

/// Replaces every value by what `function(channel, value)` says, clipped to 0 and 255 and truncated. `affine` is
/// nearly the same function.
pub(super) fn map_channels(image: &mut [u8], affine: Affine, function: impl Fn(usize, u8) -> f64) {
    let tables: Tables = std::array::from_fn(|channel| {
        std::array::from_fn(|value| function(channel, value as u8).clamp(0.0, 255.0) as u8)
    });
    #[cfg(target_arch = "x86_64")]
    if avx512::look_up(image, &tables) {
        return;
    }
    if is_same(affine, &tables) {
        compute(image, affine);
    } else {
        look_up(image, &tables);
    }
}

fn look_up(image: &mut [u8], tables: &Tables) {
    for pixel in image.as_chunks_mut::<CHANNELS>().0 {
        for (value, table) in pixel.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

fn is_same(affine: Affine, tables: &Tables) -> bool {
    tables.iter().zip(affine.offsets).all(|(table, offset)| {
        let mut same = true;
        for (value, &expected) in (0..=u8::MAX).zip(table) {
            same &= apply(value, affine.factor, offset) == expected;
        }
        same
    })
}

#[inline(always)]
fn apply(value: u8, factor: f32, offset: f32) -> u8 {
    truncate((f32::from(value) * factor + offset).clamp(0.0, 255.0))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn compute(image: &mut [u8], Affine { factor, offsets }: Affine) {
    let offsets: [f32; VALUES_PER_STEP] = std::array::from_fn(|place| offsets[place % CHANNELS]);
    let (steps, rest) = image.as_chunks_mut::<VALUES_PER_STEP>();
    for step in steps {
        for (value, offset) in step.iter_mut().zip(offsets) {
            *value = apply(*value, factor, offset);
        }
    }
    for (value, offset) in rest.iter_mut().zip(offsets) {
        *value = apply(*value, factor, offset);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shift(offsets: [f32; CHANNELS]) -> impl Fn(usize, u8) -> f64 {
        move |channel, value| f64::from(f32::from(value) + offsets[channel])
    }

    fn expected(image: &[u8], function: impl Fn(usize, u8) -> f64) -> Vec<u8> {
        let value = |(place, &value): (usize, &u8)| function(place % CHANNELS, value).clamp(0.0, 255.0) as u8;
        image.iter().enumerate().map(value).collect()
    }

    #[test]
    fn what_is_not_the_same_is_looked_up() {
        let image: Vec<u8> = (0..=255).flat_map(|value| [value; CHANNELS]).collect();
        let function = |channel: usize, value: u8| f64::from(value ^ channel as u8);
        let nothing = Affine { factor: 1.0, offsets: [0.0; CHANNELS] };
        let mut mapped = image.clone();
        map_channels(&mut mapped, nothing, function);
        assert_eq!(mapped, expected(&image, function));
    }

    proptest! {
        #[test]
        fn every_way_is_the_function(
            pixels in 0usize..200, seed: u64, offsets in prop::array::uniform3(-300.0f32..300.0),
        ) {
            let byte = |place: usize| (seed.wrapping_mul(place as u64 * 2 + 1) >> 56) as u8;
            let image: Vec<u8> = (0..pixels * CHANNELS).map(byte).collect();
            let expected = expected(&image, shift(offsets));
            let affine = Affine { factor: 1.0, offsets };

            let mut mapped = image.clone();
            map_channels(&mut mapped, affine, shift(offsets));
            prop_assert_eq!(&mapped, &expected);
            let mut computed = image.clone();
            compute(&mut computed, affine);
            prop_assert_eq!(&computed, &expected);
            let tables: Tables = std::array::from_fn(|channel| {
                std::array::from_fn(|value| shift(offsets)(channel, value as u8).clamp(0.0, 255.0) as u8)
            });
            prop_assert!(is_same(affine, &tables));
            let mut looked_up = image;
            look_up(&mut looked_up, &tables);
            prop_assert_eq!(&looked_up, &expected);
        }
    }
}
