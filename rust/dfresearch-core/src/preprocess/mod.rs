//! Decoded media to model input: exactly what the competition feeds a model, or a plain stretch.
//!
//! ```text
//!  competition   bytes ─► re-save (JPEG q75, WebP q80) ─► RGB ─► centre crop ─► OpenCV bilinear ─► [H, W, 3]
//!  stretch       bytes ────────────────────────────────► RGB ─► Pillow bilinear, antialiased ───► [H, W, 3]
//!  audio         mono samples ─► centre or random window, zeros on the right ──────────────────────► [N]
//! ```

mod audio;
mod bilinear;
mod video;

use std::str::FromStr;

use fast_image_resize as fir;

pub use audio::{AudioCrop, AudioWindow};
pub use bilinear::{BilinearScratch, resize_bilinear};
pub use video::VideoPreprocess;

pub use crate::decode::Region;
use crate::decode::{ImageDecoder, ImageLimits, RgbImage};
use crate::error::{DecodeError, Error, Result};

/// How decoded media become model input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreprocessMode {
    /// Centre crop to the target's aspect ratio, then OpenCV's `INTER_LINEAR` without antialiasing.
    Competition,
    /// The whole image stretched to the target by Pillow's antialiased `BILINEAR`.
    Stretch,
}

impl PreprocessMode {
    /// The lower-case name used in configurations and keywords.
    pub fn name(self) -> &'static str {
        match self {
            Self::Competition => "competition",
            Self::Stretch => "stretch",
        }
    }
}

impl FromStr for PreprocessMode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "competition" => Ok(Self::Competition),
            "stretch" => Ok(Self::Stretch),
            _ => Err(Error::argument("mode", format!("{name:?} is neither competition nor stretch"))),
        }
    }
}

/// The settings that turn an encoded image into model input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImagePreprocess {
    /// Target `(height, width)` in pixels.
    pub size: (usize, usize),
    /// How the target size is reached.
    pub mode: PreprocessMode,
    /// Whether JPEG and WebP files are first saved again as the competition's download does.
    pub recompress: bool,
    /// What is refused before anything is allocated.
    pub limits: ImageLimits,
}

/// What one thread keeps between images.
#[derive(Debug, Default)]
pub struct ImageScratch {
    decoder: ImageDecoder,
    decoded: RgbImage,
    resize: ResizeScratch,
}

/// Buffers of both resizing ways.
#[derive(Debug, Default)]
pub struct ResizeScratch {
    bilinear: BilinearScratch,
    antialiased: fir::Resizer,
}

impl ImagePreprocess {
    /// Settings for `size` (height, width) that the competition's own loader follows.
    ///
    /// # Errors
    /// [`Error::Argument`] when a side is zero or larger than the limits allow.
    pub fn new(size: (usize, usize), mode: PreprocessMode, recompress: bool) -> Result<Self> {
        let limits = ImageLimits::default();
        check_size(size)?;
        Ok(Self { size, mode, recompress, limits })
    }

    /// Bytes of one preprocessed image.
    pub fn output_bytes(&self) -> usize {
        self.size.0 * self.size.1 * 3
    }

    /// Decodes `bytes` and writes the model input `[H, W, 3]` into `out`.
    ///
    /// # Errors
    /// The reason why the bytes are refused.
    pub fn run(&self, bytes: &[u8], scratch: &mut ImageScratch, out: &mut [u8]) -> Result<(), DecodeError> {
        let ImageScratch { decoder, decoded, resize } = scratch;
        if self.recompress && self.mode == PreprocessMode::Competition {
            let crop = |size| centre_crop(size, self.size);
            decoder.decode_recompressed(bytes, &self.limits, crop, decoded)?;
        } else {
            decoder.decode(bytes, &self.limits, decoded)?;
        }
        resize_image(decoded.view(), self.size, self.mode, resize, out)
    }
}

