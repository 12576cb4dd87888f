//! OpenCV's `resize(INTER_LINEAR)` on 8-bit RGB, equal on every pixel.
//!
//! The arithmetic is OpenCV 4.13's fixed-point path: two rows are interpolated horizontally with 11-bit
//! weights, and the sums, which keep 7 of these bits, are then interpolated vertically.
//!
//! ```text
//!   source rows          horizontal sums (<< 7)         output row
//!   s   ──────────────►  r0 ──┐
//!                              ├─ wy0*r0 >> 16  +  wy1*r1 >> 16, + 2, >> 2
//!   s+1 ──────────────►  r1 ──┘
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;

use multiversion::multiversion;

use crate::decode::Region;

/// `INTER_RESIZE_COEF_SCALE` of OpenCV: weights have 11 fractional bits.
const WEIGHT_SCALE: f32 = 2048.0;

/// Fractional bits that a horizontal sum loses, so that 16 bits hold it.
const DROPPED_BITS: u32 = 4;

/// Interleaved channels.
const CHANNELS: usize = 3;

/// Columns that are interpolated in one step, and room behind a row of sums for a step that writes one pixel too many.
const GROUP: usize = 4;

/// Where one output coordinate reads: two source positions and their weights.
#[derive(Debug, Clone, Copy, Default)]
struct Tap {
    near: usize,
    far: usize,
    near_weight: i16,
    far_weight: i16,
}

/// Reused between calls, so that a resize allocates nothing in steady state.
#[derive(Debug, Default)]
pub struct BilinearScratch {
    columns: Columns,
    rows: [Vec<i16>; 2],
}

/// The taps of a row, kept as long as rows of the same widths come.
#[derive(Debug, Default)]
struct Columns {
    source_width: usize,
    taps: Vec<Tap>,
    /// Weights in the order in which a step of [`GROUP`] columns multiplies; none where the processor has no such step.
    #[cfg(target_arch = "x86_64")]
    groups: Vec<avx2::Group>,
}

impl Columns {
    fn prepare(&mut self, source_width: usize, width: usize) {
        if (self.source_width, self.taps.len()) == (source_width, width) {
            return;
        }
        self.source_width = source_width;
        self.taps.clear();
        self.taps.extend((0..width).map(|x| column_tap(x, source_width, width)));
        #[cfg(target_arch = "x86_64")]
        {
            self.groups.clear();
            self.groups.extend(avx2::groups(&self.taps, source_width));
        }
    }

    /// The horizontal sums of one row of source pixels.
    fn interpolate(&self, pixels: &[u8], sums: &mut [i16]) {
        #[cfg(target_arch = "x86_64")]
        let done = avx2::interpolate(&self.groups, pixels, sums);
        #[cfg(not(target_arch = "x86_64"))]
        let done = 0;
        interpolate(&self.taps[done..], pixels, &mut sums[done * CHANNELS..]);
    }
}

/// Resizes `region` of an RGB image `[_, stride, 3]` to `out`, `[height, width, 3]`.
///
/// `size` is `(height, width)`; `out` holds `height * width * 3` bytes, and `region` lies inside the image.
pub fn resize_bilinear(
    source: &[u8],
    stride: usize,
    region: Region,
    size: (usize, usize),
    scratch: &mut BilinearScratch,
    out: &mut [u8],
) {
    let (height, width) = size;
    let row_of = |row: usize| {
        let start = ((region.top + row) * stride + region.left) * CHANNELS;
        &source[start..start + region.width * CHANNELS]
    };
    let out_rows = out.chunks_exact_mut(width * CHANNELS).enumerate();
    if (region.height, region.width) == size {
        // All weights are 0 or 1.
        out_rows.for_each(|(y, out_row)| out_row.copy_from_slice(row_of(y)));
        return;
    }
    let BilinearScratch { columns, rows } = scratch;
    columns.prepare(region.width, width);
    for row in rows.iter_mut() {
        row.resize((width + GROUP) * CHANNELS, 0);
    }

    // Consecutive output rows share source rows when the image grows: keep the two last sums.
    let mut held: [Option<usize>; 2] = [None, None];
    for (y, out_row) in out_rows {
        let tap = row_tap(y, region.height, height);
        if held[0] != Some(tap.near) && held[1] == Some(tap.near) {
            rows.swap(0, 1);
            held.swap(0, 1);
        }
        for (slot, wanted) in [(0, tap.near), (1, tap.far)] {
            if held[slot] != Some(wanted) {
                columns.interpolate(row_of(wanted), &mut rows[slot]);
                held[slot] = Some(wanted);
            }
        }
        blend_rows(&rows[0], &rows[1], [tap.near_weight, tap.far_weight], out_row);
    }
}

/// In x, a tap outside of the image loses its fraction, and its position is clamped.
fn column_tap(x: usize, source: usize, target: usize) -> Tap {
    let (floor, fraction) = source_position(x, source, target);
    if floor < 0 {
        return tap(0, 0, 0.0);
    }
    let near = floor as usize;
    if near >= source - 1 { tap(source - 1, source - 1, 0.0) } else { tap(near, near + 1, fraction) }
}

