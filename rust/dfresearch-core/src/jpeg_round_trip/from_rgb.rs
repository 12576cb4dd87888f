//! RGB to luminance and halved chrominance, 16 rows of pixels at a time.
//!
//! JFIF's matrix with 16 fractional bits, as the IJG's tables hold it. All three rows of it need only the differences to
//! blue: the factors of a chrominance sum up to zero, those of luminance to one.
//!
//! ```text
//!   Y      = G + (-0.29900 (B - R) + 0.41300 (B - G) + 1/2)      B - R and B - G are pairs of 16 bits,
//!   Cb-128 =      0.16874 (B - R) + 0.33126 (B - G) + 1/2-       the rest is one dot product each;
//!   Cr-128 =     -0.50000 (B - R) + 0.41869 (B - G) + 1/2-       1/2- is 2^-16 less than 1/2
//! ```

use super::lanes::{Lanes, Task};
use super::plan::{PIXELS_PER_CHROMA, Plan, STRIP_CHROMA_ROWS, STRIP_ROWS};

const FRACTION_BITS: i32 = 16;
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// Factors of `(B - R, B - G)`; 0.58700 is 1 - 0.41300.
const LUMINANCE: (i16, i16) = (-19_595, 27_066);
const BLUE_DIFFERENCE: (i16, i16) = (11_059, 21_709);
const RED_DIFFERENCE: (i16, i16) = (-32_768, 27_439);

/// What is added to four samples before they are divided by four: columns take turns at 1 and 2, so that no side is
/// favoured. Numbers of 32 bits, the lower half first.
const DOWNSAMPLING_BIASES: [i16; 8] = [1, 0, 2, 0, 1, 0, 2, 0];

/// Converts one strip of an image.
pub(super) struct FromRgb<'a> {
    pub(super) plan: &'a Plan,
    pub(super) image: &'a [u8],
    pub(super) strip: usize,
    /// The last pixels of a row and their continuation: as many as a step takes.
    pub(super) tail: &'a mut [u8],
    /// Two rows of tiles, of samples from 0 to 255.
    pub(super) luminance: [&'a mut [i16]; 2],
    /// A row of tiles each, of samples from -128 to 127.
    pub(super) chrominance: [&'a mut [i16]; 2],
}

impl Task for FromRgb<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let first = self.strip * STRIP_CHROMA_ROWS;
        for row in 0..STRIP_CHROMA_ROWS {
            if first + row < self.plan.chroma_height {
                self.convert(lanes, row);
            } else {
                self.repeat(lanes, row);
            }
        }
    }
}

impl FromRgb<'_> {
    /// One row of chrominance, and the two rows of pixels that it stands for.
    #[inline(always)]
    fn convert<L: Lanes>(&mut self, lanes: L, row: usize) {
        let Plan { height, origin, steps, .. } = *self.plan;
        let step_pixels = PIXELS_PER_CHROMA * L::WIDTH;
        let y = (self.strip * STRIP_CHROMA_ROWS + row) * PIXELS_PER_CHROMA;
        let image_rows = [y, (y + 1).min(height - 1)];
        let bias = lanes.splat_row(&DOWNSAMPLING_BIASES);
        for step in 0..steps {
            let x = origin + step * step_pixels;
            let upper = self.load_pixels(lanes, image_rows[0], x);
            let upper = convert_pixels(lanes, upper);
            self.store_luminance(lanes, row * 2, step, upper.luminance);
            let lower = self.load_pixels(lanes, image_rows[1], x);
            let lower = convert_pixels(lanes, lower);
            self.store_luminance(lanes, row * 2 + 1, step, lower.luminance);

            let at = (row + step * 8) * L::WIDTH;
            let [blue, red] = &mut self.chrominance;
            lanes.store16(blue, at, average(lanes, upper.blue, lower.blue, bias));
            lanes.store16(red, at, average(lanes, upper.red, lower.red, bias));
        }
    }

    /// The pixels of one step. The last one continues to the end of its block; what lies beyond is in no block of the
    /// image, and may be anything.
    #[inline(always)]
    fn load_pixels<L: Lanes>(&mut self, lanes: L, y: usize, x: usize) -> [[L::Vector; 2]; 4] {
        let Plan { width, .. } = *self.plan;
        let start = (y * width + x) * 3;
        if x + PIXELS_PER_CHROMA * L::WIDTH <= width {
            return lanes.load_rgb(self.image, start);
        }
        let end = (y + 1) * width * 3;
        let (inside, outside) = self.tail.split_at_mut(end - start);
        inside.copy_from_slice(&self.image[start..end]);
        let to_end_of_block = width.next_multiple_of(STRIP_ROWS) - width;
        for pixel in &mut outside.as_chunks_mut::<3>().0[..to_end_of_block] {
            pixel.copy_from_slice(&self.image[end - 3..end]);
        }
        lanes.load_rgb(self.tail, 0)
    }

    /// Stores a row of the strip; `numbers` are in the upper halves of 32 bits.
    #[inline(always)]
    fn store_luminance<L: Lanes>(&mut self, lanes: L, row: usize, step: usize, numbers: Quarters<L::Vector>) {
        let [a, b, c, d] = numbers;
        let left = lanes.narrow32(lanes.upper_halves(a), lanes.upper_halves(b));
        let right = lanes.narrow32(lanes.upper_halves(c), lanes.upper_halves(d));
        let tiles = &mut self.luminance[row / 8];
        let at = (row % 8 + step * 16) * L::WIDTH;
        lanes.store16(tiles, at, left);
        lanes.store16(tiles, at + 8 * L::WIDTH, right);
    }

    /// Below the image, the last row is continued: of luminance the last one of pixels, of chrominance the last one
    /// that was averaged.
    #[inline(always)]
    fn repeat<L: Lanes>(&mut self, lanes: L, row: usize) {
        for tiles in &mut self.chrominance {
            copy_row(lanes, tiles, self.plan.steps, row - 1);
        }
        // A row of blocks without any row of the image is not looked at.
        if !row.is_multiple_of(4) {
            let tiles = &mut self.luminance[row / 4];
            copy_row(lanes, tiles, self.plan.steps * 2, row % 4 * 2 - 1);
            copy_row(lanes, tiles, self.plan.steps * 2, row % 4 * 2);
        }
    }
}

