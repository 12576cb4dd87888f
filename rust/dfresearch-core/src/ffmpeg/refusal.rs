//! FFmpeg's error numbers as reasons that say what is wrong with the content.

use ffmpeg_next::Error as FfmpegError;
use ffmpeg_next::error::ENOMEM;

use super::log::take_complaint;
use crate::error::DecodeError;

/// Why FFmpeg refused content of `format`, in its own last words where it left some.
///
/// `buffer_bytes` is the size of the buffer that may have been refused when the machine is out of memory.
pub fn refusal(error: FfmpegError, format: &'static str, buffer_bytes: usize) -> DecodeError {
    let complaint = take_complaint();
    let reason = || complaint.unwrap_or_else(|| error.to_string());
    match error {
        FfmpegError::Other { errno: ENOMEM } => DecodeError::OutOfMemory { bytes: buffer_bytes },
        FfmpegError::Eof => DecodeError::Truncated { format, reason: reason() },
        FfmpegError::DecoderNotFound | FfmpegError::PatchWelcome => {
            DecodeError::Unsupported { format, reason: reason() }
        }
        _ => DecodeError::Corrupt { format, reason: reason() },
    }
}
