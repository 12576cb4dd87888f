//! What the header of a media file says, without decoding it.

use std::path::Path;

use crate::decode::video::frame_files;
use crate::decode::{ImageFormat, ImageLimits, audio, read_dimensions};
use crate::error::{DecodeError, Error, Result};
use crate::ffmpeg::{MediaInput, MediaLimits, MediaSource, Medium};
use crate::media_file::read_media_file;
use crate::modality::Modality;

/// What a header says of a medium.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MediaProperties {
    /// Width and height in pixels; none for sound.
    pub dimensions: Option<(u32, u32)>,
    /// How long it lasts; none for an image, and where the header does not say.
    pub duration_seconds: Option<f64>,
    /// The format of an image in small letters, or FFmpeg's name of the codec.
    pub codec: Option<String>,
}

/// Reads the header of an image, of a video file or folder of frames, or of a sound file, told by its content.
///
/// # Errors
/// [`Error::Decode`] for content that is no such medium, that is damaged, or beyond the limits; [`Error::NotFound`] and
/// [`Error::Io`] for what cannot be read.
pub fn probe(modality: Modality, source: &Path) -> Result<MediaProperties> {
    match modality {
        Modality::Image => probe_image(source),
        Modality::Video if source.is_dir() => probe_frames(source),
        Modality::Video => probe_video(source),
        Modality::Audio => {
            let header = audio::read_header(MediaSource::Path(source))?;
            Ok(MediaProperties {
                dimensions: None,
                duration_seconds: header.seconds,
                codec: Some(header.codec),
            })
        }
    }
}

/// The name of the format of an image with this content.
pub(super) fn image_codec(content: &[u8]) -> Option<String> {
    ImageFormat::sniff(content).ok().map(|format| format.to_string().to_lowercase())
}

fn probe_image(path: &Path) -> Result<MediaProperties> {
    let mut bytes = Vec::new();
    read_media_file(path, &mut bytes)?;
    let (width, height) =
        read_dimensions(&bytes, &ImageLimits::default()).map_err(|reason| Error::decode(path, reason))?;
    Ok(MediaProperties {
        dimensions: u32::try_from(width).ok().zip(u32::try_from(height).ok()),
        duration_seconds: None,
        codec: image_codec(&bytes),
    })
}

/// The first frame stands for all.
fn probe_frames(folder: &Path) -> Result<MediaProperties> {
    match frame_files(folder).map_err(|error| Error::io(folder, error))?.first() {
        Some(frame) => probe_image(frame),
        None => {
            let reason = "it holds no image files".to_owned();
            Err(Error::decode(folder, DecodeError::NothingDecoded { format: "folder of frames", reason }))
        }
    }
}

fn probe_video(path: &Path) -> Result<MediaProperties> {
    let input = MediaInput::open(MediaSource::Path(path), Medium::Video, MediaLimits::default())?;
    let (width, height) = input.picture_size();
    let stream = input.stream()?;
    let seconds = stream.duration() as f64 * f64::from(stream.time_base());
    Ok(MediaProperties {
        dimensions: (width > 0 && height > 0).then_some((width, height)),
        // Matroska says it of the whole file, and not of its streams.
        duration_seconds: if seconds > 0.0 { Some(seconds) } else { input.seconds() },
        codec: Some(stream.parameters().id().name().to_owned()),
    })
}
