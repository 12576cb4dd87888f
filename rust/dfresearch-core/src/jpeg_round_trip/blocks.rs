//! Blocks of 8 x 8 samples there and back: transform, quantise, restore, transform back.
//!
//! A tile is as many blocks side by side as a vector has lanes, its eight rows one behind the other.

use super::dct;
use super::lanes::{Lanes, Task};
use super::quantise::Quantiser;

/// Half of the range of samples: the transform works on signed ones.
const CENTRE: i16 = 128;

/// A row of luminance tiles.
pub(super) struct Luminance<'a> {
    pub(super) quantiser: &'a Quantiser,
    /// Samples from 0 to 255.
    pub(super) tiles: &'a [i16],
    /// How many of the tiles are wanted.
    pub(super) count: usize,
    /// Eight rows of bytes, `stride` apart.
    pub(super) rows: &'a mut [u8],
    pub(super) stride: usize,
}

/// A row of tiles of one chrominance component.
pub(super) struct Chrominance<'a> {
    pub(super) quantiser: &'a Quantiser,
    /// Samples from -128 to 127.
    pub(super) tiles: &'a [i16],
    pub(super) count: usize,
    /// Eight rows of samples from -128 to 127, `stride` apart.
    pub(super) rows: &'a mut [i16],
    pub(super) stride: usize,
}

impl Task for Luminance<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for tile in 0..self.count {
            let columns = round_trip(lanes, self.tiles, tile, self.quantiser, CENTRE);
            for (pair, rows) in transpose_bytes(lanes, columns).into_iter().enumerate() {
                let first = 2 * pair * self.stride + tile * L::WIDTH;
                lanes.store_halves(self.rows, first, first + self.stride, rows);
            }
        }
    }
}

impl Task for Chrominance<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (lowest, highest) = (lanes.splat16(-CENTRE), lanes.splat16(CENTRE - 1));
        for tile in 0..self.count {
            let columns = round_trip(lanes, self.tiles, tile, self.quantiser, 0);
            for (at, row) in dct::transpose(lanes, columns).into_iter().enumerate() {
                let clamped = lanes.max16(lanes.min16(row, highest), lowest);
                lanes.store16(self.rows, at * self.stride + tile * L::WIDTH, clamped);
            }
        }
    }
}

/// The columns of a tile after its round trip.
#[inline(always)]
fn round_trip<L: Lanes>(
    lanes: L,
    tiles: &[i16],
    tile: usize,
    quantiser: &Quantiser,
    centre: i16,
) -> [L::Vector; 8] {
    let rows = lanes.load_tile(tiles, tile * 8 * L::WIDTH);
    let mut coefficients = dct::forward(lanes, rows, centre);
    for (row, coefficients) in coefficients.iter_mut().enumerate() {
        *coefficients = quantiser.restore_row(lanes, row, *coefficients);
    }
    dct::inverse(lanes, coefficients, centre)
}

/// Columns of 16-bit numbers to rows of bytes, clamped: a lane holds its block's rows two by two.
#[inline(always)]
fn transpose_bytes<L: Lanes>(lanes: L, columns: [L::Vector; 8]) -> [L::Vector; 4] {
    let (a, b) = (lanes.narrow16(columns[0], columns[4]), lanes.narrow16(columns[1], columns[5]));
    let (c, d) = (lanes.narrow16(columns[2], columns[6]), lanes.narrow16(columns[3], columns[7]));
    // Two columns, then four, then eight; the lower halves of lanes hold columns 0 to 3, the upper ones 4 to 7.
    let (ab, ef) = (lanes.interleave_low8(a, b), lanes.interleave_high8(a, b));
    let (cd, gh) = (lanes.interleave_low8(c, d), lanes.interleave_high8(c, d));
    let left = [lanes.interleave_low16(ab, cd), lanes.interleave_high16(ab, cd)];
    let right = [lanes.interleave_low16(ef, gh), lanes.interleave_high16(ef, gh)];
    [
        lanes.interleave_low32(left[0], right[0]),
        lanes.interleave_high32(left[0], right[0]),
        lanes.interleave_low32(left[1], right[1]),
        lanes.interleave_high32(left[1], right[1]),
    ]
}