/// In y, positions are clamped but the fraction is kept.
fn row_tap(y: usize, source: usize, target: usize) -> Tap {
    let (floor, fraction) = source_position(y, source, target);
    let clamp = |position: i64| position.clamp(0, source as i64 - 1) as usize;
    tap(clamp(floor), clamp(floor + 1), fraction)
}

fn source_position(index: usize, source: usize, target: usize) -> (i64, f32) {
    // OpenCV derives the scale as the reciprocal of target/source, and rounds the position to f32.
    let scale = 1.0 / (target as f64 / source as f64);
    let position = ((index as f64 + 0.5) * scale - 0.5) as f32;
    let floor = position.floor();
    (floor as i64, position - floor)
}

fn tap(near: usize, far: usize, fraction: f32) -> Tap {
    Tap {
        near,
        far,
        near_weight: ((1.0 - fraction) * WEIGHT_SCALE).round_ties_even() as i16,
        far_weight: (fraction * WEIGHT_SCALE).round_ties_even() as i16,
    }
}

/// One row of `taps`; a sum is at most 255 * 2049 before it loses bits, and 32,655 behind.
fn interpolate(taps: &[Tap], pixels: &[u8], sums: &mut [i16]) {
    let (pixels, _) = pixels.as_chunks::<CHANNELS>();
    let (sums, _) = sums.as_chunks_mut::<CHANNELS>();
    for (sum, tap) in sums.iter_mut().zip(taps) {
        let (near, far) = (pixels[tap.near], pixels[tap.far]);
        for channel in 0..CHANNELS {
            let near = i32::from(near[channel]) * i32::from(tap.near_weight);
            let far = i32::from(far[channel]) * i32::from(tap.far_weight);
            sum[channel] = ((near + far) >> DROPPED_BITS) as i16;
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn blend_rows(near: &[i16], far: &[i16], weights: [i16; 2], out: &mut [u8]) {
    let weighted = |sum: i16, weight: i16| ((i32::from(sum) * i32::from(weight)) >> 16) as i16;
    for ((pixel, &near), &far) in out.iter_mut().zip(near).zip(far) {
        let sum = weighted(near, weights[0]) + weighted(far, weights[1]);
        *pixel = ((sum + 2) >> 2).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resize(source: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
        let region = Region { top: 0, left: 0, height: from.0, width: from.1 };
        let mut out = vec![0; to.0 * to.1 * CHANNELS];
        resize_bilinear(source, from.1, region, to, &mut BilinearScratch::default(), &mut out);
        out
    }

    proptest! {
        #[test]
        fn same_size_is_the_identity(height in 1usize..40, width in 1usize..40, seed: u64) {
            let source: Vec<u8> = (0..height * width * CHANNELS)
                .map(|i| (seed.wrapping_mul(i as u64 * 2 + 1) >> 56) as u8)
                .collect();
            prop_assert_eq!(resize(&source, (height, width), (height, width)), source);
        }

        #[test]
        fn a_flat_image_stays_flat(
            value: u8, from in (1usize..90, 1usize..90), to in (1usize..90, 1usize..90),
        ) {
            let source = vec![value; from.0 * from.1 * CHANNELS];
            prop_assert!(resize(&source, from, to).iter().all(|&pixel| pixel.abs_diff(value) <= 1));
        }

        #[test]
        fn a_region_equals_the_cropped_image(
            top in 0usize..8, left in 0usize..8, height in 1usize..20, width in 1usize..20,
            to in (1usize..30, 1usize..30),
        ) {
            let stride = 32;
            let source: Vec<u8> = (0..32 * stride * CHANNELS).map(|i| (i * 37 % 251) as u8).collect();
            let cropped: Vec<u8> = (top..top + height)
                .flat_map(|y| {
                    source[(y * stride + left) * CHANNELS..][..width * CHANNELS].to_vec()
                })
                .collect();
            let mut out = vec![0; to.0 * to.1 * CHANNELS];
            let region = Region { top, left, height, width };
            resize_bilinear(&source, stride, region, to, &mut BilinearScratch::default(), &mut out);
            prop_assert_eq!(out, resize(&cropped, (height, width), to));
        }

        #[test]
        fn every_way_gives_the_same_sums(
            source in 1usize..200, width in 1usize..200, seed: u64,
        ) {
            let pixels: Vec<u8> =
                (0..source * CHANNELS).map(|i| (seed.wrapping_mul(i as u64 * 2 + 1) >> 56) as u8).collect();
            let mut columns = Columns::default();
            // What an earlier geometry leaves behind does not show.
            columns.prepare(300, width);
            columns.prepare(source, width);
            let (mut sums, mut expected) = (vec![0; (width + GROUP) * CHANNELS], vec![0; width * CHANNELS]);
            columns.interpolate(&pixels, &mut sums);
            interpolate(&columns.taps, &pixels, &mut expected);
            prop_assert_eq!(&sums[..width * CHANNELS], &expected);
        }
    }
}
