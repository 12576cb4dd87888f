//! One image file to one slot: decode, preprocess ─► record `[H, W, 3]` ─► augment, flip, planes.

use std::path::Path;

use super::planes::write_planes;
use super::{Medium, SamplePipeline, check_bytes};
use crate::augment::{AugmentScratch, AugmentTable, Plan, apply_plan, plan};
use crate::error::{Error, Result};
use crate::media_file::read_media_file;
use crate::modality::Modality;
use crate::preprocess::{ImagePreprocess, ImageScratch};
use crate::rng::RandomKey;

/// Noise is drawn for each frame of a clip; an image is its own only frame.
const STILL_FRAME: u32 = 0;

/// Loads images as `[3, H, W]` bytes.
pub struct ImagePipeline {
    preprocess: ImagePreprocess,
    augment: Option<(AugmentTable, u32)>,
}

/// What one worker keeps between images.
#[derive(Default)]
pub struct ImagePipelineScratch {
    file: Vec<u8>,
    /// The image `[H, W, 3]` that is augmented.
    pixels: Vec<u8>,
    image: ImageScratch,
    augment: AugmentScratch,
}

impl ImagePipeline {
    /// Preprocesses every image, then augments it by a level of a table, if one is given.
    ///
    /// # Errors
    /// [`Error::Argument`] when the table has no such level.
    pub fn new(preprocess: ImagePreprocess, augment: Option<(AugmentTable, u32)>) -> Result<Self> {
        if let Some((table, level)) = &augment {
            table.operations(*level)?;
        }
        Ok(Self { preprocess, augment })
    }
}

impl SamplePipeline for ImagePipeline {
    type Scratch = ImagePipelineScratch;

    fn scratch(&self) -> Self::Scratch {
        ImagePipelineScratch::default()
    }

    fn slot_bytes(&self) -> usize {
        self.preprocess.output_bytes()
    }

    fn modality(&self) -> Modality {
        Modality::Image
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
        let ImagePipelineScratch { file, image, .. } = scratch;
        let bytes = match medium.bytes {
            Some(bytes) => bytes,
            None => {
                read_media_file(medium.path, file)?;
                file
            }
        };
        record.resize(self.preprocess.output_bytes(), 0);
        self.preprocess.run(bytes, image, record).map_err(|reason| Error::decode(medium.path, reason))
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
        let (height, width) = self.preprocess.size;
        let plan = match &self.augment {
            Some((table, level)) => plan(table, *level, key)?,
            None => Plan::default(),
        };
        if plan.operations.is_empty() {
            write_planes(record, width, plan.flip, slot);
            return Ok(());
        }
        let ImagePipelineScratch { pixels, augment, .. } = scratch;
        pixels.clear();
        pixels.extend_from_slice(record);
        apply_plan(&plan, STILL_FRAME, pixels, width, height, augment)?;
        write_planes(pixels, width, plan.flip, slot);
        Ok(())
    }
}
