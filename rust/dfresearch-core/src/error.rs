//! The one error type of the core: every variant names the file, sample or argument it is about.

use std::path::{Path, PathBuf};

/// What went wrong, and with which file, sample or argument.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not exist.
    #[error("{}: no such file", path.display())]
    NotFound {
        /// The file that was asked for.
        path: PathBuf,
    },

    /// The operating system refused to read or write the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// The file was read, but its content cannot be turned into media.
    #[error("{}: {reason}", path.display())]
    Decode {
        /// The media file; `<bytes>` for media that came as bytes.
        path: PathBuf,
        /// Why the content was refused.
        reason: DecodeError,
    },

    /// A dataset definition or a manifest is not valid.
    #[error("{}:{line}: {reason}", file.display())]
    Definition {
        /// The definition file.
        file: PathBuf,
        /// Its line, counted from one.
        line: usize,
        /// What is wrong and what is expected.
        reason: String,
    },

    /// An argument of a call is outside of what the call accepts.
    #[error("{argument}: {reason}")]
    Argument {
        /// The argument's name.
        argument: &'static str,
        /// What is wrong and what is expected.
        reason: String,
    },

    /// An augmentation is not defined as it must be, or it failed on an image.
    #[error("augmentation {operation}: {reason}")]
    Augment {
        /// The operation's name.
        operation: String,
        /// What is wrong and what is expected.
        reason: String,
    },

    /// The index of a cache folder cannot be opened, read or written.
    #[error("{}: {reason}", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What failed and what to do.
        reason: String,
    },

    /// A submission is not one that the competition would accept.
    #[error("{}: {reason}", path.display())]
    Submission {
        /// The file of the submission.
        path: PathBuf,
        /// What is wrong and what is expected.
        reason: String,
    },

    /// Something could not be fetched.
    #[error("{url}: {reason}")]
    Fetch {
        /// What was asked for, without credentials.
        url: String,
        /// What to do about it.
        kind: FetchErrorKind,
        /// What happened.
        reason: String,
    },

    /// Work was ended before its time because somebody asked for it.
    #[error("stopped")]
    Stopped,

    /// A loader cannot go on.
    #[error("loader: {reason}")]
    Loader {
        /// What happened and what to do.
        reason: String,
    },
}

/// The result of every fallible call of the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an I/O error with the path that it is about; a missing file becomes [`Error::NotFound`].
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Io { path, source },
        }
    }

    /// Wraps the reason why a media file's content was refused.
    pub fn decode(path: impl AsRef<Path>, reason: DecodeError) -> Self {
        Self::Decode { path: path.as_ref().to_path_buf(), reason }
    }

    /// What is wrong with a file, without its path; the whole message of an error that is not about a file's content.
    pub fn reason(&self) -> String {
        match self {
            Self::Decode { reason, .. } => reason.to_string(),
            Self::NotFound { .. } => "no such file".into(),
            Self::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// Something that could not be fetched.
    pub fn fetch(url: impl Into<String>, kind: FetchErrorKind, reason: impl Into<String>) -> Self {
        Self::Fetch { url: url.into(), kind, reason: reason.into() }
    }

    /// Travels through a [`std::io::Read`], to be unpacked by [`Error::from_io`].
    pub fn into_io(self) -> std::io::Error {
        match self {
            Self::Io { source, .. } if source.raw_os_error().is_some() => source,
            other => std::io::Error::other(other),
        }
    }

    /// The error that [`Error::into_io`] packed, or the I/O error with the path that it is about.
    pub fn from_io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::io(path, source),
        }
    }

    /// An argument that the call does not accept.
    pub fn argument(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::Argument { argument, reason: reason.into() }
    }

    /// An augmentation that is badly defined or failed.
    pub fn augment(operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Augment { operation: operation.into(), reason: reason.into() }
    }
}

/// What to do about something that could not be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// A person has to be let in, at the page of the repository or by a token.
    Gated,
    /// It is not there.
    NotFound,
    /// The source or the way to it fails, after all attempts: worth another try later.
    Unavailable,
    /// What came contradicts itself or what was promised.
    Invalid,
}

/// Why the content of a media file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes at all.
    #[error("the file is empty")]
    Empty,

    /// The content is of no format that is read here.
    #[error("not a known {medium} format: {found}")]
    UnknownFormat {
        /// What was expected: `image`, `video` or `audio`.
        medium: &'static str,
        /// What the first bytes look like.
        found: String,
    },

    /// The content ends before the media does.
    #[error("truncated {format}: {reason}")]
    Truncated {
        /// The media format, for example `JPEG`.
        format: &'static str,
        /// Where the data ended.
        reason: String,
    },

    /// The content contradicts its format.
    #[error("corrupt {format}: {reason}")]
    Corrupt {
        /// The media format.
        format: &'static str,
        /// The decoder's reason.
        reason: String,
    },

    /// The content is valid, but of a kind that is not read here.
    #[error("unsupported {format}: {reason}")]
    Unsupported {
        /// The media format.
        format: &'static str,
        /// Which feature is missing.
        reason: String,
    },

    /// The header announces more than the limits allow; nothing was allocated.
    #[error("{width}x{height} pixels are over the limit of {limit}")]
    TooLarge {
        /// Width in pixels, as the header says.
        width: u64,
        /// Height in pixels, as the header says.
        height: u64,
        /// The limit that was passed, in words.
        limit: String,
    },

    /// A container that is sound, but without what was asked for.
    #[error("no {medium} in this {format} file: it holds {found}")]
    NoStream {
        /// What was asked for: `video` or `audio`.
        medium: &'static str,
        /// The container.
        format: &'static str,
        /// What it holds instead.
        found: String,
    },

    /// The stream is there, and its decoder made nothing of it.
    #[error("empty {format}: {reason}")]
    NothingDecoded {
        /// The container.
        format: &'static str,
        /// How much was tried.
        reason: String,
    },

    /// The content goes on after the limits are reached.
    #[error("there is more in it than the limit of {limit}")]
    TooLong {
        /// The limit that was passed, in words.
        limit: String,
    },

    /// The decoder hangs; the content may still be sound.
    #[error("the decoder got nothing done in {seconds} seconds")]
    TimedOut {
        /// How long it was waited for.
        seconds: u64,
    },

    /// The machine has no memory left for the pixels; the content itself may be sound.
    #[error("out of memory: no {bytes} bytes to decode it in; use fewer workers or a lower limit of pixels")]
    OutOfMemory {
        /// The size in bytes of the buffer that could not be had, or of the pixels that did not fit.
        bytes: usize,
    },
}
