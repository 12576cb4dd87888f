//! Gaussian blur with OpenCV's fixed-point arithmetic.
//!
//! ```text
//!  u8 row, reflected ─ Σ weight · value ─► u16 row (8 fraction bits) ─ Σ weight · row ─► u32 (16 bits), + ½ ─► u8
//!                       weights sum to 256
//! ```

use multiversion::multiversion;

use super::{CHANNELS, OperationKind, check_image, check_parameter};
use crate::error::Result;

/// The sum of a kernel's weights: eight fraction bits.
const ONE: i32 = 256;

/// Values that are summed side by side.
const LANES: usize = 64;

/// Intermediate rows of [`gaussian_blur`], kept between images.
#[derive(Debug, Default)]
pub struct GaussianBlurScratch {
    reflected_row: Vec<u8>,
    /// One padded row for each of the image's, blurred along x; eight fraction bits.
    blurred_rows: Vec<u16>,
}

/// Blurs `image`, `[height, width, 3]`, with a Gaussian of `sigma` pixels.
///
/// Equal on every pixel to `cv2.GaussianBlur(image, (size, size), sigma)` of OpenCV 4.13, where `size` is
/// `int(6 * sigma + 1) | 1`: the border is reflected about its outermost pixels.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a sigma outside of 0.01 to 100, and
/// [`Error::Argument`](crate::Error::Argument) for an image that is not of the given size.
pub fn gaussian_blur(
    image: &mut [u8],
    width: usize,
    height: usize,
    sigma: f64,
    scratch: &mut GaussianBlurScratch,
) -> Result<()> {
    check_parameter(OperationKind::GaussianBlur, sigma)?;
    check_image(image, width, height)?;
    let weights = half_kernel(sigma);
    if weights.len() == 1 {
        return Ok(());
    }
    blur_along_x(image, width, &weights, scratch);
    blur_along_y(image, width, height, &weights, &scratch.blurred_rows);
    Ok(())
}

/// The weights from the kernel's centre outwards; with the mirrored ones they sum to 256.
///
/// From the outside in, each weight is rounded to the nearest whole number and its error carried to the next; the
/// centre takes what is left, as OpenCV does.
fn half_kernel(sigma: f64) -> Vec<u16> {
    let radius = ((6.0 * sigma + 1.0) as usize | 1) / 2;
    let density = |distance: usize| (-0.5 * (distance as f64 / sigma).powi(2)).exp();
    let total = 1.0 + 2.0 * (1..=radius).map(density).sum::<f64>();
    let (mut weights, mut carried, mut centre) = (vec![0; radius + 1], 0.0, ONE);
    for distance in (1..=radius).rev() {
        let exact = density(distance) / total * f64::from(ONE) + carried;
        let rounded = exact.round_ties_even();
        carried = exact - rounded;
        weights[distance] = rounded as u16;
        centre -= 2 * rounded as i32;
    }
    weights[0] = centre as u16;
    weights
}

/// Where the border's reflection puts `place`: about the outermost pixels, as often as it takes.
fn reflect(place: isize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length - 1);
    let within = place.rem_euclid(period as isize) as usize;
    within.min(period - within)
}

/// Bytes or values that a row takes with room for a whole number of [`LANES`].
fn padded_length(row_values: usize) -> usize {
    row_values.next_multiple_of(LANES)
}

fn blur_along_x(image: &[u8], width: usize, weights: &[u16], scratch: &mut GaussianBlurScratch) {
    let radius = weights.len() - 1;
    let row_values = width * CHANNELS;
    let stride = padded_length(row_values);
    let GaussianBlurScratch { reflected_row, blurred_rows } = scratch;
    reflected_row.resize(stride + 2 * radius * CHANNELS, 0);
    blurred_rows.resize(image.len() / row_values * stride, 0);
    for (row, blurred) in image.chunks_exact(row_values).zip(blurred_rows.chunks_exact_mut(stride)) {
        reflected_row[radius * CHANNELS..][..row_values].copy_from_slice(row);
        for distance in 1..=radius {
            for (pixel, column) in [
                (radius - distance, reflect(-(distance as isize), width)),
                (radius + width - 1 + distance, reflect((width - 1 + distance) as isize, width)),
            ] {
                let source = &row[column * CHANNELS..][..CHANNELS];
                reflected_row[pixel * CHANNELS..][..CHANNELS].copy_from_slice(source);
            }
        }
        blur_row(reflected_row, weights, blurred);
    }
}

