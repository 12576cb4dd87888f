//! The bytes that FFmpeg reads: a regular file, or a copy of the caller's.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::MediaSource;
use crate::error::{DecodeError, Error, Result};

/// `EISDIR`, the same number on every Unix.
const IS_A_DIRECTORY: i32 = 21;
/// As much of a file of an unknown format as is looked at to say what it is.
const LOOKED_AT_BYTES: u64 = 4096;

enum Content {
    File(File),
    Bytes(Cursor<Vec<u8>>),
}

/// The first error of a reader: FFmpeg hands on a number that it also uses for faults of the content.
pub type Failure = Arc<Mutex<Option<io::Error>>>;

/// A source that FFmpeg reads from.
pub struct Reader {
    content: Content,
    failure: Failure,
}

impl Reader {
    /// Opens a source; pipes, devices and folders are refused before they are opened, since opening may wait.
    pub fn open(source: MediaSource<'_>) -> Result<Self> {
        let content = match source {
            MediaSource::Path(path) => Content::File(open_regular(path)?),
            MediaSource::Bytes([]) => return Err(Error::decode(source.path(), DecodeError::Empty)),
            MediaSource::Bytes(bytes) => Content::Bytes(Cursor::new(copy(bytes)?)),
        };
        Ok(Self { content, failure: Failure::default() })
    }

    /// Where the first I/O error will be found.
    pub fn failure(&self) -> Failure {
        Arc::clone(&self.failure)
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| duplicate(error));
        })
    }
}

/// The first bytes of a source, to say what it is.
pub fn first_bytes(source: MediaSource<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match source {
        MediaSource::Bytes(content) => bytes.extend(content.iter().take(LOOKED_AT_BYTES as usize)),
        MediaSource::Path(path) => {
            // Read a moment ago; should it be gone by now, nothing is said of it.
            let _ = File::open(path).and_then(|file| file.take(LOOKED_AT_BYTES).read_to_end(&mut bytes));
        }
    }
    bytes
}

fn open_regular(path: &Path) -> Result<File> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(path, error))?;
    if metadata.is_dir() {
        return Err(Error::io(path, io::Error::from_raw_os_error(IS_A_DIRECTORY)));
    }
    if !metadata.is_file() {
        return Err(Error::io(path, io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    if metadata.len() == 0 {
        return Err(Error::decode(path, DecodeError::Empty));
    }
    File::open(path).map_err(|error| Error::io(path, error))
}

/// FFmpeg's objects may outlive every borrow that the compiler can see, so they own their bytes.
fn copy(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copied = Vec::new();
    copied.try_reserve_exact(bytes.len()).map_err(|_| {
        Error::decode(MediaSource::Bytes(bytes).path(), DecodeError::OutOfMemory { bytes: bytes.len() })
    })?;
    copied.extend_from_slice(bytes);
    Ok(copied)
}

fn duplicate(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.content {
            Content::File(file) => file.read(buffer),
            Content::Bytes(bytes) => bytes.read(buffer),
        };
        self.note(read)
    }
}

impl Seek for Reader {
    /// A position before the start is the content's fault, not the system's, so it is not noted as a failure.
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match &mut self.content {
            Content::File(file) => file.seek(position),
            Content::Bytes(bytes) => bytes.seek(position),
        }
    }
}