/// Copies row `row` of `count` tiles to the next one.
#[inline(always)]
fn copy_row<L: Lanes>(lanes: L, tiles: &mut [i16], count: usize, row: usize) {
    for tile in 0..count {
        let at = (row + tile * 8) * L::WIDTH;
        let samples = lanes.load16(tiles, at);
        lanes.store16(tiles, at + L::WIDTH, samples);
    }
}

/// A step's numbers, as [`Lanes::load_rgb`] divides them.
type Quarters<V> = [V; 4];

/// Numbers in the upper halves of 32 bits.
struct Converted<V> {
    luminance: Quarters<V>,
    blue: Quarters<V>,
    red: Quarters<V>,
}

#[inline(always)]
fn convert_pixels<L: Lanes>(lanes: L, pixels: Quarters<[L::Vector; 2]>) -> Converted<L::Vector> {
    let zero = [lanes.splat32(0); 4];
    let mut converted = Converted { luminance: zero, blue: zero, red: zero };
    for (quarter, [blue_blue, red_green]) in pixels.into_iter().enumerate() {
        let differences = lanes.sub16(blue_blue, red_green);
        let green_and_half = lanes.join_halves(red_green, lanes.splat32(HALF));
        // The library rounds halves of chrominance down.
        let half = lanes.splat32(HALF - 1);
        converted.luminance[quarter] = weigh(lanes, green_and_half, differences, LUMINANCE);
        converted.blue[quarter] = weigh(lanes, half, differences, BLUE_DIFFERENCE);
        converted.red[quarter] = weigh(lanes, half, differences, RED_DIFFERENCE);
    }
    converted
}

#[inline(always)]
fn weigh<L: Lanes>(lanes: L, sum: L::Vector, differences: L::Vector, factors: (i16, i16)) -> L::Vector {
    lanes.dot_add(sum, differences, lanes.splat_pair(factors.0, factors.1))
}

/// Averages of 2 x 2 samples that lie in the upper halves of 32 bits.
#[inline(always)]
fn average<L: Lanes>(
    lanes: L,
    upper: Quarters<L::Vector>,
    lower: Quarters<L::Vector>,
    bias: L::Vector,
) -> L::Vector {
    let ones = lanes.splat16(1);
    let mut sums = [bias; 4];
    for (sum, (upper, lower)) in sums.iter_mut().zip(upper.into_iter().zip(lower)) {
        *sum = lanes.dot(lanes.join_halves(lower, lanes.upper_halves(upper)), ones);
    }
    let [a, b, c, d] = sums;
    let left = lanes.dot_add(bias, lanes.narrow32(a, b), ones);
    let right = lanes.dot_add(bias, lanes.narrow32(c, d), ones);
    lanes.narrow32_ordered(lanes.right32(left, 2), lanes.right32(right, 2))
}
