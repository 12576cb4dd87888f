//! Which stores there are, and which of them make way when room is needed.
//!
//! A store that any process has open stays, whatever it is. Of the others first those go that this program would not
//! read any more, then those that nobody has used for a day; always the longest unused first.

use std::cmp::Reverse;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::capacity::{RootLock, bytes_below, is_read_only};
use super::entry::{Checksums, ENTRY_BYTES, IndexEntry};
use super::log::log_path;
use super::settings::StoreSettings;
use crate::error::{Error, Result};

/// In the folder of a store: everybody who has the store open shares its lock, and its time is that of the last use.
pub(super) const USE_FILE: &str = "in-use.lock";

/// A store that this program may want again is left alone for so long.
const IDLE_BEFORE_EVICTION: Duration = Duration::from_secs(24 * 60 * 60);

/// What is being removed has a name that begins so, and counts as removed.
const EVICTED_PREFIX: &str = ".evicted-";

/// What is known of a store without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSummary {
    /// Where it lies.
    pub folder: PathBuf,
    /// What its records are; none when that cannot be read: then nobody will ever use them.
    pub settings: Option<StoreSettings>,
    /// How many records were written into it; one that was written twice counts twice.
    pub records: u64,
    /// The sum of the lengths of its files.
    pub bytes: u64,
    /// When it was opened or closed last.
    pub last_use: SystemTime,
    /// Whether this program, on this machine, would read it.
    pub is_current: bool,
    /// Whether some process has it open.
    pub is_open: bool,
}

/// All stores below a root, the most recently used first; none when the root is not there.
///
/// # Errors
/// [`Error::Io`] when the root or a store cannot be read.
pub fn survey(root: &Path) -> Result<Vec<StoreSummary>> {
    let failed = |error| Error::io(root, error);
    let mut summaries = Vec::new();
    for store in stores(root).map_err(failed)? {
        let records = store.settings.as_ref().map_or(Ok(0), |settings| {
            count_entries(&store.folder, &settings.checksums())
                .map_err(|error| Error::io(&store.folder, error))
        })?;
        summaries.push(StoreSummary {
            records,
            bytes: bytes_below(&store.folder).map_err(failed)?,
            is_current: store.settings.as_ref().is_some_and(StoreSettings::is_current),
            is_open: !store.is_free(root).map_err(failed)?,
            folder: store.folder,
            settings: store.settings,
            last_use: store.last_use,
        });
    }
    summaries.sort_by_key(|store| Reverse(store.last_use));
    Ok(summaries)
}

/// What [`clear`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// How many stores were removed.
    pub stores: usize,
    /// The sum of the lengths of their files.
    pub bytes: u64,
    /// The stores that some process has open, and that therefore stay.
    pub in_use: Vec<PathBuf>,
}

/// Removes all stores below a root that no process has open.
///
/// # Errors
/// [`Error::Io`] when one of them cannot be removed.
pub fn clear(root: &Path) -> Result<Cleared> {
    let mut cleared = Cleared::default();
    if !root.exists() {
        return Ok(cleared);
    }
    let failed = |error| Error::io(root, error);
    let _lock = RootLock::acquire(root).map_err(failed)?;
    remove_leftovers(root).map_err(failed)?;
    for store in stores(root).map_err(failed)? {
        let bytes = bytes_below(&store.folder).map_err(failed)?;
        if store.evict(root).map_err(|error| Error::io(&store.folder, error))? {
            cleared.stores += 1;
            cleared.bytes += bytes;
        } else {
            cleared.in_use.push(store.folder);
        }
    }
    Ok(cleared)
}

/// Removes stale stores, one by one, until there is enough room. The caller has the lock of the root.
pub(super) fn make_room(
    root: &Path,
    settings: &StoreSettings,
    is_enough: impl Fn() -> io::Result<bool>,
) -> io::Result<()> {
    remove_leftovers(root)?;
    let mut stale: Vec<(bool, Store)> = Vec::new();
    for store in stores(root)? {
        let has_our_decoder = store.settings.as_ref().is_some_and(|other| other.has_decoder_of(settings));
        // A time in the future is no reason to go.
        let idle = store.last_use.elapsed().unwrap_or_default();
        if !has_our_decoder || idle >= IDLE_BEFORE_EVICTION {
            stale.push((has_our_decoder, store));
        }
    }
    stale.sort_by_key(|(has_our_decoder, store)| (*has_our_decoder, store.last_use));
    for (_, store) in stale {
        if is_enough()? {
            break;
        }
        store.evict(root)?;
    }
    Ok(())
}

