//! A store of preprocessed samples, shared by processes: what a medium becomes before augmentation is computed once.
//!
//! ```text
//!  root/                              all stores together stay under one cap
//!  ├── .lock                          held while space is reserved, a store is made or evicted
//!  ├── image-0123456789abcdef/        one store: a modality, its preprocessing, a decoder
//!  │   ├── settings.json              the same in words, compared in full at opening
//!  │   ├── in-use.lock                shared by all who have it open; its time is that of the last use
//!  │   ├── log-000.index              64 bytes a record: content hash, place, checksums (locked by its writer)
//!  │   ├── log-000.records            the records, each at a multiple of 64 bytes, mapped by readers
//!  │   ├── log-001.index              of a second process that writes at the same time
//!  │   └── log-001.records
//!  └── .evicted-…/                    being removed
//! ```
//!
//! A *record* is what preprocessing makes of a medium; its key is the SHA-256 of the medium's content. A log has one
//! writer at a time, who appends: the record first, its entry after that. So a process may be killed at any moment:
//! what has no entry is not there. Readers take no locks on files. Nothing is flushed to the disk; should the power
//! fail, checksums tell which records are not what they were, and these are made again.
//!
//! A record is believed when its entry's checksum is right, which covers the content's hash, and when, at the first use
//! in each process, its own checksum is, which covers the hash and the record. Both begin with the store's settings.
//!
//! As with any mapped file, a disk that fails to read a page which was promised ends the process (`SIGBUS`), and so
//! does whoever cuts off a file of an open store by hand; [`clear`] leaves open stores alone.

mod capacity;
mod decoder_version;
mod entry;
mod eviction;
mod log;
mod lookup;
mod mapping;
mod opening;
mod settings;
mod writer;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

pub use capacity::default_max_bytes;
pub use decoder_version::decoder_version;
pub use eviction::{Cleared, StoreSummary, clear, survey};
pub use settings::StoreSettings;

use self::capacity::{Capacity, is_disk_full};
use self::entry::{Checksums, IndexEntry};
use self::eviction::UseLock;
use self::log::{Layout, Logs, MOST_LOGS};
use self::lookup::{Lookup, State};
use self::writer::{Admission, Allocation, LogWriter};
use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::store::ContentHash;

/// What to do when a folder cannot be used.
const ADVICE: &str =
    "name a folder that can be written in DFRESEARCH_SAMPLE_CACHE_DIR, or `off` for no sample cache";

/// What a [`SampleCache`] holds, and what it was used for in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleCacheReport {
    /// The folder of the store.
    pub folder: PathBuf,
    /// How many records can be had.
    pub records: u64,
    /// The sum of their lengths.
    pub bytes: u64,
    /// What the files of all stores below the root may take together.
    pub max_bytes: u64,
    /// How often a record was asked for and there.
    pub hits: u64,
    /// How often a record was asked for and not there.
    pub misses: u64,
    /// How many records this cache has added.
    pub inserted: u64,
    /// How many records were not what they were written as.
    pub damaged: u64,
    /// Whether there is no room for more.
    pub is_full: bool,
    /// What somebody should know: why nothing more is kept, what was damaged.
    pub notices: Vec<String>,
}

/// An open store of records. It can be shared by threads; other processes may have the same store open, and add to it.
///
/// ```
/// use dfresearch_core::Modality;
/// use dfresearch_core::sample_cache::SampleCache;
/// use dfresearch_core::store::ContentHash;
///
/// # let root = tempfile::tempdir().unwrap();
/// let cache = SampleCache::open(root.path(), Modality::Image, "resized to 2x1 pixels", 1 << 20)?;
/// let content = ContentHash::of(b"the bytes of a file");
/// assert_eq!(cache.get(&content), None);
/// cache.insert(&content, &[1, 2, 3, 4, 5, 6]);
/// assert_eq!(cache.get(&content), Some(&[1, 2, 3, 4, 5, 6][..]));
/// # Ok::<(), dfresearch_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SampleCache {
    // First, so that what is reserved is given back while the store is still marked as in use.
    admission: Mutex<Admission>,
    folder: PathBuf,
    settings: StoreSettings,
    checksums: Checksums,
    capacity: Capacity,
    layout: Layout,
    lookup: Lookup,
    logs: Logs,
    inserted: AtomicU64,
    process: u32,
    /// None where there was not even room for an empty store.
    use_lock: Option<UseLock>,
}

