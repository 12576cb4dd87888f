//! Image files to RGB8: by content, not by extension, and pixel-equal to Pillow 12.1.1's `convert("RGB")`.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use super::bmp;
use super::gif::{self, GifDecoder};
use super::jpeg::JpegCodec;
use super::jpeg_header::JpegHeader;
use super::png::{self, PngDecoder};
use super::tiff::{self, TiffDecoder};
use super::webp;
use super::{ImageLimits, Region, RgbImage, release_if_large};
use crate::error::{DecodeError, Error};
use crate::media_file::read_media_file;

/// The path in an error about bytes that came from no file.
const BYTES: &str = "<bytes>";
/// As much of an unknown file as is looked at to say what it is.
const LOOKED_AT_BYTES: usize = 512;

/// The image formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageFormat {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG, and the first frame of an animated one.
    Png,
    /// WebP, lossy and lossless.
    WebP,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// The first frame of a GIF.
    Gif,
    /// The first page of a TIFF.
    Tiff,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
        })
    }
}

impl ImageFormat {
    /// The format of an image file, told by its first bytes.
    ///
    /// # Errors
    /// [`DecodeError::Empty`], and [`DecodeError::UnknownFormat`] that says what the bytes look like.
    ///
    /// ```
    /// use dfresearch_core::decode::ImageFormat;
    /// assert_eq!(ImageFormat::sniff(b"GIF89a...")?, ImageFormat::Gif);
    /// let error = ImageFormat::sniff(b"<!DOCTYPE html><title>404</title>").unwrap_err();
    /// assert_eq!(error.to_string(), "not a known image format: HTML text");
    /// # Ok::<(), dfresearch_core::DecodeError>(())
    /// ```
    pub fn sniff(bytes: &[u8]) -> Result<Self, DecodeError> {
        let starts_with_one_of = |signatures: &[&[u8]]| signatures.iter().any(|it| bytes.starts_with(it));
        if bytes.is_empty() {
            Err(DecodeError::Empty)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Ok(Self::Jpeg)
        } else if bytes.starts_with(png::SIGNATURE) {
            Ok(Self::Png)
        } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Ok(Self::WebP)
        } else if starts_with_one_of(&gif::SIGNATURES) {
            Ok(Self::Gif)
        } else if starts_with_one_of(&tiff::SIGNATURES) {
            Ok(Self::Tiff)
        } else if bytes.starts_with(bmp::SIGNATURE) {
            Ok(Self::Bmp)
        } else {
            let looked_at = &bytes[..bytes.len().min(LOOKED_AT_BYTES)];
            Err(DecodeError::UnknownFormat { medium: "image", found: describe(looked_at) })
        }
    }
}

/// What bytes that are no image look like, for a person who wonders what was downloaded.
fn describe(bytes: &[u8]) -> String {
    const SIGNATURES: [(&[u8], &str); 14] = [
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "gzip data"),
        (b"%PDF", "a PDF document"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
        (b"PAR1", "a Parquet file"),
        (b"8BPS", "a Photoshop document"),
        (b"\0\0\x01\0", "a Windows icon"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
        (b"\xff\x0a", "a JPEG XL image"),
        (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
        (b"OggS", "Ogg media"),
        (b"ID3", "an MP3 file"),
        (b"RIFF", "a RIFF file that is not WebP"),
        (b"fLaC", "a FLAC file"),
    ];
    if let Some((_, name)) = SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)) {
        return (*name).to_owned();
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return match bytes.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF image".to_owned(),
            Some(b"heic" | b"heix" | b"mif1" | b"msf1") => "a HEIF image".to_owned(),
            _ => "an MP4 or QuickTime file".to_owned(),
        };
    }
    // A character may be cut at the end of what is looked at.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let text = text.filter(|text| !text.chars().any(|it| it.is_control() && !it.is_whitespace()));
    match text.map(|text| text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase()) {
        Some(text) if text.starts_with("<!doctype html") || text.contains("<html") => "HTML text".to_owned(),
        Some(text) if text.contains("<svg") => "an SVG drawing".to_owned(),
        Some(text) if text.starts_with('<') => "XML text".to_owned(),
        Some(text) if text.starts_with(['{', '[']) => "JSON text".to_owned(),
        Some(_) => "plain text".to_owned(),
        None if bytes.iter().all(|byte| *byte == 0) => "nothing but zero bytes".to_owned(),
        None => format!("binary data that begins with {:02x?}", &bytes[..bytes.len().min(8)]),
    }
}