/// Removes a store whose settings are not what its name says. False when some process has it open. The caller has the
/// lock of the root.
pub(super) fn evict(root: &Path, folder: &Path) -> io::Result<bool> {
    remove_leftovers(root)?;
    Store::at(folder.to_path_buf())?.map_or(Ok(true), |store| store.evict(root))
}

#[derive(Debug)]
struct Store {
    folder: PathBuf,
    settings: Option<StoreSettings>,
    last_use: SystemTime,
}

impl Store {
    /// The store in a folder; none when it is gone.
    fn at(folder: PathBuf) -> io::Result<Option<Self>> {
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
        // A store that was never opened to the end has no file of its use.
        let last_use = match modified(&folder.join(USE_FILE)).or_else(|_| modified(&folder)) {
            Ok(last_use) => last_use,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let settings = StoreSettings::read(&folder)?;
        Ok(Some(Self { folder, settings, last_use }))
    }

    /// Whether no process has it open.
    fn is_free(&self, root: &Path) -> io::Result<bool> {
        // To find that out, the store is locked for a moment: nobody is to take that for its removal.
        let _lock = match RootLock::acquire(root) {
            Err(error) if !is_read_only(&error) => return Err(error),
            lock => lock.ok(),
        };
        Ok(matches!(self.lock()?, Use::Nobody(_)))
    }

    fn lock(&self) -> io::Result<Use> {
        let file = match File::open(self.folder.join(USE_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Use::Nobody(None)),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {
                Ok(Use::Nobody(Some(UseLock { file, process: std::process::id(), is_read_only: false })))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(Use::Somebody),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes the store; false when somebody has it open.
    fn evict(&self, root: &Path) -> io::Result<bool> {
        let Use::Nobody(_lock) = self.lock()? else { return Ok(false) };
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let evicted = root.join(format!("{EVICTED_PREFIX}{name}"));
        fs::rename(&self.folder, &evicted)?;
        fs::remove_dir_all(&evicted)?;
        Ok(true)
    }
}

enum Use {
    /// And so it stays while this is held; there is nothing to hold where nobody ever had it open.
    Nobody(Option<UseLock>),
    Somebody,
}

/// The lock on a store's use; free when dropped, or when its process ends.
#[derive(Debug)]
pub(super) struct UseLock {
    file: File,
    process: u32,
    /// Whether only reading is allowed.
    pub is_read_only: bool,
}

impl UseLock {
    /// Shares the lock of a store; none when the store is being removed, or was while this waited.
    pub fn share(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(USE_FILE);
        let writable = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let (file, is_read_only) = match writable {
            Err(error) if is_read_only(&error) => (File::open(&path).map_err(|_| error)?, true),
            other => (other?, false),
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let lock = Self { file, process: std::process::id(), is_read_only };
        let inode = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        match fs::metadata(&path) {
            Ok(there) if inode(&there) == inode(&lock.file.metadata()?) => Ok(Some(lock)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down that the store is in use now.
    pub fn touch(&self) {
        // Without the right to it, as in a folder that cannot be written, the store is not evicted by us either.
        let _ = self.file.set_modified(SystemTime::now());
    }
}

impl Drop for UseLock {
    fn drop(&mut self) {
        // The lock is one for this process and those forked from it: closing alone would leave it to them, and they are
        // not to take it from us.
        if self.process == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

/// The stores below a root, in no order.
fn stores(root: &Path) -> io::Result<Vec<Store>> {
    let is_store = |name: &str| StoreSettings::is_folder_name(name);
    folders(root, is_store)?.into_iter().filter_map(|folder| Store::at(folder).transpose()).collect()
}

/// What an eviction that was killed has left.
fn remove_leftovers(root: &Path) -> io::Result<()> {
    folders(root, |name| name.starts_with(EVICTED_PREFIX))?.into_iter().try_for_each(fs::remove_dir_all)
}

fn folders(root: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_wanted) && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn count_entries(store: &Path, checksums: &Checksums) -> io::Result<u64> {
    let mut count = 0;
    for number in 0.. {
        let index = match fs::read(log_path(store, number, "index")) {
            Ok(index) => index,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let entries = index.as_chunks::<ENTRY_BYTES>().0.iter();
        count += entries.filter(|bytes| IndexEntry::decode(bytes, checksums).is_some()).count() as u64;
    }
    Ok(count)
}
