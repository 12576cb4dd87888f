//! Strips and tiles: expanded, in little-endian samples, with the predictor undone.

use std::borrow::Cow;

use flate2::{Decompress, FlushDecompress, Status};
use weezl::{BitOrder, LzwStatus};

use super::pixels::{BLACK_IS_ZERO, RGB, YCBCR};
use super::{Directory, corrupt, truncated, unsupported};
use crate::decode::jpeg::JpegCodec;
use crate::decode::{ImageLimits, JpegHeader, RgbImage};
use crate::error::DecodeError;

pub(super) const UNCOMPRESSED: u16 = 1;
const LZW: u16 = 5;
pub(super) const JPEG: u16 = 7;
const DEFLATE: u16 = 8;
const OLD_DEFLATE: u16 = 32_946;
const PACK_BITS: u16 = 32_773;

const NO_PREDICTOR: u16 = 1;
const HORIZONTAL: u16 = 2;

/// Markers of a JPEG.
const BASELINE: u8 = 0xC0;
const PROGRESSIVE: u8 = 0xC2;
const APPLICATION_14: u8 = 0xEE;
const START_OF_IMAGE: &[u8] = b"\xff\xd8";
const END_OF_IMAGE: &[u8] = b"\xff\xd9";

/// Reads the chunks of one image.
pub(super) struct ChunkReader<'a> {
    bytes: &'a [u8],
    directory: &'a Directory,
    limits: &'a ImageLimits,
    jpeg: &'a mut JpegCodec,
    jpeg_chunk: RgbImage,
}

impl<'a> ChunkReader<'a> {
    /// # Errors
    /// [`DecodeError::Unsupported`] for a compression or a predictor that is not read.
    pub(super) fn new(
        bytes: &'a [u8],
        directory: &'a Directory,
        limits: &'a ImageLimits,
        jpeg: &'a mut JpegCodec,
    ) -> Result<Self, DecodeError> {
        match (directory.compression, directory.predictor) {
            (UNCOMPRESSED | PACK_BITS, _) => {}
            (JPEG, _) => match (directory.photometric, directory.samples) {
                _ if directory.planar || directory.bits != 8 => return Err(unsupported("JPEG in planes")),
                (BLACK_IS_ZERO, 1) | (RGB | YCBCR, 3) if directory.extra_samples.is_empty() => {}
                _ => return Err(unsupported("JPEG of other colours than grey, RGB and YCbCr")),
            },
            (LZW | DEFLATE | OLD_DEFLATE, NO_PREDICTOR) => {}
            (LZW | DEFLATE | OLD_DEFLATE, HORIZONTAL) if matches!(directory.bits, 8 | 16 | 32) => {}
            (LZW | DEFLATE | OLD_DEFLATE, predictor) => {
                return Err(unsupported(format!("predictor {predictor} for {} bits", directory.bits)));
            }
            (compression, _) => return Err(unsupported(format!("compression {compression}"))),
        }
        Ok(Self { bytes, directory, limits, jpeg, jpeg_chunk: RgbImage::default() })
    }

    /// Whether chunks are images of their own.
    pub(super) fn is_jpeg(&self) -> bool {
        self.directory.compression == JPEG
    }

    /// Fills `target` with the samples of a chunk.
    pub(super) fn read(&self, index: usize, target: &mut [u8]) -> Result<(), DecodeError> {
        let &Directory { compression, reversed_bits, big_endian, bits, .. } = self.directory;
        let mut stored = Cow::Borrowed(self.stored(index, target.len())?);
        if reversed_bits {
            stored.to_mut().iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        }
        let filled = match compression {
            LZW => expand_lzw(&stored, target)?,
            DEFLATE | OLD_DEFLATE => expand_deflate(&stored, target)?,
            PACK_BITS => expand_pack_bits(&stored, target),
            _ => {
                let filled = stored.len().min(target.len());
                target[..filled].copy_from_slice(&stored[..filled]);
                filled
            }
        };
        if filled < target.len() {
            return Err(truncated(format!("chunk {index} has {filled} bytes of {}", target.len())));
        }
        if big_endian && bits > 8 {
            target.chunks_exact_mut(usize::from(bits / 8)).for_each(<[u8]>::reverse);
        }
        let predicted = matches!(compression, LZW | DEFLATE | OLD_DEFLATE);
        if predicted && self.directory.predictor == HORIZONTAL {
            let samples = if self.directory.planar { 1 } else { self.directory.samples };
            for row in target.chunks_exact_mut(self.directory.chunk_row_bytes()) {
                undo_differences(row, samples, bits);
            }
        }
        Ok(())
    }