/// Decodes image files one after the other; keeps codecs and buffers between them. One per thread.
///
/// Buffers of more than 64 MiB are given back: the caller's with the next image, those in between at once.
#[derive(Debug, Default)]
pub struct ImageDecoder {
    jpeg: JpegCodec,
    png: PngDecoder,
    gif: GifDecoder,
    tiff: TiffDecoder,
}

impl ImageDecoder {
    /// A decoder without buffers; they come with the first image.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes an image file's bytes; `out` gets the size and pixels, and keeps up to 64 MiB from call to call.
    ///
    /// # Errors
    /// A [`DecodeError`] if Pillow refuses the bytes, if the size is over the limits, or if the image is of a
    /// kind whose pixels could differ from Pillow's ([`DecodeError::Unsupported`]); `out` is then empty.
    ///
    /// ```
    /// use dfresearch_core::RgbImage;
    /// use dfresearch_core::decode::{ImageDecoder, ImageLimits};
    /// // One white pixel.
    /// let gif = b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    /// let mut image = RgbImage::default();
    /// ImageDecoder::new().decode(gif, &ImageLimits::default(), &mut image)?;
    /// assert_eq!((image.width, image.height, image.data), (1, 1, vec![255, 255, 255]));
    /// # Ok::<(), dfresearch_core::DecodeError>(())
    /// ```
    pub fn decode(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        release_if_large(&mut out.data);
        let decoded = ImageFormat::sniff(bytes).and_then(|format| match format {
            ImageFormat::Jpeg => self.jpeg.decode_rgb(bytes, limits, out),
            ImageFormat::Png => self.png.decode_rgb(bytes, limits, out),
            ImageFormat::WebP => webp::decode_rgb(bytes, limits, out),
            ImageFormat::Bmp => bmp::decode_rgb(bytes, limits, out),
            ImageFormat::Gif => self.gif.decode_rgb(bytes, limits, out),
            ImageFormat::Tiff => self.tiff.decode_rgb(bytes, limits, &mut self.jpeg, out),
        });
        if decoded.is_err() {
            (out.width, out.height) = (0, 0);
            out.data.clear();
        }
        self.scratch().for_each(release_if_large);
        decoded
    }

    fn scratch(&mut self) -> impl Iterator<Item = &mut Vec<u8>> {
        self.png.scratch().into_iter().chain(self.gif.scratch()).chain(self.tiff.scratch())
    }

    /// Decodes what the competition would have stored: like decoding [`Self::recompress`]'s bytes, without making
    /// them where that can be helped. `wanted` tells which part is looked at, given the size `(height, width)`: `out`
    /// gets the whole image's size, but its pixels outside of the part are of no use.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_recompressed(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        wanted: impl FnOnce((usize, usize)) -> Region,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        release_if_large(&mut out.data);
        match ImageFormat::sniff(bytes)? {
            ImageFormat::Jpeg => self.jpeg.recompress_decode_region(bytes, limits, wanted, out),
            ImageFormat::WebP => webp::recompress_decode_rgb(bytes, limits, out),
            _ => self.decode(bytes, limits, out),
        }
    }

    /// The bytes that the competition stores for an image: JPEG and WebP saved again, everything else as it is.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn recompress<'a>(
        &mut self,
        bytes: &'a [u8],
        limits: &ImageLimits,
    ) -> Result<Cow<'a, [u8]>, DecodeError> {
        match ImageFormat::sniff(bytes)? {
            ImageFormat::Jpeg => self.jpeg.recompress(bytes, limits).map(Cow::Owned),
            ImageFormat::WebP => webp::recompress(bytes, limits).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(bytes)),
        }
    }
}

