//! One image file to one slot: decode, preprocess, augment, flip, planes.

use std::path::Path;

use super::SamplePipeline;
use super::planes::write_planes;
use crate::augment::{AugmentScratch, AugmentTable, apply_plan, plan};
use crate::error::{Error, Result};
use crate::media_file::read_media_file;
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
    /// The preprocessed image `[H, W, 3]`.
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

    fn describe(&self) -> String {
        let operations = self.augment.as_ref().and_then(|(table, level)| table.operations(*level).ok());
        format!("{:?}, augmented by {operations:?}", self.preprocess)
    }

    fn load(&self, path: &Path, key: RandomKey, scratch: &mut Self::Scratch, slot: &mut [u8]) -> Result<()> {
        let ImagePipelineScratch { file, pixels, image, augment } = scratch;
        read_media_file(path, file)?;
        pixels.resize(self.preprocess.output_bytes(), 0);
        self.preprocess.run(file, image, pixels).map_err(|reason| Error::decode(path, reason))?;

        let (height, width) = self.preprocess.size;
        let mut flip = false;
        if let Some((table, level)) = &self.augment {
            let plan = plan(table, *level, key)?;
            apply_plan(&plan, STILL_FRAME, pixels, width, height, augment)?;
            flip = plan.flip;
        }
        write_planes(pixels, width, flip, slot);
        Ok(())
    }
}
