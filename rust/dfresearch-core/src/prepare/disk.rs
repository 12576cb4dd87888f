//! Room on the disk: what a person allows, and a reserve that is left free whatever is allowed.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::{Error, Result};
use crate::prepare::source::PARTS_FOLDER;

/// Never filled, or 2 % of a small disk: a full disk breaks more than a download.
const MAX_RESERVE_BYTES: u64 = 1 << 30;
const RESERVE_SHARE: u64 = 50;

/// The unit in which file systems tell what a file takes.
const BLOCK_BYTES: u64 = 512;

/// Written between two looks at the free space.
const LOOK_EVERY_BYTES: u64 = 32 << 20;

/// What may still be written into the cache folder, shared by all transfers.
#[derive(Debug)]
pub(super) struct DiskBudget {
    cache_dir: PathBuf,
    reserve: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the cap still allows; none without a cap.
    allowed: Option<u64>,
    /// Written since the free space was looked at.
    unseen: u64,
    /// Free space when it was looked at.
    free: u64,
}

impl DiskBudget {
    /// With a cap, what lies in `datasets/` counts against it.
    pub fn new(cache_dir: &Path, max_bytes: Option<u64>) -> Result<Self> {
        let allowed = match max_bytes {
            Some(most) => Some(most.saturating_sub(bytes_below(&cache_dir.join("datasets"))?)),
            None => None,
        };
        let space = disk_space(cache_dir)?;
        let reserve = space.reserve();
        let state = Mutex::new(State { allowed, unseen: 0, free: space.free });
        Ok(Self { cache_dir: cache_dir.to_path_buf(), reserve, state })
    }

    /// Announces that `bytes` are about to be written.
    ///
    /// # Errors
    /// [`Error::Io`] of the kind `QuotaExceeded` or `StorageFull` when there is no room for them.
    pub fn take(&self, bytes: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(allowed) = state.allowed {
            let Some(left) = allowed.checked_sub(bytes) else {
                let reason = "the cap on the disk (--max-disk-gb) is reached";
                return Err(self.no_room(ErrorKind::QuotaExceeded, reason.to_owned()));
            };
            state.allowed = Some(left);
        }
        state.unseen += bytes;
        if state.unseen >= LOOK_EVERY_BYTES || state.free < state.unseen.saturating_add(2 * self.reserve) {
            state.free = disk_space(&self.cache_dir)?.free;
            state.unseen = bytes;
        }
        if state.free < state.unseen.saturating_add(self.reserve) {
            let (free, reserve) = (state.free >> 20, self.reserve >> 20);
            let reason =
                format!("the disk is full: {free} MiB are free, and {reserve} MiB are left free always");
            return Err(self.no_room(ErrorKind::StorageFull, reason));
        }
        Ok(())
    }

    /// Announces that `bytes` were removed again.
    pub fn give_back(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(allowed) = &mut state.allowed {
            *allowed = allowed.saturating_add(bytes);
        }
    }

    fn no_room(&self, kind: ErrorKind, reason: String) -> Error {
        Error::Io { path: self.cache_dir.clone(), source: std::io::Error::new(kind, reason) }
    }
}

/// Whether an error says that there is no room on the disk: then no other dataset can be fetched either.
pub(super) fn is_disk_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. }
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskSpace {
    size: u64,
    /// What may still be written.
    pub free: u64,
}

impl DiskSpace {
    /// What is left free whatever is allowed.
    pub fn reserve(&self) -> u64 {
        MAX_RESERVE_BYTES.min(self.size / RESERVE_SHARE)
    }
}

/// The size of the file system that a folder lies in, and what is free there.
pub(crate) fn disk_space(folder: &Path) -> Result<DiskSpace> {
    let space = rustix::fs::statvfs(folder).map_err(|error| Error::io(folder, error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    Ok(DiskSpace { size: bytes(space.f_blocks), free: bytes(space.f_bavail) })
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut sum = 0u64;
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(&folder, error))?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => sum = sum.saturating_add(bytes_on_disk(&folder, &metadata)),
                // Another process has just removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io(entry.path(), error)),
            }
        }
    }
    Ok(sum)
}

/// Of what is still being fetched as much as has come: its file has its full length from the start.
fn bytes_on_disk(folder: &Path, metadata: &Metadata) -> u64 {
    let is_part = folder.file_name().is_some_and(|name| name == PARTS_FOLDER);
    let there = metadata.blocks().saturating_mul(BLOCK_BYTES);
    if is_part { metadata.len().min(there) } else { metadata.len() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_counts_what_is_there_and_what_comes() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("datasets/image/a")).unwrap();
        fs::write(cache.path().join("datasets/image/a/000000.jpg"), [0; 600]).unwrap();
        let budget = DiskBudget::new(cache.path(), Some(1000)).unwrap();
        budget.take(300).unwrap();
        let error = budget.take(101).unwrap_err();
        assert!(is_disk_full(&error) && error.to_string().contains("--max-disk-gb"), "{error}");
        budget.take(100).unwrap();
        budget.give_back(50);
        budget.take(50).unwrap();
    }

    #[test]
    fn of_a_part_the_cap_counts_what_has_come() {
        let cache = tempfile::tempdir().unwrap();
        let parts = cache.path().join("datasets/image/a").join(PARTS_FOLDER);
        fs::create_dir_all(&parts).unwrap();
        fs::File::create(parts.join("part")).unwrap().set_len(1 << 40).unwrap();
        let budget = DiskBudget::new(cache.path(), Some(1 << 20)).unwrap();
        budget.take(1 << 19).unwrap();
    }

    #[test]
    fn the_reserve_is_left_free() {
        let cache = tempfile::tempdir().unwrap();
        let budget = DiskBudget::new(cache.path(), None).unwrap();
        budget.take(1).unwrap();
        let error = budget.take(1 << 60).unwrap_err();
        assert!(is_disk_full(&error) && error.to_string().contains("disk is full"), "{error}");
        assert!(!is_disk_full(&Error::Stopped));
    }
}
