//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A file under a temporary name beside its destination; it goes away unless it is committed.
#[derive(Debug)]
pub(super) struct PendingFile {
    temporary: PathBuf,
    destination: PathBuf,
    committed: bool,
}

impl PendingFile {
    /// Writes a temporary file beside `destination` through `write`, and flushes it to the disk.
    pub fn write(destination: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Self> {
        let folder = folder_of(destination);
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let temporary = temporary_beside(destination);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(|error| Error::io(&temporary, error))?;
        let pending = Self { temporary, destination: destination.to_path_buf(), committed: false };
        write(&mut file).and_then(|()| file.sync_all()).map_err(|error| Error::io(destination, error))?;
        Ok(pending)
    }

    /// Where the content lies until it is committed.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Where the content will lie.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Gives the file its name, in place of what had it before.
    pub fn commit(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.destination)
            .map_err(|error| Error::io(&self.destination, error))?;
        self.committed = true;
        sync_folder(folder_of(&self.destination))
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to tell; the name says that it is a leftover.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `content` to `path`, whole or not at all.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    PendingFile::write(path, |file| file.write_all(content))?.commit()
}

/// Reads a text file that must be UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    String::from_utf8(bytes).map_err(|error| {
        refused(path, format!("not UTF-8 text: byte {} is invalid", error.utf8_error().valid_up_to()))
    })
}

/// Flushes a folder, so that the names in it outlive a crash.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Error::io(folder, error))
}

/// The folder that a path lies in; `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A hidden name beside `path` that nothing has yet.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let candidate = folder_of(path).join(format!(".{name}.{}-{number}.partial", std::process::id()));
        if candidate.symlink_metadata().is_err() {
            return candidate;
        }
    }
}

/// The error for a submission file that is not acceptable.
pub(super) fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::Submission { path: path.to_path_buf(), reason: reason.into() }
}
