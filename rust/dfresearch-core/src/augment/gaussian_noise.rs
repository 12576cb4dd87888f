//! Gaussian noise: the traces of a weak sensor.

use multiversion::multiversion;

use super::{OperationKind, check_parameter};
use crate::error::Result;
use crate::rng::{CounterRng, NORMALS_PER_CALL};

/// Adds a normal of mean 0 and standard deviation `sigma` (grey levels) to every value of `image`; clips at 0 and 255
/// and truncates.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a sigma outside of 0 to 255.
pub fn gaussian_noise(image: &mut [u8], sigma: f64, rng: &mut CounterRng) -> Result<()> {
    check_parameter(OperationKind::GaussianNoise, sigma)?;
    add_noise(image, sigma as f32, rng);
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_noise(image: &mut [u8], sigma: f32, rng: &mut CounterRng) {
    let (chunks, rest) = image.as_chunks_mut::<NORMALS_PER_CALL>();
    for chunk in chunks {
        add_normals(chunk, &rng.normals(), sigma);
    }
    if !rest.is_empty() {
        add_normals(rest, &rng.normals(), sigma);
    }
}

#[inline(always)]
fn add_normals(values: &mut [u8], normals: &[f32; NORMALS_PER_CALL], sigma: f32) {
    for (value, normal) in values.iter_mut().zip(normals) {
        *value = truncate((f32::from(*value) + normal * sigma).clamp(0.0, 255.0));
    }
}

/// `value as u8` for a value from 0 to 255, in operations that CPUs do side by side; the cast minds NaN.
#[inline(always)]
pub(super) fn truncate(value: f32) -> u8 {
    // From here on the last bit of a float counts ones: the sum is rounded to a whole number.
    const WHOLE_NUMBERS: f32 = (1u32 << 23) as f32;
    let sum = value + WHOLE_NUMBERS;
    let rounded_up = sum - WHOLE_NUMBERS > value;
    (sum.to_bits() as u8).wrapping_sub(u8::from(rounded_up))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rng::RandomKey;

    fn noisy(length: usize, sigma: f64) -> Vec<u8> {
        let mut image = vec![128; length];
        gaussian_noise(&mut image, sigma, &mut CounterRng::new(RandomKey::default(), 5)).unwrap();
        image
    }

    #[test]
    fn noise_is_the_stream_of_normals() {
        let mut normals = vec![0.0; 1000];
        CounterRng::new(RandomKey::default(), 5).fill_standard_normals(&mut normals);
        let expected: Vec<u8> =
            normals.iter().map(|normal| (128.0 + normal * 40.0f32).clamp(0.0, 255.0) as u8).collect();
        assert_eq!(noisy(1000, 40.0), expected);
    }

    #[test]
    fn noise_of_no_width_changes_nothing() {
        assert_eq!(noisy(100, 0.0), vec![128; 100]);
    }

    #[test]
    fn truncation_is_that_of_a_cast() {
        for step in 0..=255 * 64 {
            let value = step as f32 / 64.0;
            for value in [value.next_down().max(0.0), value, value.next_up().min(255.0)] {
                assert_eq!(truncate(value), value as u8, "{value}");
            }
        }
    }

    #[test]
    fn noise_clips_at_both_ends() {
        let image = noisy(10_000, 255.0);
        assert!(image.contains(&0) && image.contains(&255));
    }
}
