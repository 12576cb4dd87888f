//! Augmentation of training samples: which operations an image gets, and the operations.
//!
//! ```text
//!  AugmentTable ─┐
//!  level ────────┼─► plan ─► one or two operations in random order, flip or not ─► apply_plan ─► pixels
//!  RandomKey ────┘           (drawn once: every frame of a clip gets the same)
//! ```
//!
//! The table is data that the caller brings: levels, each a list of operations with the range that their parameter
//! is drawn from. Images and waveforms ([`audio`]) share its shape. Pixels are 8-bit RGB, `[height, width, 3]`, changed in place; a result that is no whole number is
//! truncated, as a NumPy cast to `uint8` does.

pub mod audio;
mod channel_tables;
mod color_contrast;
mod color_shift;
mod gaussian_blur;
mod gaussian_noise;
mod horizontal_flip;
mod jpeg_compress;
mod kind;
mod plan;
mod selection;
mod table;

pub use color_contrast::color_contrast;
pub use color_shift::color_shift;
pub use gaussian_blur::{GaussianBlurScratch, gaussian_blur};
pub use gaussian_noise::gaussian_noise;
pub use horizontal_flip::horizontal_flip;
pub use jpeg_compress::jpeg_compress;
pub use kind::{AugmentTable, CustomOperation, Operation, OperationKind};
pub use plan::{Plan, PlannedOperation, apply_plan, plan, plan_with_limit};
pub use selection::MAX_OPERATIONS;
pub use table::{BuiltIn, LevelTable, NamedOperation, TableOperation};

use table::check_parameter;

use crate::decode::JpegCodec;
use crate::error::{Error, Result};

/// Bytes a pixel.
pub(crate) const CHANNELS: usize = 3;

/// What the operations keep between images so that they need not allocate; one per thread.
#[derive(Debug, Default)]
pub struct AugmentScratch {
    /// Encoder and decoder of the JPEG round trip.
    pub jpeg: JpegCodec,
    /// Intermediate rows of the blur.
    pub blur: GaussianBlurScratch,
}

/// Refuses a buffer that is not `[height, width, 3]` with at least one pixel.
fn check_image(image: &[u8], width: usize, height: usize) -> Result<()> {
    let expected = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(CHANNELS));
    if image.is_empty() || expected != Some(image.len()) {
        return Err(Error::argument(
            "image",
            format!("{} bytes are no RGB image of {height} rows and {width} columns", image.len()),
        ));
    }
    Ok(())
}
