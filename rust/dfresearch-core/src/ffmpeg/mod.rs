//! What video and audio share of FFmpeg: opening files and bytes, reading packets, limits, errors, its log.
//!
//! ```text
//!  MediaSource ──► MediaInput::open ──► read ──► packets of one stream ──► a decoder of its own
//!  (path, bytes)   (format allowed?     (limits)                          (MediaInput::decoder)
//!                   stream there?)
//! ```
//!
//! A file is read through Rust's own I/O, so no name can make FFmpeg open a network address, a device or another
//! file; formats that refer to other files (playlists, image sequences, capture devices) are not opened at all.
//! Whatever FFmpeg has to say goes to `tracing`, under the target `ffmpeg`, and never to stderr.

use std::path::Path;
use std::sync::Once;

mod format;
mod input;
mod log;
mod reader;
mod refusal;

pub use input::{MediaInput, MediaLimits, Medium};
pub(crate) use refusal::no_memory;

/// The path in an error about bytes that came from no file.
const BYTES: &str = "<bytes>";

/// Where encoded media come from.
#[derive(Debug, Clone, Copy)]
pub enum MediaSource<'a> {
    /// A file.
    Path(&'a Path),
    /// The content of a file; errors name it `<bytes>`.
    Bytes(&'a [u8]),
}

impl<'a> MediaSource<'a> {
    /// The path that errors name.
    pub fn path(&self) -> &'a Path {
        match self {
            Self::Path(path) => path,
            Self::Bytes(_) => Path::new(BYTES),
        }
    }
}

/// Makes FFmpeg ready for use: once a process, from any thread.
pub(crate) fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::forward_to_tracing();
        // The texts of its error numbers; there is nothing that could fail.
        ffmpeg_next::util::error::register_all();
    });
}
