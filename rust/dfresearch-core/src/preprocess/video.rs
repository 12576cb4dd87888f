//! What becomes of a clip: which frames, and how each is resized.

use super::{PreprocessMode, check_size};
use crate::decode::video::{FrameSampling, MAX_FRAMES};
use crate::error::{Error, Result};

/// The settings that turn a clip into model input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoPreprocess {
    /// Target `(height, width)` of every frame in pixels.
    pub size: (usize, usize),
    /// How the target size is reached.
    pub mode: PreprocessMode,
    /// Frames of a clip; a shorter clip repeats its last one.
    pub num_frames: usize,
    /// Which frames are taken.
    pub sampling: FrameSampling,
}

impl VideoPreprocess {
    /// Settings for `num_frames` frames of `size` (height, width).
    ///
    /// # Errors
    /// [`Error::Argument`] when a side or the number of frames is zero or larger than the limits allow.
    pub fn new(
        size: (usize, usize),
        mode: PreprocessMode,
        num_frames: usize,
        sampling: FrameSampling,
    ) -> Result<Self> {
        check_size(size)?;
        if !(1..=MAX_FRAMES).contains(&num_frames) {
            let reason = format!("{num_frames} is not between 1 and {MAX_FRAMES}");
            return Err(Error::argument("num_frames", reason));
        }
        Ok(Self { size, mode, num_frames, sampling })
    }

    /// Bytes of one preprocessed frame.
    pub fn frame_bytes(&self) -> usize {
        self.size.0 * self.size.1 * 3
    }

    /// Bytes of one preprocessed clip.
    pub fn output_bytes(&self) -> usize {
        self.num_frames * self.frame_bytes()
    }
}
