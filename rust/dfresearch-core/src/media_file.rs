//! Reading whole media files: one way for loaders, scans and single calls.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::error::{DecodeError, Error, Result};

/// Larger files are refused unread; the largest image that is decoded takes half of it without compression.
pub const MAX_MEDIA_FILE_BYTES: u64 = 1 << 30;

/// `EISDIR`, the same number on every Unix.
const IS_A_DIRECTORY: i32 = 21;

/// Reads a whole file into `bytes`, whose memory is used again.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Io`] for what cannot be read, folders and pipes included; [`Error::Decode`] for a
/// file over [`MAX_MEDIA_FILE_BYTES`].
pub fn read_media_file(path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    // Opening a named pipe would wait for ever for somebody to write to it.
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(path, error))?;
    if metadata.is_dir() {
        return Err(Error::io(path, io::Error::from_raw_os_error(IS_A_DIRECTORY)));
    }
    if !metadata.is_file() {
        return Err(Error::io(path, io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    check_length(path, metadata.len())?;
    let out_of_memory = |_| Error::io(path, io::Error::from(ErrorKind::OutOfMemory));
    bytes.try_reserve(metadata.len() as usize + 1).map_err(out_of_memory)?;
    File::open(path)
        .and_then(|file| file.take(MAX_MEDIA_FILE_BYTES + 1).read_to_end(bytes))
        .map_err(|error| Error::io(path, error))?;
    check_length(path, bytes.len() as u64)
}

fn check_length(path: &Path, length: u64) -> Result<()> {
    if length <= MAX_MEDIA_FILE_BYTES {
        return Ok(());
    }
    let reason = format!("{length} bytes are over the limit of {MAX_MEDIA_FILE_BYTES}");
    Err(Error::decode(path, DecodeError::Unsupported { format: "media file", reason }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_checked_before_memory_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse.jpg");
        File::create(&path).unwrap().set_len(1 << 42).unwrap();
        let mut bytes = Vec::new();
        let refused = read_media_file(&path, &mut bytes);
        assert!(matches!(refused, Err(Error::Decode { .. })));
        assert_eq!(bytes.capacity(), 0);
    }

    #[test]
    fn what_was_read_before_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"abc").unwrap();
        let mut bytes = vec![9; 100];
        read_media_file(&path, &mut bytes).unwrap();
        assert_eq!(bytes, b"abc");
        assert!(matches!(read_media_file(folder.path(), &mut bytes), Err(Error::Io { .. })));
        assert!(matches!(read_media_file(&path.join("b"), &mut bytes), Err(Error::Io { .. })));
        assert!(bytes.is_empty());
    }
}
