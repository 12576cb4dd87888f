//! The first page of a TIFF to RGB8, pixel-equal to Pillow 12.1.1.
//!
//! The `tiff` crate reads the directory; chunks (strips or tiles) are expanded and converted here, because the
//! crate refuses palettes and turns grey and alpha otherwise than Pillow:
//!
//! ```text
//!  directory ──► Directory ──► chunk.rs ───────────► pixels.rs ─────► orientation.rs
//!  (crate)       (what is      expand, swap bytes,   samples to RGB   the turn that Pillow
//!                 stored how)  undo the predictor                     applies to a TIFF
//! ```

mod chunk;
mod orientation;
mod pixels;

use std::io::Cursor;

use ::tiff::tags::Tag;

use self::chunk::ChunkReader;
pub(super) use self::orientation::Orientation;
use self::pixels::Pixels;
use super::jpeg::JpegCodec;
use super::{ImageLimits, RgbImage, resize_buffer, resize_image};
use crate::error::DecodeError;

const FORMAT: &str = "TIFF";
/// Little and big endian, with 32-bit and with 64-bit offsets.
pub(super) const SIGNATURES: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
const XMP: Tag = Tag::Unknown(700);

/// What the first directory says about the image, as far as its pixels depend on it.
#[derive(Debug)]
struct Directory {
    width: usize,
    height: usize,
    big_endian: bool,
    photometric: u16,
    bits: u16,
    sample_format: u16,
    samples: usize,
    extra_samples: Vec<u16>,
    compression: u16,
    predictor: u16,
    planar: bool,
    reversed_bits: bool,
    orientation: Orientation,
    chunk_width: usize,
    chunk_height: usize,
    tiled: bool,
    chunk_offsets: Vec<usize>,
    chunk_byte_counts: Vec<usize>,
    colour_map: Vec<u16>,
    jpeg_tables: Vec<u8>,
}

/// Decodes TIFF files; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct TiffDecoder {
    chunk: Vec<u8>,
    interleaved: Vec<u8>,
    upright: Vec<u8>,
}

impl TiffDecoder {
    pub(super) fn scratch(&mut self) -> [&mut Vec<u8>; 3] {
        [&mut self.chunk, &mut self.interleaved, &mut self.upright]
    }

    /// Decodes the first page, turned as its orientation says, to `out`.
    pub(super) fn decode_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        jpeg: &mut JpegCodec,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        let directory = Directory::read(bytes, limits)?;
        let pixels = Pixels::of(&directory)?;
        let mut reader = ChunkReader::new(bytes, &directory, limits, jpeg)?;
        let Directory { width, height, chunk_width, chunk_height, .. } = directory;
        resize_image(out, width, height)?;

        let row_bytes = directory.chunk_row_bytes();
        let planes = if directory.planar { directory.samples } else { 1 };
        let mut chunk_index = 0;
        for top in (0..height).step_by(chunk_height) {
            let rows = chunk_height.min(height - top);
            let stored_rows = if directory.tiled { chunk_height } else { rows };
            for left in (0..width).step_by(chunk_width) {
                let columns = chunk_width.min(width - left);
                if reader.is_jpeg() {
                    reader.read_jpeg(chunk_index, (columns, rows), (left, top), out)?;
                    chunk_index += 1;
                    continue;
                }
                if directory.planar {
                    resize_buffer(&mut self.interleaved, row_bytes * planes * stored_rows)?;
                    let sample_bytes = usize::from(directory.bits / 8);
                    for plane in 0..planes {
                        let plane_chunk = chunk_index + plane * (directory.chunk_offsets.len() / planes);
                        resize_buffer(&mut self.chunk, row_bytes * stored_rows)?;
                        reader.read(plane_chunk, &mut self.chunk)?;
                        let targets = self.interleaved.chunks_exact_mut(sample_bytes * planes);
                        for (target, sample) in targets.zip(self.chunk.chunks_exact(sample_bytes)) {
                            target[plane * sample_bytes..][..sample_bytes].copy_from_slice(sample);
                        }
                    }
                } else {
                    resize_buffer(&mut self.interleaved, row_bytes * stored_rows)?;
                    reader.read(chunk_index, &mut self.interleaved)?;
                }
                let stored = self.interleaved.chunks_exact(row_bytes * planes);
                for (row, target) in stored.zip(out.data.chunks_exact_mut(width * 3).skip(top).take(rows)) {
                    pixels.write_rgb(row, &mut target[left * 3..][..columns * 3]);
                }
                chunk_index += 1;
            }
        }
        directory.orientation.apply(out, &mut self.upright)
    }
}

/// Width and height of the first page, turned as its orientation says.
pub(super) fn dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    let directory = Directory::read(bytes, limits)?;
    Ok(directory.orientation.turned_size((directory.width, directory.height)))
}

