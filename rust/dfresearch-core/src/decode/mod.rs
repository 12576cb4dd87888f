//! Encoded media to pixels and samples, exactly as the competition's own decoders see them.

pub mod audio;
pub mod jpeg;
mod jpeg_header;
pub mod video;

pub use jpeg::JpegCodec;
pub use jpeg_header::JpegHeader;

use crate::error::DecodeError;

mod bmp;
mod exif;
mod gif;
mod image;
mod png;
mod tiff;
mod webp;

pub use image::{
    ImageDecoder, ImageFormat, decode_image_bytes, decode_image_file, read_dimensions,
    recompress_image_bytes, recompress_image_file,
};

/// The largest image that is decoded; a header is held against it before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// The longest side, in pixels.
    pub max_side: usize,
    /// The largest area, in pixels.
    pub max_pixels: usize,
}

impl Default for ImageLimits {
    /// 65,535 pixels a side, the most a JPEG header can say, and the 178,956,970 pixels above which Pillow
    /// refuses an image as a decompression bomb (twice its `MAX_IMAGE_PIXELS`).
    fn default() -> Self {
        Self { max_side: 65_535, max_pixels: 178_956_970 }
    }
}

impl ImageLimits {
    /// Checks the size that a header announces.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], naming the limit that was passed.
    ///
    /// ```
    /// use dfresearch_core::decode::ImageLimits;
    /// assert!(ImageLimits::default().check(1920, 1080).is_ok());
    /// assert!(ImageLimits::default().check(60_000, 60_000).is_err());
    /// ```
    pub fn check(&self, width: usize, height: usize) -> Result<(), DecodeError> {
        let limit = if width.max(height) > self.max_side {
            format!("{} pixels a side", self.max_side)
        } else if width.checked_mul(height).is_none_or(|pixels| pixels > self.max_pixels) {
            format!("{} pixels in all", self.max_pixels)
        } else {
            return Ok(());
        };
        Err(DecodeError::TooLarge { width: width as u64, height: height as u64, limit })
    }
}

/// A decoded image: 8-bit RGB, rows from top to bottom, channels interleaved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes, `[H, W, 3]`.
    pub data: Vec<u8>,
}

/// A rectangle of an RGB image: `height` rows of `width` pixels that start at `(top, left)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Makes an image `width` x `height` pixels large. New pixels are black, those that were there stay.
fn resize_image(image: &mut RgbImage, width: usize, height: usize) -> Result<(), DecodeError> {
    let length = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3)).unwrap_or(usize::MAX);
    resize_buffer(&mut image.data, length)?;
    (image.width, image.height) = (width, height);
    Ok(())
}

/// Makes a buffer `length` bytes long, with zeros for what is new; a buffer that cannot be had is an error of the
/// machine's, and no abort.
fn resize_buffer(buffer: &mut Vec<u8>, length: usize) -> Result<(), DecodeError> {
    reserve(buffer, length.saturating_sub(buffer.len()))?;
    buffer.resize(length, 0);
    Ok(())
}

/// The largest buffer that is kept from one image to the next: 16 million pixels of four bytes.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Gives back the memory of a buffer that a single huge image needed.
fn release_if_large(buffer: &mut Vec<u8>) {
    if buffer.capacity() > MAX_KEPT_BYTES {
        *buffer = Vec::new();
    }
}

/// Makes room for exactly `additional` more bytes.
fn reserve(buffer: &mut Vec<u8>, additional: usize) -> Result<(), DecodeError> {
    let bytes = buffer.len().saturating_add(additional);
    buffer.try_reserve_exact(additional).map_err(|_| DecodeError::OutOfMemory { bytes })
}
