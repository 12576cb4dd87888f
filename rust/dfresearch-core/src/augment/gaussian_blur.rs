//! Gaussian blur with OpenCV's fixed-point arithmetic.
//!
//! ```text
//!  u8 row, reflected ─ Σ weight · value ─► 16-bit row (8 fraction bits) ─ Σ weight · row ─► 32 bits, + ½ ─► u8
//!                       weights sum to 256     less 2^15: signed, as processors multiply
//! ```

use multiversion::multiversion;

use super::{CHANNELS, OperationKind, check_image, check_parameter};
use crate::error::Result;
#[cfg(target_arch = "x86_64")]
use crate::jpeg_round_trip::{Avx2, Avx512, Lanes, Task};

/// The sum of a kernel's weights: eight fraction bits.
const ONE: i32 = 256;

/// What a sum of 16 bits along x is lowered by to be signed; flipping its highest bit does that.
const OFFSET: u16 = 1 << 15;

/// What the sums along y begin with: a half, and the offsets that the weights, which sum to [`ONE`], bring in.
const INITIAL_SUM: i32 = (1 << 15) + ONE * OFFSET as i32;

/// Values that are summed side by side.
const LANES: usize = 64;

/// Intermediate rows of [`gaussian_blur`], kept between images.
#[derive(Debug, Default)]
pub struct GaussianBlurScratch {
    weights: Vec<u16>,
    reflected_row: Vec<u8>,
    /// One padded row for each of the image's, blurred along x; eight fraction bits, less [`OFFSET`].
    blurred_rows: Vec<i16>,
    /// Where the rows above and below an output row start, from the kernel's centre outwards.
    row_pairs: Vec<[usize; 2]>,
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
    half_kernel(sigma, &mut scratch.weights);
    if scratch.weights.len() > 1 {
        blur_along_x(image, width, scratch);
        blur_along_y(image, width, height, scratch);
    }
    Ok(())
}

/// The weights from the kernel's centre outwards; with the mirrored ones they sum to 256.
///
/// From the outside in, each weight is rounded to the nearest whole number and its error carried to the next; the
/// centre takes what is left, as OpenCV does.
fn half_kernel(sigma: f64, weights: &mut Vec<u16>) {
    let radius = ((6.0 * sigma + 1.0) as usize | 1) / 2;
    let density = |distance: usize| (-0.5 * (distance as f64 / sigma).powi(2)).exp();
    let total = 1.0 + 2.0 * (1..=radius).map(density).sum::<f64>();
    let (mut carried, mut centre) = (0.0, ONE);
    weights.clear();
    weights.resize(radius + 1, 0);
    for distance in (1..=radius).rev() {
        let exact = density(distance) / total * f64::from(ONE) + carried;
        let rounded = exact.round_ties_even();
        carried = exact - rounded;
        weights[distance] = rounded as u16;
        centre -= 2 * rounded as i32;
    }
    weights[0] = centre as u16;
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

fn blur_along_x(image: &[u8], width: usize, scratch: &mut GaussianBlurScratch) {
    let GaussianBlurScratch { weights, reflected_row, blurred_rows, .. } = scratch;
    let radius = weights.len() - 1;
    let row_values = width * CHANNELS;
    let stride = padded_length(row_values);
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
fn blur_row(reflected: &[u8], weights: &[u16], blurred: &mut [i16]) {
    let radius = weights.len() - 1;
    for (sums, start) in blurred.as_chunks_mut::<LANES>().0.iter_mut().zip((0..).step_by(LANES)) {
        let values_at = |pixel: usize| reflected[start + pixel * CHANNELS..].first_chunk::<LANES>();
        let mut partial = [0u16; LANES];
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
        *sums = partial.map(|sum| (sum ^ OFFSET) as i16);
    }
}

fn blur_along_y(image: &mut [u8], width: usize, height: usize, scratch: &mut GaussianBlurScratch) {
    let GaussianBlurScratch { weights, blurred_rows, row_pairs, .. } = scratch;
    let row_values = width * CHANNELS;
    let stride = padded_length(row_values);
    let radius = weights.len() as isize - 1;
    for (y, out) in (0..).zip(image.chunks_exact_mut(row_values)) {
        let row_at = |row: isize| reflect(row, height) * stride;
        row_pairs.clear();
        row_pairs.extend((0..=radius).map(|distance| [row_at(y - distance), row_at(y + distance)]));
        let column = Column { rows: blurred_rows, row_pairs, weights, out };
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = Avx512::detect() {
            lanes.run(column);
            continue;
        } else if let Some(lanes) = Avx2::detect() {
            lanes.run(column);
            continue;
        }
        column.blur();
    }
}

/// One row of the result.
struct Column<'a> {
    rows: &'a [i16],
    /// Where the rows above and below start, from the kernel's centre outwards. The centre's stands on both sides, and
    /// counts once.
    row_pairs: &'a [[usize; 2]],
    weights: &'a [u16],
    out: &'a mut [u8],
}

impl Column<'_> {
    fn blur(self) {
        let Self { rows, row_pairs, weights, out } = self;
        for (values, start) in out.chunks_mut(LANES).zip((0..).step_by(LANES)) {
            let mut sums = [INITIAL_SUM; LANES];
            for (distance, ([above, below], &weight)) in row_pairs.iter().zip(weights).enumerate() {
                let (above, below) = (&rows[above + start..][..LANES], &rows[below + start..][..LANES]);
                let (above_weight, below_weight) = pair_of_weights(distance, weight);
                for ((sum, &above), &below) in sums.iter_mut().zip(above).zip(below) {
                    *sum += i32::from(above) * i32::from(above_weight)
                        + i32::from(below) * i32::from(below_weight);
                }
            }
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = (sum >> 16) as u8;
            }
        }
    }
}

