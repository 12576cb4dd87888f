//! Image data by the `png` crate: every kind, and the reasons why one is refused.

use std::io::{self, BufRead, Read, Seek};

use super::{CHUNK_HEADER_BYTES, Chunks, Header, Layout, SIGNATURE, corrupt, truncated, unsupported};
use crate::error::DecodeError;

/// Decodes the image data to samples as they are stored: packed, in rows of whole bytes.
pub(super) fn decode_samples(chunks: &Chunks<'_>, samples: &mut [u8]) -> Result<(), DecodeError> {
    let refused = |error: png::DecodingError| match error {
        png::DecodingError::IoError(_) => truncated("the image data ends before the last row"),
        error if chunks.cut_off => truncated(error.to_string()),
        error => corrupt(error.to_string()),
    };
    let mut options = png::DecodeOptions::default();
    options.set_ignore_crc(true);
    options.set_ignore_adler32(false);
    let stream = PixelStream::new(chunks)?;
    let mut decoder = png::Decoder::new_with_options(stream, options);
    // What may be allocated was settled by the limits on the image's size.
    decoder.set_limits(png::Limits { bytes: usize::MAX });
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(refused)?;
    reader.next_frame(samples).map_err(refused)?;
    Ok(())
}

/// Stands in for the decoder of rows, which is written for x86.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug, Default)]
pub(super) struct RowDecoder;

#[cfg(not(target_arch = "x86_64"))]
impl RowDecoder {
    pub(super) fn decode_samples(
        &mut self,
        chunks: &Chunks<'_>,
        samples: &mut [u8],
    ) -> Result<(), DecodeError> {
        decode_samples(chunks, samples)
    }
}

/// A PNG of nothing but header and image data, read from where its parts lie.
struct PixelStream<'a> {
    parts: Vec<&'a [u8]>,
    next_part: usize,
    current: &'a [u8],
    head: [u8; PixelStream::HEAD_BYTES],
    head_read: usize,
}

impl<'a> PixelStream<'a> {
    /// Signature, IHDR with its checksum, and the header of IDAT.
    const HEAD_BYTES: usize = 8 + 25 + CHUNK_HEADER_BYTES;
    /// The checksum of IDAT, which is not looked at, and IEND.
    const TAIL: &'static [u8] = b"\0\0\0\0\0\0\0\0IEND\xae\x42\x60\x82";

    fn new(chunks: &Chunks<'a>) -> Result<Self, DecodeError> {
        let Header { bit_depth, layout, interlaced, .. } = chunks.header;
        let data_bytes: usize = chunks.parts().map(<[u8]>::len).sum();
        let data_bytes =
            u32::try_from(data_bytes).map_err(|_| unsupported("more than 4 GiB of image data"))?;
        let colour_type = match layout {
            // Indices are looked up here: to the crate they are grey.
            Layout::Grey | Layout::Grey16 | Layout::Palette => 0,
            Layout::Rgb => 2,
            Layout::GreyAlpha => 4,
            Layout::Rgba => 6,
        };
        let mut head = [0; Self::HEAD_BYTES];
        head[..8].copy_from_slice(SIGNATURE);
        head[8..16].copy_from_slice(b"\0\0\0\x0dIHDR");
        // The sizes come from 32-bit fields.
        head[16..20].copy_from_slice(&(chunks.region.width as u32).to_be_bytes());
        head[20..24].copy_from_slice(&(chunks.region.height as u32).to_be_bytes());
        head[24..29].copy_from_slice(&[bit_depth, colour_type, 0, 0, u8::from(interlaced)]);
        head[33..37].copy_from_slice(&data_bytes.to_be_bytes());
        head[37..].copy_from_slice(b"IDAT");
        let parts = chunks.parts().chain([Self::TAIL]).collect();
        Ok(Self { parts, next_part: 0, current: &[], head, head_read: 0 })
    }
}

impl BufRead for PixelStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.head_read < Self::HEAD_BYTES {
            return Ok(&self.head[self.head_read..]);
        }
        while self.current.is_empty() && self.next_part < self.parts.len() {
            self.current = self.parts[self.next_part];
            self.next_part += 1;
        }
        Ok(self.current)
    }

    fn consume(&mut self, amount: usize) {
        if self.head_read < Self::HEAD_BYTES {
            self.head_read += amount;
        } else {
            self.current = &self.current[amount..];
        }
    }
}

impl Read for PixelStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// Asked for by the crate's interface, but of no use to the decoding of one frame.
impl Seek for PixelStream<'_> {
    fn seek(&mut self, _position: io::SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