impl SampleCache {
    /// Opens the store of this modality and preprocessing below `root`, made by this build on this machine; makes it if
    /// it is not there. `max_bytes` is what all stores below `root` may take together.
    ///
    /// A store that may be read and not written is used as it is; the report says so.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder can be neither made nor read, or its file system has no locks.
    pub fn open(root: &Path, modality: Modality, preprocessing: &str, max_bytes: u64) -> Result<Self> {
        let settings = StoreSettings::new(modality, preprocessing, decoder_version());
        Self::open_with(root, settings, max_bytes, Layout::DEFAULT)
    }

    fn open_with(root: &Path, settings: StoreSettings, max_bytes: u64, layout: Layout) -> Result<Self> {
        let folder = root.join(settings.folder_name());
        let failed = |error: io::Error| {
            let source = io::Error::new(error.kind(), format!("{error}; {ADVICE}"));
            Error::Io { path: folder.clone(), source }
        };
        let capacity = Capacity { root: root.to_path_buf(), max_bytes };
        let mut admission = Admission::default();
        let use_lock = opening::open_store(&folder, &settings, &capacity, &mut admission).map_err(failed)?;
        if use_lock.as_ref().is_some_and(|lock| lock.is_read_only) {
            admission.is_closed = true;
            admission.note(format!(
                "{}: cannot be written; what is there is used, and nothing is added",
                folder.display()
            ));
        }
        let cache = Self {
            admission: Mutex::new(admission),
            checksums: settings.checksums(),
            logs: Logs::new(folder.clone()),
            lookup: Lookup::new(),
            folder: folder.clone(),
            settings,
            capacity,
            layout,
            inserted: AtomicU64::new(0),
            process: std::process::id(),
            use_lock,
        };
        cache.take_in().map_err(failed)?;
        Ok(cache)
    }

    /// The record of a content, if it is there and sound. It begins at a multiple of 64 bytes.
    ///
    /// The first use of a record in a process reads all of it, to verify its checksum. A damaged one is counted and
    /// dropped: insert it again.
    pub fn get(&self, content: &ContentHash) -> Option<&[u8]> {
        let record = self.sound_record(content);
        self.lookup.count(content, record.is_some());
        record
    }

    fn sound_record(&self, content: &ContentHash) -> Option<&[u8]> {
        let (place, state) = self.lookup.find(content).filter(|(_, state)| *state != State::Damaged)?;
        let log = self.logs.get(place.log)?;
        let record = match log.record(&place) {
            Ok(record) => record,
            // Of another form than ours.
            Err(error) if error.kind() == ErrorKind::InvalidData => &[],
            Err(error) => {
                self.note(format!("{}: cannot be mapped: {error}", log.index_path.display()));
                return None;
            }
        };
        if state == State::Verified {
            return Some(record);
        }
        let is_sound = self.checksums.of_record(content, record) == place.checksum;
        let found = if is_sound { State::Verified } else { State::Damaged };
        if self.lookup.set_state(content, place, found) && !is_sound {
            log.damaged.fetch_add(1, Ordering::Relaxed);
        }
        is_sound.then_some(record)
    }

    /// Keeps the record of a content, unless one is there already.
    ///
    /// Never fails: where there is no room or an error, nothing more is kept, and the [report](Self::report) says why.
    /// Empty records, and those of more than 256 MiB, are not kept; nor is anything in a forked child, which
    /// has to open the cache itself.
    pub fn insert(&self, content: &ContentHash, record: &[u8]) {
        if record.is_empty() || self.is_forked() {
            return;
        }
        let length = record.len() as u64;
        if length > self.layout.window_bytes {
            return self.note(format!(
                "samples of more than {} MiB are not kept in the sample cache",
                self.layout.window_bytes >> 20
            ));
        }
        let kept = match self.allocate(content, length) {
            Ok(None) => return,
            Ok(Some((writer, offset, generation))) => {
                let checksum = self.checksums.of_record(content, record);
                let entry = IndexEntry { content: *content, offset, length, checksum, generation };
                let written = writer.write(&entry, record, &self.checksums);
                written.and_then(|()| writer.log.take_in_own(&entry, &self.lookup))
            }
            Err(error) => Err(error),
        };
        let mut admission = self.admission();
        admission.pending.remove(content);
        match kept {
            Ok(()) => {
                self.inserted.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                admission.is_closed = true;
                admission.is_full |= is_disk_full(&error);
                admission.note(format!("{}: no further samples are kept: {error}", self.folder.display()));
            }
        }
    }

