//! Which strips and columns of an image a region needs, and where their samples lie in between.
//!
//! ```text
//!            origin (a multiple of 16)
//!              │      left              right
//!   strip ─────┼───────┬──────────────────┬──────┐
//!   (16 rows)  │ block │      region      │ block│     chrominance reaches one sample further than the region
//!          ────┼───────┴──────────────────┴──────┤
//!              step    step    step    step          2 vectors of pixels each
//! ```

use super::lanes::Lanes;
use crate::decode::Region;
use crate::error::DecodeError;

/// 4:2:0: one sample of chrominance for 2 x 2 pixels.
pub(super) const PIXELS_PER_CHROMA: usize = 2;
/// Rows of chrominance in a strip: a block.
pub(super) const STRIP_CHROMA_ROWS: usize = 8;
/// Rows of pixels in a strip.
pub(super) const STRIP_ROWS: usize = PIXELS_PER_CHROMA * STRIP_CHROMA_ROWS;

/// A region of an image, and what it takes to make it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) chroma_width: usize,
    pub(super) chroma_height: usize,
    pub(super) region: Region,
    /// The first column that is converted.
    pub(super) origin: usize,
    /// How many times two vectors of pixels are converted in a row.
    pub(super) steps: usize,
    /// The first strip that is converted, and the last.
    pub(super) first_strip: usize,
    pub(super) last_strip: usize,
    /// Numbers of 16 bits in a vector.
    vector: usize,
}

impl Plan {
    /// `region` has pixels, and lies inside of the image.
    pub(super) fn new<L: Lanes>(width: usize, height: usize, region: Region) -> Self {
        let (chroma_width, chroma_height) =
            (width.div_ceil(PIXELS_PER_CHROMA), height.div_ceil(PIXELS_PER_CHROMA));
        let (right, bottom) = (region.left + region.width, region.top + region.height);
        // The filter looks at the nearest samples on either side of a pixel.
        let first = |pixel: usize| pixel.saturating_sub(1) / PIXELS_PER_CHROMA;
        let last = |end: usize, samples: usize| (end / PIXELS_PER_CHROMA).min(samples - 1);
        let origin = first(region.left) / 8 * STRIP_ROWS;
        let end = (last(right, chroma_width) + 1) * PIXELS_PER_CHROMA;
        Self {
            width,
            height,
            chroma_width,
            chroma_height,
            region,
            origin,
            steps: (end - origin).div_ceil(PIXELS_PER_CHROMA * L::WIDTH),
            first_strip: first(region.top) / STRIP_CHROMA_ROWS,
            last_strip: last(bottom, chroma_height) / STRIP_CHROMA_ROWS,
            vector: L::WIDTH,
        }
    }

    /// Luminance tiles in a row of blocks that the region needs.
    pub(super) fn luminance_tiles(&self) -> usize {
        (self.region.left + self.region.width - self.origin).div_ceil(self.vector)
    }

    /// Whether the region has pixels in the 8 rows from `first` on.
    pub(super) fn has_pixels_in_block_row(&self, first: usize) -> bool {
        first < self.region.top + self.region.height && first + 8 > self.region.top
    }

    /// Rows of the region that can be written after `strip`, if those before are.
    pub(super) fn end_of_rows(&self, strip: usize) -> usize {
        let bottom = self.region.top + self.region.height;
        // A strip's last row needs chrominance of the next.
        if strip == self.last_strip { bottom } else { bottom.min((strip + 1) * STRIP_ROWS - 1) }
    }

    /// Samples in a row of chrominance as blocks leave it: with a vector more on either side, of which one sample is
    /// looked at.
    pub(super) fn block_stride(&self) -> usize {
        (self.steps + 2) * self.vector
    }

    /// Samples in a row of luminance, or of chrominance after its columns have been doubled.
    pub(super) fn luminance_stride(&self) -> usize {
        self.steps * PIXELS_PER_CHROMA * self.vector
    }

