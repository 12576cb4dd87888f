//! The usual PNG, 8 bits of RGB or RGBA and not interlaced, inflated and unfiltered in strips that stay in the cache.
//!
//! ```text
//!   IDAT parts ─ inflate ─► ▕ 32 KiB that matches reach back ▏ row ▏ row ▏ part of a row ▏ room ▕ ─ unfilter ─► samples
//! ```
//!
//! What is out of the ordinary in any way, broken data included, is left to the `png` crate from the start: it decides
//! what is refused, and with which words.

use super::unfilter::{PAETH_ROWS, paeth_rows, row};
use super::{Chunks, Layout, row_bytes, stream};
use crate::error::DecodeError;

/// How a row's bytes are stored: less what their neighbours predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    None,
    Sub,
    Up,
    Average,
    Paeth,
}

/// The filters in the order of their numbers.
const FILTERS: [Filter; 5] = [Filter::None, Filter::Sub, Filter::Up, Filter::Average, Filter::Paeth];

/// How far back a match of deflate reaches.
const WINDOW_BYTES: usize = 32 << 10;
/// What is inflated at a time besides the rows that wait: little enough for a processor's second cache.
const STRIP_BYTES: usize = 192 << 10;
/// Longer rows are left to the `png` crate; a buffer is kept, and should stay small.
const MAX_ROW_BYTES: usize = 1 << 20;

/// Buffers that are kept from image to image.
#[derive(Debug, Default)]
pub(super) struct RowDecoder {
    strip: Vec<u8>,
    /// The row above the first one.
    zeros: Vec<u8>,
}

impl RowDecoder {
    /// Decodes the image data to samples as they are stored: packed, in rows of whole bytes.
    pub(super) fn decode_samples(
        &mut self,
        chunks: &Chunks<'_>,
        samples: &mut [u8],
    ) -> Result<(), DecodeError> {
        let header = &chunks.header;
        let row_bytes = row_bytes(header, chunks.region.width);
        let usual = header.bit_depth == 8 && !header.interlaced && row_bytes <= MAX_ROW_BYTES;
        let decoded = usual
            && match header.layout {
                Layout::Rgb => self.decode::<3>(chunks, row_bytes, samples),
                Layout::Rgba => self.decode::<4>(chunks, row_bytes, samples),
                _ => false,
            };
        if decoded { Ok(()) } else { stream::decode_samples(chunks, samples) }
    }

    /// Fills `samples`, rows of `row_bytes`, from the zlib stream of `chunks`; pixels have `BYTES` bytes. Returns whether
    /// the stream is sound and holds exactly the rows: if not, `samples` has no meaning.
    fn decode<const BYTES: usize>(
        &mut self,
        chunks: &Chunks<'_>,
        row_bytes: usize,
        samples: &mut [u8],
    ) -> bool {
        let stored_bytes = row_bytes + 1;
        let strip_bytes = WINDOW_BYTES + STRIP_BYTES + PAETH_ROWS * stored_bytes;
        if self.strip.len() < strip_bytes {
            self.strip.resize(strip_bytes, 0);
        }
        if self.zeros.len() < row_bytes {
            self.zeros.resize(row_bytes, 0);
        }
        let strip = &mut self.strip[..strip_bytes];
        let mut rows = Rows { row_bytes, next: 0, samples, above_first: &self.zeros[..row_bytes] };
        let mut inflater = fdeflate::Decompressor::new();
        // Bytes up to `filled` are inflated, those up to `taken` belong to rows that are done.
        let (mut filled, mut taken) = (0, 0);
        let mut parts = chunks.parts();
        let mut input: &[u8] = &[];
        while !inflater.is_done() {
            let mut is_last = false;
            if input.is_empty() {
                match parts.next() {
                    Some(part) => input = part,
                    None => is_last = true,
                }
            }
            let Ok((read, written)) = inflater.read(input, strip, filled, false) else {
                return false;
            };
            let had_input = !input.is_empty();
            input = &input[read..];
            filled += written;
            match rows.unfilter::<BYTES>(&strip[taken..filled], false) {
                Some(bytes) => taken += bytes,
                None => return false,
            }
            if filled == strip_bytes {
                // What waits is shorter than the strip, so that there is room behind it.
                let kept = taken.min(filled - WINDOW_BYTES);
                strip.copy_within(kept.., 0);
                (filled, taken) = (filled - kept, taken - kept);
            } else if (read, written) == (0, 0) && (had_input || is_last) && !inflater.is_done() {
                // The stream has been cut off.
                return false;
            }
        }
        let Some(bytes) = rows.unfilter::<BYTES>(&strip[taken..filled], true) else {
            return false;
        };
        taken + bytes == filled && rows.is_complete() && input.is_empty() && parts.all(<[u8]>::is_empty)
    }
}