    /// Finds a range for a record that is not there; none when it is not to be kept.
    fn allocate(&self, content: &ContentHash, length: u64) -> io::Result<Option<(Arc<LogWriter>, u64, u8)>> {
        let mut admission = self.admission();
        // Looked up under the lock: a thread that has just written it has taken it off the pending ones after that.
        let generation = match self.lookup.find(content) {
            None => 0,
            Some((place, State::Damaged)) => place.generation.saturating_add(1),
            Some(_) => return Ok(None),
        };
        if admission.is_closed || admission.pending.contains(content) {
            return Ok(None);
        }
        loop {
            let writer = match &admission.writer {
                Some(writer) => writer.clone(),
                None => {
                    let writer = Arc::new(LogWriter::take(
                        &self.folder,
                        length,
                        &self.layout,
                        &self.logs,
                        &self.lookup,
                        &self.checksums,
                    )?);
                    admission.writer.insert(writer).clone()
                }
            };
            match writer.allocate(length, &self.layout, &self.capacity, &self.settings)? {
                Allocation::At(offset) => {
                    admission.pending.insert(*content);
                    return Ok(Some((writer, offset, generation)));
                }
                Allocation::ElsewhereSinceFull => admission.writer = None,
                Allocation::Nowhere(reason) => {
                    (admission.is_closed, admission.is_full) = (true, true);
                    admission.note(self.capacity.full(&reason));
                    return Ok(None);
                }
            }
        }
    }

    /// Whether there is a record of this content, as far as is known without reading it.
    pub fn contains(&self, content: &ContentHash) -> bool {
        self.lookup.find(content).is_some_and(|(_, state)| state != State::Damaged)
    }

    /// Whether there is a record of this content, or another thread is writing it at the moment.
    pub(crate) fn is_kept(&self, content: &ContentHash) -> bool {
        // In this order: what is written is found before it is no longer being written.
        let is_pending = !self.is_forked() && self.admission().pending.contains(content);
        is_pending || self.contains(content)
    }

    /// Whether further records are kept: there is room, and nothing has failed.
    pub fn is_admitting(&self) -> bool {
        !self.is_forked() && !self.admission().is_closed
    }

    /// Asks the operating system to read a record ahead of its use, if it is there.
    pub fn will_need(&self, content: &ContentHash) {
        let Some((place, state)) = self.lookup.find(content) else { return };
        if let Some(log) = self.logs.get(place.log).filter(|_| state != State::Damaged) {
            // A hint: whoever asks for the record hears of what is wrong with it.
            let _ = log.will_need(&place);
        }
    }

    /// Takes in what other processes have appended since the store was opened or refreshed. Where nothing was, this
    /// takes microseconds.
    pub fn refresh(&self) {
        if self.is_forked() {
            return;
        }
        if let Err(error) = self.take_in() {
            self.note(format!("{}: cannot be read further: {error}", self.folder.display()));
        }
    }

    fn take_in(&self) -> io::Result<()> {
        let Self { logs, lookup, checksums, layout, .. } = self;
        for number in 0..MOST_LOGS {
            if let Some(log) = logs.get(number) {
                log.take_in_new(lookup, checksums)?;
            } else if logs.open(number, layout, lookup, checksums)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// What the store holds, and what it was used for in this process.
    pub fn report(&self) -> SampleCacheReport {
        let totals = self.lookup.totals();
        let mut report = SampleCacheReport {
            folder: self.folder.clone(),
            records: totals.records as u64,
            bytes: totals.bytes,
            max_bytes: self.capacity.max_bytes,
            hits: totals.hits,
            misses: totals.misses,
            inserted: self.inserted.load(Ordering::Relaxed),
            damaged: 0,
            is_full: false,
            notices: Vec::new(),
        };
        let admission = match self.admission.try_lock() {
            Ok(admission) => Some(admission),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            // Held by a thread that the fork left behind.
            Err(TryLockError::WouldBlock) if self.is_forked() => None,
            Err(TryLockError::WouldBlock) => Some(self.admission()),
        };
        if let Some(admission) = admission {
            report.is_full = admission.is_full;
            report.notices.clone_from(&admission.notices);
        }
        for log in self.logs.opened() {
            let damaged = log.damaged.load(Ordering::Relaxed);
            if damaged > 0 {
                let path = log.index_path.with_extension("records");
                report.notices.push(format!(
                    "{}: {damaged} records are not what they were written as; these samples are decoded again",
                    path.display()
                ));
            }
            report.damaged += damaged;
        }
        report
    }

    fn note(&self, notice: String) {
        if !self.is_forked() {
            self.admission().note(notice);
        }
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        // Nothing that runs under this lock panics, but for memory that cannot be had.
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log has one writer, and a lock may be held by a thread that did not survive the fork.
    fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }
}

impl Drop for SampleCache {
    fn drop(&mut self) {
        if let Some(lock) = self.use_lock.as_ref().filter(|lock| !self.is_forked() && !lock.is_read_only) {
            lock.touch();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