/// One row; `reflected` has the kernel's radius of pixels more on either side than `blurred`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn blur_row(reflected: &[u8], weights: &[u16], blurred: &mut [u16]) {
    let radius = weights.len() - 1;
    for (sums, start) in blurred.as_chunks_mut::<LANES>().0.iter_mut().zip((0..).step_by(LANES)) {
        let values_at = |pixel: usize| reflected[start + pixel * CHANNELS..].first_chunk::<LANES>();
        let mut partial = [0; LANES];
        if let Some(values) = values_at(radius) {
            for (sum, &value) in partial.iter_mut().zip(values) {
                *sum = u16::from(value) * weights[0];
            }
        }
        for (distance, &weight) in weights.iter().enumerate().skip(1) {
            if let (Some(left), Some(right)) = (values_at(radius - distance), values_at(radius + distance)) {
                for ((sum, &left), &right) in partial.iter_mut().zip(left).zip(right) {
                    *sum += (u16::from(left) + u16::from(right)) * weight;
                }
            }
        }
        *sums = partial;
    }
}

fn blur_along_y(image: &mut [u8], width: usize, height: usize, weights: &[u16], blurred_rows: &[u16]) {
    let row_values = width * CHANNELS;
    let stride = padded_length(row_values);
    let mut rows = Vec::with_capacity(2 * weights.len());
    for (y, out) in image.chunks_exact_mut(row_values).enumerate() {
        rows.clear();
        for distance in 0..weights.len() as isize {
            let row_at = |row: isize| &blurred_rows[reflect(row, height) * stride..][..stride];
            rows.push([row_at(y as isize - distance), row_at(y as isize + distance)]);
        }
        blur_column(&rows, weights, out);
    }
}

/// One row of the result; `rows` holds, from the kernel's centre outwards, the row above and the row below.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn blur_column(rows: &[[&[u16]; 2]], weights: &[u16], out: &mut [u8]) {
    const HALF: u32 = 1 << 15;
    for (values, start) in out.chunks_mut(LANES).zip((0..).step_by(LANES)) {
        let mut sums = [HALF; LANES];
        for (distance, ([above, below], &weight)) in rows.iter().zip(weights).enumerate() {
            let (Some(above), Some(below)) =
                (above[start..].first_chunk::<LANES>(), below[start..].first_chunk::<LANES>())
            else {
                continue;
            };
            // The centre row stands on both sides of the centre, and counts once.
            let weight = u32::from(weight);
            if distance == 0 {
                for (sum, &value) in sums.iter_mut().zip(above) {
                    *sum += u32::from(value) * weight;
                }
            } else {
                for ((sum, &above), &below) in sums.iter_mut().zip(above).zip(below) {
                    *sum += (u32::from(above) + u32::from(below)) * weight;
                }
            }
        }
        for (value, sum) in values.iter_mut().zip(sums) {
            *value = (sum >> 16) as u8;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn blurred(mut image: Vec<u8>, width: usize, height: usize, sigma: f64) -> Vec<u8> {
        gaussian_blur(&mut image, width, height, sigma, &mut GaussianBlurScratch::default()).unwrap();
        image
    }

    #[test]
    fn kernels_are_those_of_opencv() {
        // cv2.GaussianBlur of a single 255, divided by it.
        assert_eq!(half_kernel(0.1), [256]);
        assert_eq!(half_kernel(0.5), [202, 27, 0]);
        assert_eq!(half_kernel(1.0), [102, 62, 14, 1]);
        for sigma in [0.3, 0.77, 1.5, 2.999, 40.0] {
            let weights = half_kernel(sigma);
            assert_eq!(weights[1..].iter().sum::<u16>() * 2 + weights[0], 256, "{sigma}");
        }
    }

    #[test]
    fn borders_reflect_about_the_outermost_pixel() {
        let places: Vec<usize> = (-5..8).map(|place| reflect(place, 3)).collect();
        assert_eq!(places, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(reflect(-7, 1), 0);
    }

    #[test]
    fn a_flat_image_stays_flat() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (23, 5), (64, 3)] {
            let image = [255, 7, 130].repeat(width * height);
            assert_eq!(blurred(image.clone(), width, height, 2.3), image);
        }
    }

    #[test]
    fn scratch_of_another_size_does_not_show() {
        let image: Vec<u8> = (0..13 * 7 * 3).map(|place| (place * 37 % 256) as u8).collect();
        let mut scratch = GaussianBlurScratch::default();
        gaussian_blur(&mut vec![255; 50 * 50 * 3], 50, 50, 3.0, &mut scratch).unwrap();
        let mut reused = image.clone();
        gaussian_blur(&mut reused, 13, 7, 1.2, &mut scratch).unwrap();
        assert_eq!(reused, blurred(image, 13, 7, 1.2));
    }

    #[test]
    fn sizes_and_sigmas_are_checked() {
        let mut scratch = GaussianBlurScratch::default();
        assert!(gaussian_blur(&mut [0; 12], 2, 2, 0.0, &mut scratch).is_err());
        assert!(gaussian_blur(&mut [0; 12], 2, 2, f64::NAN, &mut scratch).is_err());
        assert!(gaussian_blur(&mut [0; 12], 3, 2, 1.0, &mut scratch).is_err());
        assert!(gaussian_blur(&mut [], 0, 0, 1.0, &mut scratch).is_err());
    }
}
