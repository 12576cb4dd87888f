//! PNG's filters undone, for pixels of 3 and 4 bytes (PNG specification, section 9).
//!
//! Each byte of a pixel is the sum of what is stored and what its neighbours predict. A filter that looks to the left has
//! to wait for the pixel there; Paeth's waits longest, so that four rows of it are undone together, each one pixel behind
//! the one above it. Two of them share the vectors:
//!
//! ```text
//!   previous row   . . . b .        eight numbers of 16 bits:  upper pixel | lower pixel
//!   upper row      . . a x .        d = x + predict(a, b, c)        a = the last d
//!   lower row      . a x . .                                        b = previous row | the last d's upper pixel
//!                                                                   c = the last b
//! ```
//!
//! The two rows below do the same with the last lower pixel as their previous row's, without waiting for this pair.

#![allow(unsafe_code, reason = "intrinsics are unsafe to call from functions that do not name the feature")]

use std::arch::x86_64::*;

use super::rows::Filter;

/// Rows of Paeth's filter that are undone together.
pub(super) const PAETH_ROWS: usize = 4;

/// Undoes `filter` on one row: `stored` is what the file holds, `previous` the finished row above.
pub(super) fn row<const BYTES: usize>(filter: Filter, stored: &[u8], previous: &[u8], out: &mut [u8]) {
    match filter {
        Filter::None => out.copy_from_slice(stored),
        Filter::Up => {
            for ((out, &stored), &above) in out.iter_mut().zip(stored).zip(previous) {
                *out = stored.wrapping_add(above);
            }
        }
        // SAFETY: every processor of this architecture has SSE2.
        Filter::Sub => unsafe { sub_or_average::<BYTES, false>(stored, previous, out) },
        // SAFETY: as above.
        Filter::Average => unsafe { sub_or_average::<BYTES, true>(stored, previous, out) },
        // SAFETY: as above.
        Filter::Paeth => unsafe { paeth_row::<BYTES>(stored, previous, out) },
    }
}

/// Undoes Paeth's filter on consecutive rows, as many as [`PAETH_ROWS`].
pub(super) fn paeth_rows<const BYTES: usize>(
    stored: [&[u8]; PAETH_ROWS],
    previous: &[u8],
    mut out: [&mut [u8]; PAETH_ROWS],
) {
    // SAFETY: every processor of this architecture has SSE2.
    unsafe { staggered_rows::<BYTES>(stored, previous, &mut out) }
}

#[target_feature(enable = "sse2")]
fn sub_or_average<const BYTES: usize, const AVERAGE: bool>(stored: &[u8], previous: &[u8], out: &mut [u8]) {
    let (mut left, ones) = (_mm_setzero_si128(), _mm_set1_epi8(1));
    for pixel in 0..stored.len() / BYTES {
        let mut predicted = left;
        if AVERAGE {
            let above = vector(load::<BYTES>(previous, pixel));
            // The instruction rounds up where PNG rounds down.
            let odd = _mm_and_si128(_mm_xor_si128(left, above), ones);
            predicted = _mm_sub_epi8(_mm_avg_epu8(left, above), odd);
        }
        left = _mm_add_epi8(vector(load::<BYTES>(stored, pixel)), predicted);
        store::<BYTES>(out, pixel, _mm_cvtsi128_si32(left) as u32);
    }
}

#[target_feature(enable = "sse2")]
fn paeth_row<const BYTES: usize>(stored: &[u8], previous: &[u8], out: &mut [u8]) {
    let mut paeth = Paeth::default();
    for pixel in 0..stored.len() / BYTES {
        let above = load::<BYTES>(previous, pixel);
        let [out_pixel, _] = paeth.step(above, [load::<BYTES>(stored, pixel), 0]);
        store::<BYTES>(out, pixel, out_pixel);
    }
}

#[target_feature(enable = "sse2")]
fn staggered_rows<const BYTES: usize>(
    stored: [&[u8]; PAETH_ROWS],
    previous: &[u8],
    out: &mut [&mut [u8]; PAETH_ROWS],
) {
    let pixels = previous.len() / BYTES;
    let mut staggered = Staggered { pairs: Default::default(), last: [0; PAETH_ROWS] };
    // The first rows begin before the last ones, and end before them.
    let all_begun = (PAETH_ROWS - 1).min(pixels);
    for step in 0..all_begun {
        staggered.step::<BYTES, true>(step, &stored, previous, out);
    }
    for step in all_begun..pixels {
        staggered.step::<BYTES, false>(step, &stored, previous, out);
    }
    for step in pixels..pixels + PAETH_ROWS - 1 {
        staggered.step::<BYTES, true>(step, &stored, previous, out);
    }
}

