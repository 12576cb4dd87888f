//! One process at a time opens the index of a cache folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Between two attempts; an opening takes a few milliseconds.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// The exclusive lock on a file that is there for nothing else. Free again when dropped, or when its
/// process ends.
///
/// The database itself is not locked this way: to close a second handle of it takes away SQLite's own locks.
#[derive(Debug)]
pub(super) struct OpeningLock(File);

impl OpeningLock {
    /// Waits for the lock; none when others had it for all of `patience`.
    pub fn acquire(path: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(RETRY_INTERVAL),
            }
        }
    }
}

impl Drop for OpeningLock {
    fn drop(&mut self) {
        // A child that was forked meanwhile has the handle too, and closing ours would leave it locked.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_has_one_holder_and_is_free_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = OpeningLock::acquire(&path, Duration::ZERO).unwrap().unwrap();
        let inherited = held.0.try_clone().unwrap();
        assert!(OpeningLock::acquire(&path, Duration::from_millis(10)).unwrap().is_none());
        drop(held);
        assert!(OpeningLock::acquire(&path, Duration::ZERO).unwrap().is_some());
        drop(inherited);
    }
}
