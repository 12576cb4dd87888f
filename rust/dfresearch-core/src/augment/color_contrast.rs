//! Contrast about the mean of each channel.

use super::color_shift::map_channels;
use super::{CHANNELS, OperationKind, check_parameter};
use crate::error::Result;

/// Pixels that are summed side by side.
const PIXELS_PER_STEP: usize = 16;

/// Bytes whose sums a `u32` holds in any case.
const BYTES_PER_PART: usize = 1 << 24;

/// Moves every value away from its channel's mean by `factor`: `(value - mean) * factor + mean`, clipped at 0 and 255
/// and truncated. A factor of 1 changes nothing, 0 leaves the mean.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a negative or absurdly large factor.
pub fn color_contrast(image: &mut [u8], factor: f64) -> Result<()> {
    check_parameter(OperationKind::ColorContrast, factor)?;
    let means = channel_means(image);
    // Written so that a factor of 1 is exact; `(value - mean) * 1 + mean` may fall below a whole number.
    map_channels(image, |channel, value| f64::from(value) * factor + means[channel] * (1.0 - factor));
    Ok(())
}

fn channel_means(image: &[u8]) -> [f64; CHANNELS] {
    let mut sums = [0u64; CHANNELS];
    for part in image.chunks(BYTES_PER_PART * CHANNELS) {
        let (steps, rest) = part.as_chunks::<{ PIXELS_PER_STEP * CHANNELS }>();
        let mut partial = [0u32; PIXELS_PER_STEP * CHANNELS];
        for step in steps {
            for (sum, &value) in partial.iter_mut().zip(step) {
                *sum += u32::from(value);
            }
        }
        for (place, &sum) in partial.iter().enumerate() {
            sums[place % CHANNELS] += u64::from(sum);
        }
        for (place, &value) in rest.iter().enumerate() {
            sums[place % CHANNELS] += u64::from(value);
        }
    }
    let pixels = (image.len() / CHANNELS) as f64;
    sums.map(|sum| sum as f64 / pixels)
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
        let image: Vec<u8> = (0..3 * 1001).map(|place| [255, (place % 2) as u8, 7][place % 3]).collect();
        let odd = (0..3 * 1001).filter(|place| place % 3 == 1 && place % 2 == 1).count();
        assert_eq!(channel_means(&image), [255.0, odd as f64 / 1001.0, 7.0]);
    }
}
