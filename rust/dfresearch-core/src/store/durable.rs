//! Writes that are on the disk when they return.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::staging::STAGING_FOLDER;

/// Flushes a folder, so that the names in it outlive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Error::io(folder, error))
}

/// Replaces a file of a dataset's folder, whole or not at all; what a kill leaves over lies in the staging folder.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let staging = folder.join(STAGING_FOLDER);
    fs::create_dir_all(&staging).map_err(|error| Error::io(&staging, error))?;
    let temporary = staging.join(path.file_name().unwrap_or_default());
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|error| Error::io(path, error))?;
    sync_folder(folder)
}

/// Makes a folder and those that it lies in.
pub(super) fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    folder.parent().map_or(Ok(()), sync_folder)
}
