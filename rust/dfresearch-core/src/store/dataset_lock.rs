//! One process at a time writes a dataset.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Where Linux keeps the machine's name.
const HOST_NAME_FILES: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/hostname"];

/// The exclusive lock on a dataset; free when dropped, or when its process ends. The file stays, since whoever waits
/// for a file that is deleted waits for nothing.
#[derive(Debug)]
pub(super) struct DatasetLock(File);

/// What came of an attempt to lock.
#[derive(Debug)]
pub(super) enum LockAttempt {
    /// The lock is ours.
    Held(DatasetLock),
    /// Somebody else has it; who, in words.
    Busy(String),
}

impl DatasetLock {
    /// Takes the lock if nobody has it.
    pub fn attempt(path: &Path) -> Result<LockAttempt> {
        let failed = |error| Error::io(path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                let holder = format!("process {} on {}\n", std::process::id(), host_name());
                file.set_len(0)
                    .and_then(|()| file.seek(SeekFrom::Start(0)))
                    .and_then(|_| file.write_all(holder.as_bytes()))
                    .map_err(failed)?;
                Ok(LockAttempt::Held(Self(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                let holder = holder.trim();
                // The holder may not have signed yet.
                Ok(LockAttempt::Busy(if holder.is_empty() { "another process" } else { holder }.to_owned()))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Drop for DatasetLock {
    fn drop(&mut self) {
        // A child that was forked meanwhile has the handle too, and closing ours would leave it locked.
        let _ = self.0.unlock();
    }
}

fn host_name() -> String {
    let names = HOST_NAME_FILES.iter().filter_map(|path| fs::read_to_string(path).ok());
    names
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or("this machine".to_owned())
}
