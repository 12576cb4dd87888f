//! One clip to one slot: the wanted frames, preprocessed ─► record `[T, H, W, 3]` ─► each augmented, planes.
//!
//! ```text
//!  decoder ──► frame ─► crop + resize ─► record[frame]      the last frame stands in for those that the clip lacks
//!  record[frame] ─► augment ─► planes ─► slot[frame]        one plan a clip, noise a frame
//! ```

use std::path::Path;

use super::planes::write_planes;
use super::{Medium, SamplePipeline, check_bytes};
use crate::augment::{AugmentScratch, AugmentTable, Plan, apply_plan, plan};
use crate::decode::video::VideoDecoder;
use crate::error::{Error, Result};
use crate::ffmpeg::MediaSource;
use crate::modality::Modality;
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
    resize: ResizeScratch,
    /// The frame `[H, W, 3]` that is augmented.
    pixels: Vec<u8>,
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
}

impl SamplePipeline for VideoPipeline {
    type Scratch = VideoPipelineScratch;

    fn scratch(&self) -> Self::Scratch {
        VideoPipelineScratch::default()
    }

    fn slot_bytes(&self) -> usize {
        self.preprocess.output_bytes()
    }

    fn modality(&self) -> Modality {
        Modality::Video
    }

    fn max_record_bytes(&self) -> usize {
        self.preprocess.output_bytes()
    }

    fn describe(&self) -> String {
        let operations = self.augment.as_ref().and_then(|(table, level)| table.operations(*level).ok());
        format!("{}, augmented by {operations:?}", self.describe_preprocessing())
    }

    fn describe_preprocessing(&self) -> String {
        format!("{:?}", self.preprocess)
    }

    fn preprocess(
        &self,
        medium: Medium<'_>,
        scratch: &mut Self::Scratch,
        record: &mut Vec<u8>,
    ) -> Result<()> {
        let VideoPipelineScratch { decoder, resize, .. } = scratch;
        let VideoPreprocess { size, mode, num_frames, sampling } = self.preprocess;
        let frame_bytes = self.preprocess.frame_bytes();
        record.resize(self.preprocess.output_bytes(), 0);
        let decoded = decoder.decode(
            MediaSource::Path(medium.path),
            num_frames,
            sampling,
            &mut |position, frame| {
                let view = RgbView { width: frame.width, height: frame.height, data: frame.data };
                let pixels = &mut record[position * frame_bytes..][..frame_bytes];
                resize_image(view, size, mode, resize, pixels)
                    .map_err(|reason| Error::decode(medium.path, reason))
            },
        )?;
        let last = decoded.saturating_sub(1) * frame_bytes;
        for position in decoded..num_frames {
            record.copy_within(last..last + frame_bytes, position * frame_bytes);
        }
        Ok(())
    }

    fn finish(
        &self,
        _: &Path,
        record: &[u8],
        key: RandomKey,
        scratch: &mut Self::Scratch,
        slot: &mut [u8],
    ) -> Result<()> {
        check_bytes("record", record.len(), self.preprocess.output_bytes())?;
        check_bytes("slot", slot.len(), self.preprocess.output_bytes())?;
        let VideoPipelineScratch { pixels, augment, .. } = scratch;
        let (height, width) = self.preprocess.size;
        let plan = match &self.augment {
            Some((table, level)) => plan(table, *level, key)?,
            None => Plan::default(),
        };
        let frame_bytes = self.preprocess.frame_bytes();
        let frames = record.chunks_exact(frame_bytes).zip(slot.chunks_exact_mut(frame_bytes));
        for (position, (frame, planes)) in frames.enumerate() {
            if plan.operations.is_empty() {
                write_planes(frame, width, false, planes);
                continue;
            }
            pixels.clear();
            pixels.extend_from_slice(frame);
            apply_plan(&plan, position as u32, pixels, width, height, augment)?;
            write_planes(pixels, width, false, planes);
        }
        Ok(())
    }
}