    /// Decodes a chunk that is a JPEG and puts its top left `size` at `place` of `out`.
    pub(super) fn read_jpeg(
        &mut self,
        index: usize,
        (columns, rows): (usize, usize),
        (left, top): (usize, usize),
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        let stored = self.stored(index, 0)?;
        // Tables that the chunks share lie in a JPEG stream of their own, which goes first.
        let tables = &self.directory.jpeg_tables;
        let tables = tables.strip_suffix(END_OF_IMAGE).unwrap_or(tables);
        let stream = match stored.strip_prefix(START_OF_IMAGE) {
            Some(image) if !tables.is_empty() => [tables, image].concat(),
            _ => stored.to_vec(),
        };
        check_jpeg_colours(&stream, self.directory.photometric)?;
        let header = JpegHeader::read(&stream, self.limits)?;
        self.check_jpeg_size(index, (header.width, header.height), (columns, rows), top)?;
        self.jpeg.decode_rgb(&stream, self.limits, &mut self.jpeg_chunk)?;
        let RgbImage { width, data, .. } = &self.jpeg_chunk;
        let targets = out.data.chunks_exact_mut(out.width * 3).skip(top).take(rows);
        for (row, target) in data.chunks_exact(width * 3).zip(targets) {
            target[left * 3..][..columns * 3].copy_from_slice(&row[..columns * 3]);
        }
        Ok(())
    }

    /// A JPEG must hold its part of the image, and be no larger than its tile or strip: many chunks may point to
    /// one and the same large JPEG. As to libtiff, the last strip alone may have rows behind the image's last.
    fn check_jpeg_size(
        &self,
        index: usize,
        (width, height): (usize, usize),
        (columns, rows): (usize, usize),
        top: usize,
    ) -> Result<(), DecodeError> {
        let &Directory { tiled, chunk_width, chunk_height, height: image_height, .. } = self.directory;
        if width < columns || height < rows {
            return Err(corrupt(format!("chunk {index} holds {width}x{height} of {columns}x{rows} pixels")));
        }
        let is_last_strip = !tiled && top + rows == image_height;
        let expected_rows = if tiled { chunk_height } else { rows };
        if width > chunk_width || height > expected_rows && !is_last_strip {
            return Err(corrupt(format!(
                "chunk {index} is a JPEG of {width}x{height} pixels where there is room for \
                 {chunk_width}x{expected_rows}"
            )));
        }
        Ok(())
    }

    /// The chunk as it is stored. For one that is not compressed its size is known, and the count not needed.
    fn stored(&self, index: usize, size: usize) -> Result<&'a [u8], DecodeError> {
        let missing = || corrupt(format!("there is no chunk {index}"));
        let offset = *self.directory.chunk_offsets.get(index).ok_or_else(missing)?;
        let count = *self.directory.chunk_byte_counts.get(index).ok_or_else(missing)?;
        let count = if self.directory.compression == UNCOMPRESSED { size } else { count };
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if rest.is_empty() {
            return Err(truncated(format!("chunk {index} lies behind the end of the file")));
        }
        Ok(&rest[..count.min(rest.len())])
    }
}