/// Rows of samples that are being filled.
struct Rows<'a> {
    row_bytes: usize,
    next: usize,
    samples: &'a mut [u8],
    above_first: &'a [u8],
}

impl Rows<'_> {
    fn is_complete(&self) -> bool {
        self.next * self.row_bytes == self.samples.len()
    }

    /// Undoes the filters of whole rows at the start of `stored`, in which more may follow; the bytes that these take.
    /// Rows of Paeth's filter wait until there are [`PAETH_ROWS`], or the `end`. `None` if there is a filter that does
    /// not exist, or a row too many.
    fn unfilter<const BYTES: usize>(&mut self, stored: &[u8], end: bool) -> Option<usize> {
        let stored_bytes = self.row_bytes + 1;
        let is_paeth = |row: &&[u8]| usize::from(row[0]) == Filter::Paeth as usize;
        let mut taken = 0;
        while let Some(this) = stored[taken..].get(..stored_bytes) {
            let filter = FILTERS.get(usize::from(this[0])).copied()?;
            let rows = stored[taken..].chunks_exact(stored_bytes);
            let following = rows.clone().take(PAETH_ROWS).take_while(is_paeth).count();
            if following == PAETH_ROWS {
                let row = |number: usize| &stored[taken + number * stored_bytes..][1..stored_bytes];
                self.together::<BYTES>(std::array::from_fn(row))?;
                taken += PAETH_ROWS * stored_bytes;
            } else if following > 0 && following == rows.len() && !end {
                break;
            } else {
                self.one::<BYTES>(filter, &this[1..])?;
                taken += stored_bytes;
            }
        }
        Some(taken)
    }

    fn one<const BYTES: usize>(&mut self, filter: Filter, stored: &[u8]) -> Option<()> {
        let (previous, rest) = self.split();
        let out = rest.get_mut(..stored.len())?;
        row::<BYTES>(filter, stored, previous, out);
        self.next += 1;
        Some(())
    }

    fn together<const BYTES: usize>(&mut self, stored: [&[u8]; PAETH_ROWS]) -> Option<()> {
        let row_bytes = self.row_bytes;
        let (previous, rest) = self.split();
        let mut rows = rest.get_mut(..PAETH_ROWS * row_bytes)?.chunks_exact_mut(row_bytes);
        let out = std::array::from_fn(|_| rows.next().unwrap_or_default());
        paeth_rows::<BYTES>(stored, previous, out);
        self.next += PAETH_ROWS;
        Some(())
    }

    /// The row above the next one, and what is still to be filled.
    fn split(&mut self) -> (&[u8], &mut [u8]) {
        let (done, rest) = self.samples.split_at_mut(self.next * self.row_bytes);
        let previous = if done.is_empty() { self.above_first } else { &done[done.len() - self.row_bytes..] };
        (previous, rest)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use png::{ColorType, Filter as Stored};
    use proptest::prelude::*;

    use super::*;
    use crate::decode::ImageLimits;
    use crate::decode::png::walk;

    /// A smooth picture with noise on it, whose rows take more than one strip.
    fn picture(width: usize, height: usize, bytes: usize, seed: u64) -> Vec<u8> {
        let value = |place: usize| {
            let noise = (seed.wrapping_mul(place as u64 * 2 + 1) >> 60) as usize;
            (place / bytes % width + place / (bytes * width) * 3 + noise) as u8
        };
        (0..width * height * bytes).map(value).collect()
    }

    fn encode(samples: &[u8], width: usize, color: ColorType, filter: Stored) -> Vec<u8> {
        let row_bytes = width * color.samples();
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width as u32, (samples.len() / row_bytes) as u32);
        encoder.set_color(color);
        encoder.set_filter(filter);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(samples).unwrap();
        writer.finish().unwrap();
        file
    }

    /// What both ways make of a file; `None` where it is refused.
    fn both_ways(file: &[u8], row_bytes: usize, height: usize) -> [Option<Vec<u8>>; 2] {
        let Ok(chunks) = walk(file, &ImageLimits::default()) else {
            return [None, None];
        };
        let [mut by_rows, mut by_crate] = [3, 9].map(|value| vec![value; row_bytes * height]);
        let mut decoder = RowDecoder::default();
        let is_rgb = chunks.header.layout == Layout::Rgb;
        let sound = if is_rgb {
            decoder.decode::<3>(&chunks, row_bytes, &mut by_rows)
        } else {
            decoder.decode::<4>(&chunks, row_bytes, &mut by_rows)
        };
        let refused = stream::decode_samples(&chunks, &mut by_crate).is_err();
        [sound.then_some(by_rows), (!refused).then_some(by_crate)]
    }

    const FILTERS: [Stored; 6] =
        [Stored::NoFilter, Stored::Sub, Stored::Up, Stored::Avg, Stored::Paeth, Stored::Adaptive];

    #[test]
    fn large_images_of_every_filter_come_out_as_they_went_in() {
        for filter in FILTERS {
            for (color, width, height) in [(ColorType::Rgb, 1001, 333), (ColorType::Rgba, 257, 1023)] {
                let samples = picture(width, height, color.samples(), 1);
                let file = encode(&samples, width, color, filter);
                let [by_rows, _] = both_ways(&file, width * color.samples(), height);
                assert!(by_rows.is_some_and(|it| it == samples), "{filter:?} {color:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn small_images_come_out_as_they_went_in(
            width in 1usize..40, height in 1usize..40, is_rgb: bool, filter in 0usize..6, seed: u64,
        ) {
            let color = if is_rgb { ColorType::Rgb } else { ColorType::Rgba };
            let samples = picture(width, height, color.samples(), seed);
            let file = encode(&samples, width, color, FILTERS[filter]);
            let [by_rows, by_crate] = both_ways(&file, width * color.samples(), height);
            prop_assert_eq!(by_rows.as_ref(), Some(&samples));
            prop_assert_eq!(by_crate, Some(samples));
        }

        /// What is sound to the rows is so to the crate, with the same samples: nothing is accepted that was refused.
        #[test]
        fn broken_data_are_never_taken_for_sound(
            width in 1usize..30, height in 1usize..30, filter in 0usize..6, place: prop::sample::Index, bit in 0u8..8,
            cut: prop::sample::Index, seed: u64,
        ) {
            let samples = picture(width, height, 3, seed);
            let mut file = encode(&samples, width, ColorType::Rgb, FILTERS[filter]);
            // Behind the header, whose checksum would not match.
            let start = 33;
            file.truncate(start + 9 + cut.index(file.len() - start - 8));
            let broken = start + place.index(file.len() - start);
            file[broken] ^= 1 << bit;
            if let [Some(by_rows), by_crate] = both_ways(&file, width * 3, height) {
                prop_assert_eq!(Some(by_rows), by_crate);
            }
        }
    }
}
