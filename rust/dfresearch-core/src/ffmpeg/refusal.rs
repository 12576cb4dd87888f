//! FFmpeg's error numbers as reasons that say what is wrong with the content.

use ffmpeg_next::Error as FfmpegError;
use ffmpeg_next::error::ENOMEM;

use super::log::take_complaint;
use crate::error::DecodeError;

/// The most memory that FFmpeg asks for at once, whatever a file says: the default of `av_max_alloc`.
const LARGEST_REQUEST_BYTES: usize = i32::MAX as usize;

/// Why FFmpeg got no memory for content of `format`, `buffer_bytes` of it as far as one can tell.
///
/// FFmpeg refuses requests over its own limit with the same number as the system does: where the system would grant as
/// much as that limit, it is the content that asked for too much.
pub fn no_memory(format: &'static str, buffer_bytes: usize) -> DecodeError {
    if Vec::<u8>::new().try_reserve_exact(LARGEST_REQUEST_BYTES).is_err() {
        return DecodeError::OutOfMemory { bytes: buffer_bytes };
    }
    let reason = "it asks for more memory than any media need".to_owned();
    DecodeError::Corrupt { format, reason }
}

/// Why FFmpeg refused content of `format`, in its own last words where it left some.
///
/// `buffer_bytes` is the size of the buffer that may have been refused when the machine is out of memory.
pub fn refusal(error: FfmpegError, format: &'static str, buffer_bytes: usize) -> DecodeError {
    let complaint = take_complaint();
    let reason = || complaint.unwrap_or_else(|| error.to_string());
    match error {
        FfmpegError::Other { errno: ENOMEM } => no_memory(format, buffer_bytes),
        FfmpegError::Eof => DecodeError::Truncated { format, reason: reason() },
        FfmpegError::DecoderNotFound | FfmpegError::PatchWelcome => {
            DecodeError::Unsupported { format, reason: reason() }
        }
        _ => DecodeError::Corrupt { format, reason: reason() },
    }
}
