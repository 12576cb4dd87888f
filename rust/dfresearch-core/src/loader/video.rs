//! One clip to one slot: decode the wanted frames, preprocess and augment each, planes.
//!
//! ```text
//!  decoder ──► frame ─► crop + resize ─► augment ─► planes ─► slot[frame]      one plan a clip, noise a frame
//!                             └─ kept: the last frame stands in for those that the clip does not have
//! ```

use std::path::Path;

use super::SamplePipeline;
use super::planes::write_planes;
use crate::augment::{AugmentScratch, AugmentTable, Plan, apply_plan, plan};
use crate::decode::video::VideoDecoder;
use crate::error::{Error, Result};
use crate::ffmpeg::MediaSource;
use crate::preprocess::{ResizeScratch, RgbView, VideoPreprocess, resize_image};
use crate::rng::RandomKey;

/// Loads clips as `[T, 3, H, W]` bytes.
///
/// The parameters of an augmentation are drawn once a clip, since an artefact that flickers would be no trace of a
/// forgery; noise is drawn for each frame. Clips are not mirrored.
pub struct VideoPipeline {
    preprocess: VideoPreprocess,
    augment: Option<(AugmentTable, u32)>,
}

/// What one worker keeps between clips.
#[derive(Default)]
pub struct VideoPipelineScratch {
    decoder: VideoDecoder,
    frames: FrameScratch,
}

/// What one worker keeps between frames.
#[derive(Default)]
struct FrameScratch {
    /// The last preprocessed frame `[H, W, 3]`, as it was before its augmentation.
    preprocessed: Vec<u8>,
    /// The frame that is augmented.
    pixels: Vec<u8>,
    resize: ResizeScratch,
    augment: AugmentScratch,
}

impl VideoPipeline {
    /// Preprocesses every frame, then augments it by a level of a table, if one is given.
    ///
    /// # Errors
    /// [`Error::Argument`] when the table has no such level.
    pub fn new(preprocess: VideoPreprocess, augment: Option<(AugmentTable, u32)>) -> Result<Self> {
        if let Some((table, level)) = &augment {
            table.operations(*level)?;
        }
        Ok(Self { preprocess, augment })
    }

    /// Augments the preprocessed frame and writes it as frame number `position` of the clip.
    fn write_frame(
        &self,
        plan: &Plan,
        position: usize,
        frames: &mut FrameScratch,
        slot: &mut [u8],
    ) -> Result<()> {
        let FrameScratch { preprocessed, pixels, augment, .. } = frames;
        let (height, width) = self.preprocess.size;
        let planes = &mut slot[position * preprocessed.len()..][..preprocessed.len()];
        if plan.operations.is_empty() {
            write_planes(preprocessed, width, false, planes);
            return Ok(());
        }
        pixels.clone_from(preprocessed);
        apply_plan(plan, position as u32, pixels, width, height, augment)?;
        write_planes(pixels, width, false, planes);
        Ok(())
    }
}

impl SamplePipeline for VideoPipeline {
    type Scratch = VideoPipelineScratch;

    fn scratch(&self) -> Self::Scratch {
        VideoPipelineScratch::default()
    }

    fn slot_bytes(&self) -> usize {
        self.preprocess.output_bytes()
    }

    fn describe(&self) -> String {
        let operations = self.augment.as_ref().and_then(|(table, level)| table.operations(*level).ok());
        format!("{:?}, augmented by {operations:?}", self.preprocess)
    }

    fn load(&self, path: &Path, key: RandomKey, scratch: &mut Self::Scratch, slot: &mut [u8]) -> Result<()> {
        let VideoPipelineScratch { decoder, frames } = scratch;
        let VideoPreprocess { size, mode, num_frames, sampling } = self.preprocess;
        let plan = match &self.augment {
            Some((table, level)) => plan(table, *level, key)?,
            None => Plan::default(),
        };
        frames.preprocessed.resize(self.preprocess.frame_bytes(), 0);
        let decoded =
            decoder.decode(MediaSource::Path(path), num_frames, sampling, &mut |position, frame| {
                let view = RgbView { width: frame.width, height: frame.height, data: frame.data };
                resize_image(view, size, mode, &mut frames.resize, &mut frames.preprocessed)
                    .map_err(|reason| Error::decode(path, reason))?;
                self.write_frame(&plan, position, frames, slot)
            })?;
        (decoded..num_frames).try_for_each(|position| self.write_frame(&plan, position, frames, slot))
    }
}
