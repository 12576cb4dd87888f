//! What a JPEG leaves of an image, without making the JPEG: its artefacts, and nothing of its bytes.
//!
//! Entropy coding loses nothing, so that an image is the same after encoding and decoding as after the steps around it.
//! The result equals libjpeg-turbo's in its default settings (accurate integer transform, 4:2:0, triangle filter) on
//! every pixel; the library itself is the oracle of the tests.
//!
//! ```text
//!   16 rows ─► from_rgb ─► Y  ──────► tiles ─► blocks: transform, quantise, ─► rows ──────────► to_rgb ─► rows, in place
//!   of RGB     (edges are  Cb, Cr ─► (2 or 4   restore, transform back         Cb, Cr ─► triangle         one strip
//!               continued)  2 x 2     blocks                                             filter           later
//!                           averages  side by side)
//! ```
//!
//! A strip of 16 rows passes through all steps while it is in the processor's cache. Its last row has to wait for the
//! next strip, whose chrominance it shares.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "other processors leave the round trip to libjpeg-turbo")
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod dct;
mod from_rgb;
mod lanes;
mod plan;
mod quantise;
mod to_rgb;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
use blocks::{Chrominance, Luminance};
use from_rgb::FromRgb;
pub(crate) use lanes::{Lanes, Task};
use plan::{Aligned, PIXELS_PER_CHROMA, Plan, STRIP_ROWS, Strips};
use quantise::Quantiser;
use to_rgb::{DoubleColumns, ToRgb};

use crate::decode::Region;
use crate::error::DecodeError;

/// Narrower images have no triangle filter in libjpeg: it needs three samples of chrominance in a row.
const MIN_WIDTH: usize = 5;

/// The buffers of round trips; one per thread, kept as long as images come.
#[derive(Debug, Default)]
pub(crate) struct JpegRoundTrip {
    quantisers: Option<(u8, [Quantiser; 2])>,
    tail: Aligned<u8>,
    luminance_tiles: Aligned<i16>,
    chrominance_tiles: Aligned<i16>,
    /// One component of one strip.
    chrominance_rows: Aligned<i16>,
    strips: Strips,
}

impl JpegRoundTrip {
    /// Whether images of this width can be processed here: they have at least 5 columns, and the processor has AVX2.
    pub(crate) fn applies_to(width: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        return width >= MIN_WIDTH && avx2::Avx2::detect().is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Puts the artefacts of a JPEG of `quality` (1 to 100) on `region` of an RGB image `[height, width, 3]`, in place.
    /// Pixels around the region stay as they are, and count as far as they lie in the same blocks.
    ///
    /// Returns whether it did; where it does not apply, the image is left as it is. `rgb` has `height * width * 3` bytes;
    /// what of the region lies outside of the image is left out.
    ///
    /// # Errors
    /// [`DecodeError::OutOfMemory`]; the image is then as it was.
    pub(crate) fn run(
        &mut self,
        rgb: &mut [u8],
        width: usize,
        height: usize,
        quality: u8,
        region: Region,
    ) -> Result<bool, DecodeError> {
        let (top, left) = (region.top.min(height), region.left.min(width));
        let region = Region {
            top,
            left,
            height: region.height.min(height - top),
            width: region.width.min(width - left),
        };
        let applies = Self::applies_to(width);
        #[cfg(target_arch = "x86_64")]
        if applies && region.height > 0 && region.width > 0 {
            if let Some(lanes) = avx512::Avx512::detect() {
                self.run_with(lanes, rgb, width, height, quality, region)?;
            } else if let Some(lanes) = avx2::Avx2::detect() {
                self.run_with(lanes, rgb, width, height, quality, region)?;
            }
        }
        Ok(applies)
    }

    fn run_with<L: Lanes>(
        &mut self,
        lanes: L,
        rgb: &mut [u8],
        width: usize,
        height: usize,
        quality: u8,
        region: Region,
    ) -> Result<(), DecodeError> {
        let plan = &Plan::new::<L>(width, height, region);
        let Self { quantisers, tail, luminance_tiles, chrominance_tiles, chrominance_rows, strips } = self;
        let [luminance_quantiser, chrominance_quantiser] = match quantisers {
            Some((of, quantisers)) if *of == quality => quantisers,
            stale => &mut stale.insert((quality, Quantiser::of_quality(quality))).1,
        };
        let (tail_bytes, tile_row) = (PIXELS_PER_CHROMA * L::WIDTH * 3, plan.steps * 8 * L::WIDTH);
        let chroma_stride = plan.block_stride();
        tail.prepare(tail_bytes)?;
        luminance_tiles.prepare(4 * tile_row)?;
        chrominance_tiles.prepare(2 * tile_row)?;
        chrominance_rows.prepare(8 * chroma_stride)?;
        strips.prepare(plan)?;
        let tail = tail.first_mut(tail_bytes);
        let (upper, lower) = luminance_tiles.first_mut(4 * tile_row).split_at_mut(2 * tile_row);
        let (blue, red) = chrominance_tiles.first_mut(2 * tile_row).split_at_mut(tile_row);
        let chrominance_rows = chrominance_rows.first_mut(8 * chroma_stride);

        let mut first_row = region.top;
        for strip in plan.first_strip..=plan.last_strip {
            let (luminance, chrominance) = ([&mut *upper, &mut *lower], [&mut *blue, &mut *red]);
            lanes.run(FromRgb { plan, image: rgb, strip, tail, luminance, chrominance });
            for (half, tiles) in [&*upper, &*lower].into_iter().enumerate() {
                if plan.has_pixels_in_block_row(strip * STRIP_ROWS + half * 8) {
                    let stride = plan.luminance_stride();
                    lanes.run(Luminance {
                        quantiser: luminance_quantiser,
                        tiles,
                        count: plan.luminance_tiles(),
                        rows: &mut strips.luminance_of(plan, strip)[half * 8 * stride..],
                        stride,
                    });
                }
            }
            for (component, tiles) in [&*blue, &*red].into_iter().enumerate() {
                lanes.run(Chrominance {
                    quantiser: chrominance_quantiser,
                    tiles,
                    count: plan.steps,
                    rows: &mut chrominance_rows[L::WIDTH..],
                    stride: chroma_stride,
                });
                plan.continue_rows(chrominance_rows);
                let doubled = strips.chrominance_of(plan, component, strip);
                lanes.run(DoubleColumns { plan, rows: chrominance_rows, doubled });
            }
            let rows = first_row..plan.end_of_rows(strip).max(first_row);
            first_row = rows.end;
            lanes.run(ToRgb { plan, strips, image: rgb, rows, tail });
        }
        Ok(())
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