/// The directory says what colours a JPEG has, but the JPEG decoder goes by the JPEG itself: they have to agree.
fn check_jpeg_colours(stream: &[u8], photometric: u16) -> Result<(), DecodeError> {
    let mut rest = stream.get(START_OF_IMAGE.len()..).unwrap_or_default();
    while let &[0xFF, marker, high, low, ref segments @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([high, low])).saturating_sub(2);
        let segment = &segments[..length.min(segments.len())];
        match (marker, segment) {
            (APPLICATION_14, _) => return Err(unsupported("JPEG with a colour transform of its own")),
            // Depth, height and width, then for each component its name and how it is stored.
            (BASELINE..=PROGRESSIVE, &[_, _, _, _, _, components, ref named @ ..]) => {
                let names: Vec<u8> = named.iter().step_by(3).copied().take(usize::from(components)).collect();
                let agree = match photometric {
                    BLACK_IS_ZERO => components == 1,
                    RGB => names == *b"RGB",
                    _ => components == 3 && names != *b"RGB",
                };
                if !agree {
                    return Err(unsupported(format!("JPEG with the components {names:?}")));
                }
                return Ok(());
            }
            _ => rest = &segments[segment.len()..],
        }
    }
    Err(corrupt("a JPEG without a frame"))
}

fn expand_lzw(stored: &[u8], target: &mut [u8]) -> Result<usize, DecodeError> {
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let (mut consumed, mut filled) = (0, 0);
    while filled < target.len() {
        let result = decoder.decode_bytes(&stored[consumed..], &mut target[filled..]);
        consumed += result.consumed_in;
        filled += result.consumed_out;
        match result.status {
            Ok(LzwStatus::Ok) => {}
            Ok(LzwStatus::NoProgress | LzwStatus::Done) => break,
            Err(error) => return Err(corrupt(error.to_string())),
        }
    }
    Ok(filled)
}

fn expand_deflate(stored: &[u8], target: &mut [u8]) -> Result<usize, DecodeError> {
    let mut decoder = Decompress::new(true);
    match decoder.decompress(stored, target, FlushDecompress::Finish) {
        Ok(Status::Ok | Status::BufError | Status::StreamEnd) => Ok(decoder.total_out() as usize),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

/// A signed byte says what follows: literals, one more than it, or one byte that is repeated.
fn expand_pack_bits(stored: &[u8], target: &mut [u8]) -> usize {
    let (mut consumed, mut filled) = (0, 0);
    while let Some(&code) = stored.get(consumed)
        && filled < target.len()
    {
        consumed += 1;
        let rest = stored.get(consumed..).unwrap_or_default();
        let free = &mut target[filled..];
        match code {
            0..=127 => {
                let count = (usize::from(code) + 1).min(rest.len()).min(free.len());
                free[..count].copy_from_slice(&rest[..count]);
                consumed += usize::from(code) + 1;
                filled += count;
            }
            128 => {}
            129..=255 => {
                let Some(value) = rest.first() else { break };
                let count = (257 - usize::from(code)).min(free.len());
                free[..count].fill(*value);
                consumed += 1;
                filled += count;
            }
        }
    }
    filled
}

/// Each sample is stored as its difference to the one of the pixel before.
fn undo_differences(row: &mut [u8], samples: usize, bits: u16) {
    match bits {
        8 => {
            for index in samples..row.len() {
                row[index] = row[index].wrapping_add(row[index - samples]);
            }
        }
        16 => {
            let words = row.as_chunks_mut::<2>().0;
            for index in samples..words.len() {
                let sum =
                    u16::from_le_bytes(words[index]).wrapping_add(u16::from_le_bytes(words[index - samples]));
                words[index] = sum.to_le_bytes();
            }
        }
        _ => {
            let words = row.as_chunks_mut::<4>().0;
            for index in samples..words.len() {
                let sum =
                    u32::from_le_bytes(words[index]).wrapping_add(u32::from_le_bytes(words[index - samples]));
                words[index] = sum.to_le_bytes();
            }
        }
    }
}