/// Width and height of an image file, from its header alone.
///
/// # Errors
/// A [`DecodeError`] if the header is not one of a known format, or announces more than the limits allow.
pub fn read_dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    match ImageFormat::sniff(bytes)? {
        ImageFormat::Jpeg => JpegHeader::read(bytes, limits).map(|header| (header.width, header.height)),
        ImageFormat::Png => png::dimensions(bytes, limits),
        ImageFormat::WebP => webp_dimensions(bytes, limits),
        ImageFormat::Bmp => bmp::dimensions(bytes, limits),
        ImageFormat::Gif => gif::dimensions(bytes, limits),
        ImageFormat::Tiff => tiff::dimensions(bytes, limits),
    }
}

/// The canvas of an extended WebP, or the frame of a plain one.
fn webp_dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let size = match (bytes.get(12..16), bytes.get(16..30)) {
        (Some(b"VP8X"), Some(header)) => (number(&header[8..11]) + 1, number(&header[11..14]) + 1),
        (Some(b"VP8L"), Some(header)) => {
            let bits = number(&header[5..9]);
            ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        }
        (Some(b"VP8 "), Some(header)) => (number(&header[10..12]) & 0x3FFF, number(&header[12..14]) & 0x3FFF),
        (Some(_), Some(_)) => {
            return Err(DecodeError::Corrupt {
                format: "WebP",
                reason: "it begins with no image".to_owned(),
            });
        }
        _ => {
            return Err(DecodeError::Truncated {
                format: "WebP",
                reason: "the header is cut off".to_owned(),
            });
        }
    };
    limits.check(size.0, size.1)?;
    Ok(size)
}

/// Decodes an image that came as bytes.
///
/// # Errors
/// [`Error::Decode`], as [`ImageDecoder::decode`].
pub fn decode_image_bytes(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, Error> {
    decode_named(Path::new(BYTES), bytes, limits)
}

/// Decodes an image file.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`] for what cannot be read (a folder, a file without permission), and
/// [`Error::Decode`], as [`ImageDecoder::decode`].
pub fn decode_image_file(path: &Path, limits: &ImageLimits) -> Result<RgbImage, Error> {
    decode_named(path, &read(path)?, limits)
}

/// The bytes that the competition stores for an image that came as bytes, as [`ImageDecoder::recompress`].
///
/// # Errors
/// [`Error::Decode`].
pub fn recompress_image_bytes(bytes: &[u8], limits: &ImageLimits) -> Result<Vec<u8>, Error> {
    recompress_named(Path::new(BYTES), bytes, limits)
}

/// The bytes that the competition stores for an image file, as [`ImageDecoder::recompress`].
///
/// # Errors
/// As [`decode_image_file`].
pub fn recompress_image_file(path: &Path, limits: &ImageLimits) -> Result<Vec<u8>, Error> {
    recompress_named(path, &read(path)?, limits)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    read_media_file(path, &mut bytes)?;
    Ok(bytes)
}

fn decode_named(path: &Path, bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, Error> {
    let mut image = RgbImage::default();
    ImageDecoder::new().decode(bytes, limits, &mut image).map_err(|reason| Error::decode(path, reason))?;
    Ok(image)
}

fn recompress_named(path: &Path, bytes: &[u8], limits: &ImageLimits) -> Result<Vec<u8>, Error> {
    let stored =
        ImageDecoder::new().recompress(bytes, limits).map_err(|reason| Error::decode(path, reason))?;
    Ok(stored.into_owned())
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