impl Directory {
    fn read(bytes: &[u8], limits: &ImageLimits) -> Result<Self, DecodeError> {
        if bytes.starts_with(b"MM\0+") {
            return Err(unsupported("64-bit offsets in big-endian order, which Pillow does not read"));
        }
        let mut decoder = ::tiff::decoder::Decoder::new(Cursor::new(bytes)).map_err(refused)?;
        let (width, height) = decoder.dimensions().map_err(refused)?;
        let (width, height) = (width as usize, height as usize);
        limits.check(width, height)?;
        let big_endian = bytes.starts_with(b"MM");

        let mut numbers = |tag: Tag| decoder.find_tag_unsigned_vec::<u64>(tag).map_err(refused);
        let mut list = |tag| Ok(numbers(tag)?.unwrap_or_default());
        let tiled = !list(Tag::TileOffsets)?.is_empty();
        let (offsets, byte_counts) = match tiled {
            true => (list(Tag::TileOffsets)?, list(Tag::TileByteCounts)?),
            false => (list(Tag::StripOffsets)?, list(Tag::StripByteCounts)?),
        };
        let jpeg_tables = list(Tag::JPEGTables)?;
        let colour_map = list(Tag::ColorMap)?;
        let extra_samples = list(Tag::ExtraSamples)?;
        let bits = list(Tag::BitsPerSample)?;
        let xmp = list(XMP)?;
        let mut first =
            |tag, default| list(tag).map(|values: Vec<u64>| values.first().copied().unwrap_or(default));
        let chunk_size = match tiled {
            true => (first(Tag::TileWidth, 0)?, first(Tag::TileLength, 0)?),
            false => (width as u64, first(Tag::RowsPerStrip, height as u64)?.min(height as u64)),
        };
        let directory = Self {
            width,
            height,
            big_endian,
            photometric: narrow(first(Tag::PhotometricInterpretation, 0)?),
            bits: narrow(bits.first().copied().unwrap_or(1)),
            sample_format: narrow(first(Tag::SampleFormat, 1)?),
            samples: first(Tag::SamplesPerPixel, 1)? as usize,
            extra_samples: extra_samples.into_iter().map(narrow).collect(),
            compression: narrow(first(Tag::Compression, 1)?),
            predictor: narrow(first(Tag::Predictor, 1)?),
            planar: first(Tag::PlanarConfiguration, 1)? == 2 && first(Tag::SamplesPerPixel, 1)? > 1,
            reversed_bits: first(Tag::FillOrder, 1)? == 2,
            orientation: match first(Tag::Orientation, 0)? {
                0 => Orientation::from_xmp(&xmp.into_iter().map(|byte| byte as u8).collect::<Vec<_>>()),
                number => Orientation::from_number(number),
            },
            chunk_width: chunk_size.0 as usize,
            chunk_height: chunk_size.1 as usize,
            tiled,
            chunk_offsets: offsets.into_iter().map(|offset| offset as usize).collect(),
            chunk_byte_counts: byte_counts.into_iter().map(|count| count as usize).collect(),
            colour_map: colour_map.into_iter().map(narrow).collect(),
            jpeg_tables: jpeg_tables.into_iter().map(|byte| byte as u8).collect(),
        };
        if bits.iter().any(|other| *other != bits[0]) {
            return Err(unsupported("samples of different depths"));
        }
        if directory.samples > pixels::MAX_SAMPLES {
            return Err(unsupported(format!("{} samples a pixel", directory.samples)));
        }
        if directory.planar && !directory.bits.is_multiple_of(8) {
            return Err(unsupported("samples of less than a byte in planes"));
        }
        // A tile may be larger than the image, but not larger than any image may be.
        limits.check(directory.chunk_width, directory.chunk_height)?;
        Ok(directory)
    }

    /// Bytes of a row of a chunk, of one plane if there are several.
    fn chunk_row_bytes(&self) -> usize {
        let samples = if self.planar { 1 } else { self.samples };
        (self.chunk_width * samples * usize::from(self.bits)).div_ceil(8)
    }
}

/// Numbers that stand for a kind of something: none that does not fit is known.
fn narrow(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn refused(error: ::tiff::TiffError) -> DecodeError {
    match error {
        ::tiff::TiffError::IoError(_) => truncated("the directory points behind the end of the file"),
        ::tiff::TiffError::UnsupportedError(error) => unsupported(error.to_string()),
        error => corrupt(error.to_string()),
    }
}

fn truncated(reason: impl Into<String>) -> DecodeError {
    DecodeError::Truncated { format: FORMAT, reason: reason.into() }
}

fn corrupt(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason: reason.into() }
}

fn unsupported(reason: impl Into<String>) -> DecodeError {
    DecodeError::Unsupported { format: FORMAT, reason: reason.into() }
}
