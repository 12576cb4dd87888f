//! How much all stores under one folder may hold together: exactly, for any number of processes.
//!
//! Space is reserved in steps, by making files longer, under a lock that all processes share; and what counts is the
//! sum of the files' lengths. So what is reserved is seen by everybody, and what a killed process had reserved too.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::eviction;
use super::settings::StoreSettings;
use crate::error::{Error, Result};
use crate::prepare::disk_space;

/// At most so much is taken without being asked for: 50 GB.
const MOST_DEFAULT_BYTES: u64 = 50_000_000_000;
/// Of what is free: a quarter.
const DEFAULT_SHARE: u64 = 4;

/// In the root folder of all stores.
const ROOT_LOCK_FILE: &str = ".lock";
/// How long the lock is waited for: whoever has it may be removing a large store.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// How many bytes a cache below `root` may take where nobody says: a quarter of what is free on its disk together with
/// what the cache holds already, and at most 50 GB.
///
/// # Errors
/// [`Error::Io`] when the disk cannot be asked, or what lies below `root` not be listed.
pub fn default_max_bytes(root: &Path) -> Result<u64> {
    let held = bytes_below(root).map_err(|error| Error::io(root, error))?;
    let absolute = std::path::absolute(root).map_err(|error| Error::io(root, error))?;
    let there = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(&absolute);
    let free = disk_space(there)?.free;
    Ok((free.saturating_add(held) / DEFAULT_SHARE).min(MOST_DEFAULT_BYTES))
}

/// The sum of the lengths of all files below a folder.
pub(super) fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut sum = 0u64;
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => sum = sum.saturating_add(metadata.len()),
                // Another process has just removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum)
}

/// The exclusive lock on everything below a root; free when dropped, or when its process ends.
#[derive(Debug)]
pub(super) struct RootLock(File);

impl RootLock {
    /// Waits for the lock.
    pub fn acquire(root: &Path) -> io::Result<Self> {
        let path = root.join(ROOT_LOCK_FILE);
        let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = match writable {
            // In a folder that cannot be written an existing lock can still be taken.
            Err(error) if is_read_only(&error) => File::open(&path).map_err(|_| error)?,
            other => other?,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    let reason = format!("another process has had the lock for {} s", PATIENCE.as_secs());
                    return Err(io::Error::new(ErrorKind::TimedOut, reason));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(RETRY_INTERVAL),
            }
        }
    }
}

impl Drop for RootLock {
    fn drop(&mut self) {
        // A child that was forked meanwhile has the handle too, and closing ours would leave it locked.
        let _ = self.0.unlock();
    }
}

/// Whether an error says that one may look and not touch.
pub(super) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Whether an error says that there is no room on the disk.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What came of an attempt to reserve space.
#[derive(Debug)]
pub(super) enum Reserved {
    /// The files are as much longer as they were made.
    Done,
    /// There is no room, even without stale stores. The reason, in words.
    Full(String),
}

/// The cap on everything below a root.
#[derive(Debug)]
pub(super) struct Capacity {
    pub root: PathBuf,
    pub max_bytes: u64,
}

impl Capacity {
    /// Reserves `wanted` bytes, or fewer, and at least `needed`, by `extend`, which makes files longer by that much.
    /// Stale stores make way first.
    pub fn reserve(
        &self,
        settings: &StoreSettings,
        needed: u64,
        wanted: u64,
        extend: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<Reserved> {
        let _lock = RootLock::acquire(&self.root)?;
        self.reserve_locked(settings, needed, wanted, extend)
    }

    /// [`reserve`](Self::reserve) for who has the lock of the root.
    pub fn reserve_locked(
        &self,
        settings: &StoreSettings,
        needed: u64,
        wanted: u64,
        mut extend: impl FnMut(u64) -> io::Result<()>,
    ) -> io::Result<Reserved> {
        if needed > self.room()?.bytes {
            eviction::make_room(&self.root, settings, || Ok(needed <= self.room()?.bytes))?;
        }
        let room = self.room()?;
        if needed > room.bytes {
            return Ok(Reserved::Full(room.reason));
        }
        let granted = wanted.min(room.bytes);
        match extend(granted) {
            Ok(()) => Ok(Reserved::Done),
            // Other users of the disk were faster, or files may not be that long here.
            Err(error)
                if (is_disk_full(&error) || error.kind() == ErrorKind::FileTooLarge) && needed < granted =>
            {
                extend(needed).map(|()| Reserved::Done)
            }
            Err(error) => Err(error),
        }
    }

    /// What there is to say when nothing more is kept for this reason.
    pub fn full(&self, reason: &str) -> String {
        let root = self.root.display();
        format!(
            "{root}: no further samples are kept: {reason}; raise DFRESEARCH_SAMPLE_CACHE_GB or make room"
        )
    }

    /// What the cap and the disk leave, and which of them it is that leaves so little.
    fn room(&self) -> io::Result<Room> {
        let held = bytes_below(&self.root)?;
        let allowed = self.max_bytes.saturating_sub(held);
        let space = disk_space(&self.root).map_err(Error::into_io)?;
        let free = space.free.saturating_sub(space.reserve());
        Ok(if allowed <= free {
            let reason = format!("{held} of {} bytes are used", self.max_bytes);
            Room { bytes: allowed, reason }
        } else {
            let reason = format!(
                "the disk is full: {} MiB are free, and {} MiB are left free always",
                space.free >> 20,
                space.reserve() >> 20
            );
            Room { bytes: free, reason }
        })
    }
}

struct Room {
    bytes: u64,
    reason: String,
}

/// Makes a file longer, with space on the disk behind it where the file system can promise that.
pub(super) fn extend_file(file: &File, from: u64, to: u64) -> io::Result<()> {
    if to <= from {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return file.set_len(to),
            Err(errno) => {
                // Part of it may have been given.
                let _ = file.set_len(from);
                return Err(errno.into());
            }
        }
    }
}