    /// Continues the outermost samples of rows of chrominance by one.
    pub(super) fn continue_rows(&self, rows: &mut [i16]) {
        let behind = self.vector + self.chroma_width - self.origin / PIXELS_PER_CHROMA;
        for row in rows.chunks_exact_mut(self.block_stride()) {
            row[self.vector - 1] = row[self.vector];
            if behind < row.len() {
                row[behind] = row[behind - 1];
            }
        }
    }
}

/// A buffer that begins where a cache line does: vectors that lie across two lines cost twice.
#[derive(Debug, Default)]
pub(super) struct Aligned<T>(Vec<T>);

/// Bytes of a cache line, and of the longest vector.
const LINE_BYTES: usize = 64;

impl<T: Copy + Default> Aligned<T> {
    /// Makes room for `length` numbers. Memory is kept from call to call.
    pub(super) fn prepare(&mut self, length: usize) -> Result<(), DecodeError> {
        let padded = length + LINE_BYTES / size_of::<T>();
        if self.0.len() < padded {
            let additional = padded - self.0.len();
            let bytes = padded * size_of::<T>();
            self.0.try_reserve_exact(additional).map_err(|_| DecodeError::OutOfMemory { bytes })?;
            self.0.resize(padded, T::default());
        }
        Ok(())
    }

    /// The first `length` numbers, of whatever value; not more than there was made room for.
    pub(super) fn first_mut(&mut self, length: usize) -> &mut [T] {
        let start = self.start();
        &mut self.0[start..start + length]
    }

    /// As [`Self::first_mut`].
    #[inline(always)]
    fn first(&self, length: usize) -> &[T] {
        let start = self.start();
        &self.0[start..start + length]
    }

    #[inline(always)]
    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(LINE_BYTES).min(LINE_BYTES / size_of::<T>())
    }
}

/// The samples of two strips after their round trip, the last one and the one before.
#[derive(Debug, Default)]
pub(super) struct Strips {
    luminance: Aligned<u8>,
    /// Blue, then red: for each vector of samples one of even columns and one of odd ones, four times too large.
    chrominance: [Aligned<i16>; 2],
}

impl Strips {
    /// Makes room for two strips.
    pub(super) fn prepare(&mut self, plan: &Plan) -> Result<(), DecodeError> {
        let stride = plan.luminance_stride();
        self.luminance.prepare(2 * STRIP_ROWS * stride)?;
        self.chrominance.iter_mut().try_for_each(|rows| rows.prepare(2 * STRIP_CHROMA_ROWS * stride))
    }

    /// The 16 rows of luminance of `strip`.
    pub(super) fn luminance_of(&mut self, plan: &Plan, strip: usize) -> &mut [u8] {
        let length = STRIP_ROWS * plan.luminance_stride();
        let start = strip % 2 * length;
        &mut self.luminance.first_mut(2 * length)[start..start + length]
    }

    /// The 8 rows of one chrominance of `strip`.
    pub(super) fn chrominance_of(&mut self, plan: &Plan, component: usize, strip: usize) -> &mut [i16] {
        let length = STRIP_CHROMA_ROWS * plan.luminance_stride();
        let start = strip % 2 * length;
        &mut self.chrominance[component].first_mut(2 * length)[start..start + length]
    }

    /// Row `y` of the image.
    #[inline(always)]
    pub(super) fn luminance_row(&self, plan: &Plan, y: usize) -> &[u8] {
        let stride = plan.luminance_stride();
        &self.luminance.first(2 * STRIP_ROWS * stride)[y % (2 * STRIP_ROWS) * stride..][..stride]
    }

    /// Row `row` of a chrominance.
    #[inline(always)]
    pub(super) fn chrominance_row(&self, plan: &Plan, component: usize, row: usize) -> &[i16] {
        let stride = plan.luminance_stride();
        let rows = self.chrominance[component].first(2 * STRIP_CHROMA_ROWS * stride);
        &rows[row % (2 * STRIP_CHROMA_ROWS) * stride..][..stride]
    }
}
