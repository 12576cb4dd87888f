//! One image file to one slot: decode, preprocess, augment, flip, planes.

use std::path::Path;

use super::SamplePipeline;
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

    /// In words, what happens to every image: two pipelines with the same description make the same slots, as long
    /// as custom operations of one name do the same.
    pub fn describe(&self) -> String {
        let operations = self.augment.as_ref().and_then(|(table, level)| table.operations(*level).ok());
        format!("{:?}, augmented by {operations:?}", self.preprocess)
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

/// `[H, W, 3]` to `[3, H, W]`, mirrored from left to right on the way when `flip` is set.
fn write_planes(pixels: &[u8], width: usize, flip: bool, planes: &mut [u8]) {
    let plane = planes.len() / 3;
    let (red, rest) = planes.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let rows =
        red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width)).zip(blue.chunks_exact_mut(width));
    for (((red, green), blue), row) in rows.zip(pixels.chunks_exact(width * 3)) {
        let (row, _) = row.as_chunks::<3>();
        let targets = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
        let copy = |(((red, green), blue), pixel): (((&mut u8, &mut u8), &mut u8), &[u8; 3])| {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        };
        if flip {
            targets.zip(row.iter().rev()).for_each(copy);
        } else {
            targets.zip(row).for_each(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_split_and_mirrored() {
        let pixels: Vec<u8> = (0..12).collect();
        let mut planes = [0; 12];
        write_planes(&pixels, 2, false, &mut planes);
        assert_eq!(planes, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        write_planes(&pixels, 2, true, &mut planes);
        assert_eq!(planes, [3, 0, 9, 6, 4, 1, 10, 7, 5, 2, 11, 8]);
    }
}
