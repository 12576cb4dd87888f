//! The operations for images, and the levels made of them.

use super::table::{BuiltIn, LevelTable, NamedOperation, TableOperation};
use crate::error::Result;

/// Augmentation levels for images and clips.
pub type AugmentTable = LevelTable<OperationKind>;

/// One entry of an [`AugmentTable`].
pub type Operation = TableOperation<OperationKind>;

/// An operation of the caller's own on images, for experiments.
pub trait CustomOperation: NamedOperation {
    /// Changes the pixels of `image`, `[height, width, 3]`, in place. `seed` is the same for all frames of a clip.
    ///
    /// # Errors
    /// Whatever the operation refuses; [`Error::Augment`](crate::Error::Augment) names it.
    fn apply(&self, image: &mut [u8], width: usize, height: usize, seed: u64) -> Result<()>;
}

/// The operations that are built in for images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// JPEG round trip, see [`jpeg_compress`](super::jpeg_compress).
    JpegCompress,
    /// Gaussian blur, see [`gaussian_blur`](super::gaussian_blur).
    GaussianBlur,
    /// Gaussian noise, see [`gaussian_noise`](super::gaussian_noise).
    GaussianNoise,
    /// One offset a channel, see [`color_shift`](super::color_shift).
    ColorShift,
    /// Contrast about the mean, see [`color_contrast`](super::color_contrast).
    ColorContrast,
}

impl BuiltIn for OperationKind {
    type Custom = dyn CustomOperation;

    const SUBJECT: &'static str = "images";

    const ALL: &'static [Self] =
        &[Self::JpegCompress, Self::GaussianBlur, Self::GaussianNoise, Self::ColorShift, Self::ColorContrast];

    fn name(self) -> &'static str {
        match self {
            Self::JpegCompress => "jpeg_compress",
            Self::GaussianBlur => "gaussian_blur",
            Self::GaussianNoise => "gaussian_noise",
            Self::ColorShift => "color_shift",
            Self::ColorContrast => "color_contrast",
        }
    }

    fn parameter(self) -> &'static str {
        match self {
            Self::JpegCompress => "quality",
            Self::GaussianBlur | Self::GaussianNoise => "sigma",
            Self::ColorShift => "magnitude",
            Self::ColorContrast => "factor",
        }
    }

    fn domain(self) -> (f64, f64) {
        match self {
            Self::JpegCompress => (1.0, 100.0),
            // Below a sigma of 0.17 the kernel is one pixel wide; above 100 it is wider than the images are.
            Self::GaussianBlur => (0.01, 100.0),
            Self::GaussianNoise | Self::ColorShift => (0.0, 255.0),
            Self::ColorContrast => (0.0, 100.0),
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::JpegCompress)
    }
}
