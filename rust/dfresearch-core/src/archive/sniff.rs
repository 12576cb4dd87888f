//! Which extension a file's content deserves.

use crate::decode::ImageFormat;
use crate::modality::Modality;

/// The extension for a medium whose content begins like this; none for content that is no such medium.
pub fn sniff(head: &[u8], modality: Modality) -> Option<&'static str> {
    match modality {
        Modality::Image => Some(match ImageFormat::sniff(head).ok()? {
            ImageFormat::Jpeg => "jpg",
            ImageFormat::Png => "png",
            ImageFormat::WebP => "webp",
            ImageFormat::Bmp => "bmp",
            ImageFormat::Gif => "gif",
            ImageFormat::Tiff => "tiff",
        }),
        Modality::Video => (head.get(4..8) == Some(b"ftyp")).then_some("mp4"),
        Modality::Audio => (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE")).then_some("wav"),
    }
}