/// Resizes a decoded image to `size` (height, width), written to `out` as `[H, W, 3]`.
///
/// # Errors
/// [`DecodeError::Corrupt`] when the image has no pixels.
pub fn resize_image(
    image: RgbView<'_>,
    size: (usize, usize),
    mode: PreprocessMode,
    scratch: &mut ResizeScratch,
    out: &mut [u8],
) -> Result<(), DecodeError> {
    if image.width == 0 || image.height == 0 {
        return Err(DecodeError::Corrupt { format: "image", reason: "it has no pixels".into() });
    }
    match mode {
        PreprocessMode::Competition => {
            let region = centre_crop((image.height, image.width), size);
            resize_bilinear(image.data, image.width, region, size, &mut scratch.bilinear, out);
            Ok(())
        }
        PreprocessMode::Stretch => stretch(image, size, &mut scratch.antialiased, out),
    }
}

/// A borrowed RGB image `[height, width, 3]`.
#[derive(Debug, Clone, Copy)]
pub struct RgbView<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub data: &'a [u8],
}

impl RgbImage {
    /// Borrows the image.
    pub fn view(&self) -> RgbView<'_> {
        RgbView { width: self.width, height: self.height, data: &self.data }
    }
}

/// The largest centred rectangle of `source` (height, width) with the aspect ratio of `target`.
///
/// The competition's formula: `scale = min(h/H, w/W)`, sides `round(scale*H)` and `round(scale*W)` with
/// ties to even, capped at the image, offsets rounded down.
pub fn centre_crop(source: (usize, usize), target: (usize, usize)) -> Region {
    let scale = (source.0 as f64 / target.0 as f64).min(source.1 as f64 / target.1 as f64);
    let side =
        |target: usize, source: usize| ((scale * target as f64).round_ties_even() as usize).clamp(1, source);
    let (height, width) = (side(target.0, source.0), side(target.1, source.1));
    Region { top: (source.0 - height) / 2, left: (source.1 - width) / 2, height, width }
}

fn stretch(
    image: RgbView<'_>,
    size: (usize, usize),
    resizer: &mut fir::Resizer,
    out: &mut [u8],
) -> Result<(), DecodeError> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let refused = |reason: String| DecodeError::Unsupported { format: "image", reason };
    let pixels = fir::PixelType::U8x3;
    let source = fir::images::ImageRef::new(side(image.width), side(image.height), image.data, pixels)
        .map_err(|error| refused(error.to_string()))?;
    let mut target = fir::images::Image::from_slice_u8(side(size.1), side(size.0), out, pixels)
        .map_err(|error| refused(error.to_string()))?;
    let options =
        fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
    resizer.resize(&source, &mut target, Some(&options)).map_err(|error| refused(error.to_string()))
}

/// A target size is at least one pixel and at most what an image may have.
fn check_size(size: (usize, usize)) -> Result<()> {
    let (height, width) = size;
    if height == 0 || width == 0 {
        let reason = format!("({height}, {width}): height and width are at least 1 pixel");
        return Err(Error::argument("size", reason));
    }
    let limits = ImageLimits::default();
    limits.check(width, height).map_err(|reason| Error::argument("size", reason.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centre_crop_keeps_the_aspect_ratio() {
        let region = centre_crop((480, 640), (224, 224));
        assert_eq!(region, Region { top: 0, left: 80, height: 480, width: 480 });
        let region = centre_crop((1, 1000), (224, 224));
        assert_eq!(region, Region { top: 0, left: 499, height: 1, width: 1 });
    }

    #[test]
    fn centre_crop_rounds_ties_to_even() {
        // scale = 5/10, the width 0.5 * 5 = 2.5 becomes 2.
        assert_eq!(centre_crop((5, 100), (10, 5)).width, 2);
    }

    #[test]
    fn a_size_without_pixels_is_refused() {
        let refused = ImagePreprocess::new((0, 224), PreprocessMode::Competition, true);
        assert!(matches!(refused, Err(Error::Argument { argument: "size", .. })));
    }
}