/// The weights of the rows above and below.
#[inline(always)]
fn pair_of_weights(distance: usize, weight: u16) -> (i16, i16) {
    // At most 256.
    (weight as i16, if distance == 0 { 0 } else { weight as i16 })
}

#[cfg(target_arch = "x86_64")]
impl Task for Column<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { rows, row_pairs, weights, out } = self;
        let (step, initial) = (2 * L::WIDTH, lanes.splat32(INITIAL_SUM));
        let mut last = [0; LANES];
        for start in (0..out.len()).step_by(step) {
            // Two vectors of values, the lower and upper halves of whose lanes are summed apart.
            let mut sums = [[initial; 2]; 2];
            for (distance, ([above, below], &weight)) in row_pairs.iter().zip(weights).enumerate() {
                let (above_weight, below_weight) = pair_of_weights(distance, weight);
                let weights = lanes.splat_pair(above_weight, below_weight);
                for (vector, [low, high]) in sums.iter_mut().enumerate() {
                    let at = start + vector * L::WIDTH;
                    let (above, below) = (lanes.load16(rows, above + at), lanes.load16(rows, below + at));
                    *low = lanes.dot_add(*low, lanes.interleave_low16(above, below), weights);
                    *high = lanes.dot_add(*high, lanes.interleave_high16(above, below), weights);
                }
            }
            let [first, second] =
                sums.map(|[low, high]| lanes.narrow32(lanes.right32(low, 16), lanes.right32(high, 16)));
            let bytes = lanes.narrow16(first, second);
            match out.get_mut(start..start + step) {
                Some(out) => lanes.store_halves(out, 0, L::WIDTH, bytes),
                None => {
                    lanes.store_halves(&mut last, 0, L::WIDTH, bytes);
                    let rest = &mut out[start..];
                    rest.copy_from_slice(&last[..rest.len()]);
                }
            }
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
        let half_kernel = |sigma: f64| {
            let mut weights = vec![7; 3];
            half_kernel(sigma, &mut weights);
            weights
        };
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
    #[cfg(target_arch = "x86_64")]
    fn every_processor_blurs_alike() {
        for (values, radius) in [(3, 1), (63, 2), (64, 3), (672, 4), (700, 9)] {
            let stride = padded_length(values);
            let rows: Vec<i16> = (0..stride * (radius + 1)).map(|place| (place * 40_503) as i16).collect();
            let row_pairs: Vec<_> = (0..=radius).map(|row| [row * stride, (radius - row) * stride]).collect();
            let mut weights = vec![0; radius + 1];
            half_kernel(radius as f64 / 3.0 - 0.01, &mut weights);
            assert_eq!(weights.len(), radius + 1);
            let blurred = |way: fn(Column<'_>)| {
                let mut out = vec![0; values];
                way(Column { rows: &rows, row_pairs: &row_pairs, weights: &weights, out: &mut out });
                out
            };
            let expected = blurred(|column| column.blur());
            if let Some(lanes) = Avx2::detect() {
                let way = |column: Column<'_>| Avx2::detect().unwrap().run(column);
                assert_eq!(blurred(way), expected, "{lanes:?} {values} {radius}");
            }
            if let Some(lanes) = Avx512::detect() {
                let way = |column: Column<'_>| Avx512::detect().unwrap().run(column);
                assert_eq!(blurred(way), expected, "{lanes:?} {values} {radius}");
            }
        }
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
