//! Luminance and chrominance to RGB: the triangle filter that doubles chrominance, and JFIF's matrix.
//!
//! A pixel's chrominance is 9/16 of the nearest sample, 3/16 of the nearest in each direction, and 1/16 of the one
//! across; the image's outermost samples are continued. The IJG's library rounds 8/16 up in even columns, down in odd.

use super::lanes::{Lanes, Task};
use super::plan::{PIXELS_PER_CHROMA, Plan, Strips};

/// What blue's and red's difference add to green, 16 fractional bits; 1 is taken from the latter, so that it fits.
const GREEN: (i16, i16) = (-22_554, 18_734);
/// 1.402 and 1.772 with 14 fractional bits: after rounding, what 16 bits give for every chrominance there is.
const RED: i16 = 22_970;
const BLUE: i16 = 29_033;

/// Doubles the columns of rows of chrominance, and leaves them four times too large.
pub(super) struct DoubleColumns<'a> {
    pub(super) plan: &'a Plan,
    /// Rows of [`Plan::block_stride`] samples.
    pub(super) rows: &'a [i16],
    /// Rows of [`Plan::luminance_stride`] samples: vectors of even columns and of odd ones take turns.
    pub(super) doubled: &'a mut [i16],
}

impl Task for DoubleColumns<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let rows = self.rows.chunks_exact(self.plan.block_stride());
        for (row, doubled) in rows.zip(self.doubled.chunks_exact_mut(self.plan.luminance_stride())) {
            for step in 0..self.plan.steps {
                let at = (step + 1) * L::WIDTH;
                let threefold = lanes.multiply_low(lanes.load16(row, at), lanes.splat16(3));
                let [even, odd] = [step * 2 * L::WIDTH, (step * 2 + 1) * L::WIDTH];
                lanes.store16(doubled, even, lanes.add16(threefold, lanes.load16(row, at - 1)));
                lanes.store16(doubled, odd, lanes.add16(threefold, lanes.load16(row, at + 1)));
            }
        }
    }
}

/// Writes rows of an image from the strips that hold their samples.
pub(super) struct ToRgb<'a> {
    pub(super) plan: &'a Plan,
    pub(super) strips: &'a Strips,
    pub(super) image: &'a mut [u8],
    pub(super) rows: std::ops::Range<usize>,
    /// As many pixels as a step makes.
    pub(super) tail: &'a mut [u8],
}

impl Task for ToRgb<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        for y in self.rows.clone() {
            self.write_row(lanes, y);
        }
    }
}

impl ToRgb<'_> {
    #[inline(always)]
    fn write_row<L: Lanes>(&mut self, lanes: L, y: usize) {
        let Plan { width, origin, steps, chroma_height, region, .. } = *self.plan;
        let near = y / PIXELS_PER_CHROMA;
        let far =
            if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(chroma_height - 1) };
        let luminance = self.strips.luminance_row(self.plan, y);
        let step_pixels = PIXELS_PER_CHROMA * L::WIDTH;

        let blue =
            [self.strips.chrominance_row(self.plan, 0, near), self.strips.chrominance_row(self.plan, 0, far)];
        let red =
            [self.strips.chrominance_row(self.plan, 1, near), self.strips.chrominance_row(self.plan, 1, far)];
        let (round_up, round_down) = (lanes.splat16(0), lanes.splat16(-1));
        for step in 0..steps {
            let (even_columns, odd_columns) = (step * step_pixels, step * step_pixels + L::WIDTH);
            let even_blue = blend_rows(lanes, blue, even_columns, round_up);
            let even_red = blend_rows(lanes, red, even_columns, round_up);
            let odd_blue = blend_rows(lanes, blue, odd_columns, round_down);
            let odd_red = blend_rows(lanes, red, odd_columns, round_down);

            let samples = lanes.load8(luminance, step * step_pixels);
            let even = to_rgb(lanes, lanes.and(samples, lanes.splat16(0xff)), even_blue, even_red);
            let odd = to_rgb(lanes, lanes.odd_bytes(samples), odd_blue, odd_red);

            let x = origin + step * step_pixels;
            let (first, end) = (x.max(region.left), (x + step_pixels).min(region.left + region.width));
            if first == x && end == x + step_pixels {
                lanes.store_rgb(self.image, (y * width + x) * 3, even, odd);
            } else if first < end {
                lanes.store_rgb(self.tail, 0, even, odd);
                let pixels = &self.tail[(first - x) * 3..(end - x) * 3];
                self.image[(y * width + first) * 3..(y * width + end) * 3].copy_from_slice(pixels);
            }
        }
    }
}

/// Doubles rows whose columns have been doubled, and takes the factor of both back: `(3 * near + far) / 16`, rounded.
#[inline(always)]
fn blend_rows<L: Lanes>(lanes: L, [near, far]: [&[i16]; 2], at: usize, rounding: L::Vector) -> L::Vector {
    let near = lanes.multiply_low(lanes.load16(near, at), lanes.splat16(3));
    let sum = lanes.add16(lanes.add16(near, lanes.load16(far, at)), rounding);
    lanes.multiply_rounded(sum, lanes.splat16(1 << 11))
}

/// `difference * factor`, of 14 fractional bits, rounded.
#[inline(always)]
fn scale<L: Lanes>(lanes: L, difference: L::Vector, factor: i16) -> L::Vector {
    lanes.multiply_rounded(lanes.add16(difference, difference), lanes.splat16(factor))
}

/// Red, green and blue, not clamped.
#[inline(always)]
fn to_rgb<L: Lanes>(lanes: L, luminance: L::Vector, blue: L::Vector, red: L::Vector) -> [L::Vector; 3] {
    let factors = lanes.splat_pair(GREEN.0, GREEN.1);
    let half = lanes.splat32(1 << 15);
    let low = lanes.dot_add(half, lanes.interleave_low16(blue, red), factors);
    let high = lanes.dot_add(half, lanes.interleave_high16(blue, red), factors);
    let green = lanes.sub16(lanes.narrow32(lanes.right32(low, 16), lanes.right32(high, 16)), red);
    [
        lanes.add16(luminance, scale(lanes, red, RED)),
        lanes.add16(luminance, green),
        lanes.add16(luminance, scale(lanes, blue, BLUE)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_factors_round_as_long_ones_do() {
        for (short, long) in [(RED, 91_881), (BLUE, 116_130)] {
            for difference in -128..=127 {
                let rounded = (2 * difference * i32::from(short) + (1 << 14)) >> 15;
                assert_eq!(rounded, (difference * long + (1 << 15)) >> 16, "{difference} * {long}");
            }
        }
    }
}