/// Pairs of rows, each two pixels behind the one above it.
struct Staggered {
    pairs: [Paeth; PAETH_ROWS / 2],
    /// The last pixel of each row.
    last: [u32; PAETH_ROWS],
}

impl Staggered {
    /// The next pixel of each row; at the `EDGE` only of those rows that have begun and not ended.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn step<const BYTES: usize, const EDGE: bool>(
        &mut self,
        step: usize,
        stored: &[&[u8]; PAETH_ROWS],
        previous: &[u8],
        out: &mut [&mut [u8]; PAETH_ROWS],
    ) {
        // Left of a row all is zero; what comes out right of it is not looked at.
        let is_inside = |row: usize| !EDGE || (row..previous.len() / BYTES + row).contains(&step);
        let load_at =
            |line: &[u8], row: usize| if is_inside(row) { load::<BYTES>(line, step - row) } else { 0 };
        let before = self.last;
        for (pair, paeth) in self.pairs.iter_mut().enumerate() {
            let rows = [2 * pair, 2 * pair + 1];
            let above = if pair == 0 { load_at(previous, 0) } else { before[rows[0] - 1] };
            let pixels = paeth.step(above, rows.map(|row| load_at(stored[row], row)));
            for (row, pixel) in rows.into_iter().zip(pixels) {
                self.last[row] = pixel;
                if is_inside(row) {
                    store::<BYTES>(out[row], step - row, pixel);
                }
            }
        }
    }
}

/// The pixel at a place of a row, in the lower bytes; behind it the first byte of the next, if there is one.
#[inline(always)]
fn load<const BYTES: usize>(row: &[u8], pixel: usize) -> u32 {
    let rest = &row[pixel * BYTES..];
    match rest.first_chunk() {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => u32::from_le_bytes([rest[0], rest[1], rest[2], 0]),
    }
}

/// Writes a pixel, and over the first byte of the next one, which is still to be written.
#[inline(always)]
fn store<const BYTES: usize>(row: &mut [u8], pixel: usize, value: u32) {
    let rest = &mut row[pixel * BYTES..];
    match rest.first_chunk_mut() {
        Some(bytes) => *bytes = value.to_le_bytes(),
        None => rest.copy_from_slice(&value.to_le_bytes()[..BYTES]),
    }
}

#[target_feature(enable = "sse2")]
#[inline]
fn vector(pixel: u32) -> __m128i {
    _mm_cvtsi32_si128(pixel as i32)
}

/// The neighbours of two pixels, one in a row, the other in the row below, in numbers of 16 bits.
struct Paeth {
    left: __m128i,
    above: __m128i,
}

impl Default for Paeth {
    fn default() -> Self {
        // SAFETY: every processor of this architecture has SSE2.
        let zero = unsafe { _mm_setzero_si128() };
        Self { left: zero, above: zero }
    }
}

impl Paeth {
    /// The next pixel of the upper row, and the one that was next to it of the lower row; `above` is what the row above
    /// both has at the upper one's place.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn step(&mut self, above: u32, stored: [u32; 2]) -> [u32; 2] {
        let zero = _mm_setzero_si128();
        let stored = _mm_unpacklo_epi8(_mm_unpacklo_epi32(vector(stored[0]), vector(stored[1])), zero);
        let (a, c) = (self.left, self.above);
        let b = _mm_unpacklo_epi64(_mm_unpacklo_epi8(vector(above), zero), a);

        // Which of a, b and c is nearest to a + b - c, and the first of them in a tie: with t = 3c - a - b, the larger of
        // a and b unless it is above t, in which case the smaller ... told by two comparisons.
        let lower = _mm_min_epi16(a, b);
        let higher = _mm_max_epi16(a, b);
        let three_c = _mm_add_epi16(_mm_add_epi16(c, c), c);
        let threshold = _mm_sub_epi16(_mm_sub_epi16(three_c, b), a);
        let nearest = select(_mm_cmpgt_epi16(higher, threshold), c, lower);
        let nearest = select(_mm_cmpgt_epi16(threshold, lower), nearest, higher);

