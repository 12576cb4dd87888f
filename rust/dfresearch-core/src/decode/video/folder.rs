//! A clip as a folder of image files, each as OpenCV's `imread` reads it.
//!
//! OpenCV differs from Pillow, after which images are read elsewhere, in this: it turns pictures as their EXIF data
//! say, and takes the upper half of 16-bit grey, which is therefore refused here. Its CMYK may differ by 1.

use std::path::{Path, PathBuf};

use super::{FrameSink, FrameView};
use crate::decode::tiff::Orientation;
use crate::decode::{ImageDecoder, ImageFormat, ImageLimits, RgbImage, exif};
use crate::error::{DecodeError, Error, Result};
use crate::ffmpeg::MediaLimits;
use crate::media_file::read_media_file;

/// Reads folders of frames; keeps a decoder and its buffers.
#[derive(Debug, Default)]
pub struct FrameFolder {
    images: ImageDecoder,
    file: Vec<u8>,
    image: RgbImage,
    turned: Vec<u8>,
}

/// The endings of files that are taken for frames, in small letters.
pub(crate) const FRAME_EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"];

impl FrameFolder {
    /// The first frames of a folder.
    pub fn decode(
        &mut self,
        folder: &Path,
        num_frames: usize,
        limits: &MediaLimits,
        sink: &mut FrameSink<'_>,
    ) -> Result<usize> {
        let max_pixels = usize::try_from(limits.max_pixels).unwrap_or(usize::MAX);
        let limits = ImageLimits { max_pixels, ..ImageLimits::default() };
        let mut size = None;
        let frames = frame_files(folder).map_err(|error| Error::io(folder, error))?;
        if frames.is_empty() {
            let reason = "it holds no image files".to_owned();
            let reason = DecodeError::NothingDecoded { format: "folder of frames", reason };
            return Err(Error::decode(folder, reason));
        }
        for (position, path) in frames.iter().take(num_frames).enumerate() {
            read_media_file(path, &mut self.file)?;
            let refused = |reason| Error::decode(path, reason);
            refuse_grey_16(&self.file).map_err(refused)?;
            self.images.decode(&self.file, &limits, &mut self.image).map_err(refused)?;
            let orientation = Orientation::from_number(exif::orientation(&self.file));
            orientation.apply(&mut self.image, &mut self.turned).map_err(refused)?;
            let RgbImage { width, height, data } = &self.image;
            let (first_width, first_height) = *size.get_or_insert((*width, *height));
            if (*width, *height) != (first_width, first_height) {
                let reason = format!(
                    "{width}x{height} pixels, but the frames before have {first_width}x{first_height}"
                );
                return Err(refused(DecodeError::Corrupt { format: "folder of frames", reason }));
            }
            sink(position, FrameView { width: *width, height: *height, data })?;
        }
        Ok(frames.len().min(num_frames))
    }
}

/// Refuses the PNG files whose pixels would not be OpenCV's.
fn refuse_grey_16(file: &[u8]) -> Result<(), DecodeError> {
    // Bits a sample and the type of colour, after the signature, the header's length and name, width and height.
    if ImageFormat::sniff(file)? == ImageFormat::Png && file.get(24..26) == Some(&[16, 0]) {
        let reason = "grey of 16 bits; save the frames with 8 bits".to_owned();
        return Err(DecodeError::Unsupported { format: "PNG", reason });
    }
    Ok(())
}

/// The image files of a folder, by the numbers that their names begin with, and then by name.
pub(crate) fn frame_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut frames = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(number) = frame_number(&path) {
            frames.push((number, path));
        }
    }
    frames.sort();
    Ok(frames.into_iter().map(|(_, path)| path).collect())
}

/// The number at the start of a frame's name; those without one come last. None for what is no frame by its name.
pub(crate) fn frame_number(path: &Path) -> Option<u128> {
    let name = path.file_name()?.to_string_lossy();
    let extension = path.extension()?.to_string_lossy().to_lowercase();
    // Some systems leave a hidden companion beside every file (`._0001.png`).
    if name.starts_with('.') || !FRAME_EXTENSIONS.contains(&extension.as_str()) {
        return None;
    }
    let digits = name.find(|it: char| !it.is_ascii_digit()).unwrap_or(name.len());
    Some(name[..digits].parse().unwrap_or(u128::MAX))
}
