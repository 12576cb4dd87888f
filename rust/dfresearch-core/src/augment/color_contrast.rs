//! Contrast about the mean of each channel.

use multiversion::multiversion;

use super::channel_tables::{Affine, map_channels};
use super::{CHANNELS, OperationKind, check_parameter};
use crate::error::Result;

/// Values that are summed side by side: whole pixels and whole vectors.
const LANES: usize = 96;

/// Values of 8 bits whose sum 16 bits hold.
const VALUES_PER_SUM: usize = 257;

/// Moves every value away from its channel's mean by `factor`: `(value - mean) * factor + mean`, clipped at 0 and 255
/// and truncated. A factor of 1 changes nothing, 0 leaves the mean.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a negative or absurdly large factor.
pub fn color_contrast(image: &mut [u8], factor: f64) -> Result<()> {
    check_parameter(OperationKind::ColorContrast, factor)?;
    let means = channel_means(image);
    // Written so that a factor of 1 is exact; `(value - mean) * 1 + mean` may fall below a whole number.
    let offsets = means.map(|mean| mean * (1.0 - factor));
    let affine = Affine { factor: factor as f32, offsets: offsets.map(|offset| offset as f32) };
    map_channels(image, affine, |channel, value| f64::from(value) * factor + offsets[channel]);
    Ok(())
}

fn channel_means(image: &[u8]) -> [f64; CHANNELS] {
    let pixels = (image.len() / CHANNELS) as f64;
    channel_sums(image).map(|sum| sum as f64 / pixels)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn channel_sums(image: &[u8]) -> [u64; CHANNELS] {
    let mut sums = [0; CHANNELS];
    for part in image.chunks(LANES * VALUES_PER_SUM) {
        let (steps, rest) = part.as_chunks::<LANES>();
        let mut partial = [0u16; LANES];
        for step in steps {
            for (sum, &value) in partial.iter_mut().zip(step) {
                *sum += u16::from(value);
            }
        }
        for (place, &sum) in partial.iter().enumerate() {
            sums[place % CHANNELS] += u64::from(sum);
        }
        for (place, &value) in rest.iter().enumerate() {
            sums[place % CHANNELS] += u64::from(value);
        }
    }
    sums
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn contrast_turns_about_the_mean_of_each_channel() {
        // Means 100, 50, 0.
        let mut image = [90, 50, 0, 110, 50, 0];
        color_contrast(&mut image, 1.5).unwrap();
        assert_eq!(image, [85, 50, 0, 115, 50, 0]);
        color_contrast(&mut image, 0.0).unwrap();
        assert_eq!(image, [100, 50, 0, 100, 50, 0]);
        assert!(color_contrast(&mut image, -0.1).is_err());
    }

    #[test]
    fn a_factor_of_one_changes_nothing() {
        let original: Vec<u8> = (0..3 * 1001).map(|place| (place * place % 251) as u8).collect();
        let mut image = original.clone();
        color_contrast(&mut image, 1.0).unwrap();
        assert_eq!(image, original);
    }

    #[test]
    fn means_are_exact() {
        for pixels in [1, 31, 1001, 8224, 8225, 20_000] {
            let image: Vec<u8> =
                (0..3 * pixels).map(|place| [255, (place % 2) as u8, 7][place % 3]).collect();
            let odd = (0..3 * pixels).filter(|place| place % 3 == 1 && place % 2 == 1).count();
            assert_eq!(channel_means(&image), [255.0, odd as f64 / pixels as f64, 7.0]);
        }
    }
}