        // The upper bytes are zero, and a sum of bytes leaves them so.
        self.left = _mm_add_epi8(stored, nearest);
        self.above = b;
        let pixels = _mm_cvtsi128_si64(_mm_packus_epi16(self.left, zero)) as u64;
        [pixels as u32, (pixels >> 32) as u32]
    }
}

/// `chosen` where the mask is set, `other` elsewhere.
#[target_feature(enable = "sse2")]
#[inline]
fn select(mask: __m128i, chosen: __m128i, other: __m128i) -> __m128i {
    _mm_or_si128(_mm_and_si128(mask, chosen), _mm_andnot_si128(mask, other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The predictor as the specification words it.
    fn paeth_predictor(a: u8, b: u8, c: u8) -> u8 {
        let estimate = i32::from(a) + i32::from(b) - i32::from(c);
        let [to_a, to_b, to_c] = [a, b, c].map(|value| (estimate - i32::from(value)).abs());
        if to_a <= to_b && to_a <= to_c {
            a
        } else if to_b <= to_c {
            b
        } else {
            c
        }
    }

    fn specified(filter: Filter, bytes: usize, stored: &[u8], previous: &[u8]) -> Vec<u8> {
        let mut out = vec![0u8; stored.len()];
        for place in 0..stored.len() {
            let (a, c) = if place < bytes { (0, 0) } else { (out[place - bytes], previous[place - bytes]) };
            let b = previous[place];
            let predicted = match filter {
                Filter::None => 0,
                Filter::Sub => a,
                Filter::Up => b,
                Filter::Average => ((u16::from(a) + u16::from(b)) / 2) as u8,
                Filter::Paeth => paeth_predictor(a, b, c),
            };
            out[place] = stored[place].wrapping_add(predicted);
        }
        out
    }

    #[test]
    fn paeth_chooses_as_specified_for_all_neighbours() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                for c in 0..=255u8 {
                    // SAFETY: every processor of this architecture has SSE2.
                    let [upper, lower] = unsafe {
                        let spread = |value: u8| _mm_set1_epi16(i16::from(value));
                        let mut paeth = Paeth { left: spread(a), above: spread(c) };
                        // The lower row's pixel above is the upper row's to the left: b is a there.
                        paeth.step(u32::from(b), [0, 0])
                    };
                    assert_eq!(upper as u8, paeth_predictor(a, b, c), "{a} {b} {c}");
                    assert_eq!(lower as u8, paeth_predictor(a, a, c), "{a} {a} {c}");
                }
            }
        }
    }

    fn check<const BYTES: usize>(pixels: usize, seed: u64) {
        let row_of = |number: u64| -> Vec<u8> {
            let byte = |place: u64| ((seed ^ number).wrapping_mul(place * 2 + 1) >> 56) as u8;
            (1..=(pixels * BYTES) as u64).map(byte).collect()
        };
        let (stored, previous) = (row_of(1), row_of(77));
        let mut out = vec![9; stored.len()];
        for filter in [Filter::None, Filter::Sub, Filter::Up, Filter::Average, Filter::Paeth] {
            row::<BYTES>(filter, &stored, &previous, &mut out);
            assert_eq!(out, specified(filter, BYTES, &stored, &previous), "{filter:?}");
        }
        let stored: [Vec<u8>; PAETH_ROWS] = std::array::from_fn(|number| row_of(1234 * number as u64));
        let mut rows: [Vec<u8>; PAETH_ROWS] = std::array::from_fn(|_| vec![9; previous.len()]);
        let slices = stored.each_ref().map(Vec::as_slice);
        paeth_rows::<BYTES>(slices, &previous, rows.each_mut().map(Vec::as_mut_slice));
        let mut above = &previous;
        for (stored, row) in stored.iter().zip(&rows) {
            assert_eq!(row, &specified(Filter::Paeth, BYTES, stored, above));
            above = row;
        }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_specification(pixels in 1usize..70, seed: u64) {
            check::<3>(pixels, seed);
            check::<4>(pixels, seed);
        }
    }
}
