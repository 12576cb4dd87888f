//! One log of a store as its readers see it: an index that grows, and the records that it tells of.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::entry::{Checksums, ENTRY_BYTES, IndexEntry};
use super::lookup::{Lookup, Place, State};
use super::mapping::Windows;

/// So many bytes of an index are read at once: 65,536 entries.
const CHUNK_BYTES: usize = 4 << 20;

/// Three digits: more processes that write one store at the same time find no log to write.
pub(super) const MOST_LOGS: u16 = 1000;

/// How records are laid out; tests have smaller ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Of a window, in bytes: no record is larger. A multiple of the page size.
    pub window_bytes: u64,
    /// Of a log, in bytes.
    pub log_bytes: u64,
    /// In bytes: so much is reserved on the disk at once for records.
    pub reserve_bytes: u64,
    /// In bytes: so much is reserved on the disk at once for entries.
    pub index_reserve_bytes: u64,
}

impl Layout {
    /// 256 MiB a window; a log ends where a place could no longer tell of it.
    pub const DEFAULT: Self = Self {
        window_bytes: 256 << 20,
        log_bytes: 256 << 30,
        reserve_bytes: 64 << 20,
        index_reserve_bytes: 1 << 20,
    };
}

/// How far an index was understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Understood {
    /// The first byte behind the last entry that is whole and valid.
    pub index_end: u64,
    /// The first byte behind the last record that an entry tells of.
    pub records_end: u64,
    /// Whether something in the index is neither an entry nor zeros, or a gap between entries.
    pub is_doubtful: bool,
}

/// The index and the records of one log, open for reading.
#[derive(Debug)]
pub(super) struct Log {
    pub number: u16,
    pub index_path: PathBuf,
    index: File,
    windows: Windows,
    understood: Mutex<Understood>,
    /// Whether this very cache writes it, and so knows of all entries.
    pub is_ours: AtomicBool,
    /// Records that were found damaged.
    pub damaged: AtomicU64,
}

/// `log-000.index` or `log-000.records`.
pub(super) fn log_path(store: &Path, number: u16, kind: &str) -> PathBuf {
    store.join(format!("log-{number:03}.{kind}"))
}

impl Log {
    /// Opens a log; none when it is not there. Nothing of its index is read yet.
    pub fn open(store: &Path, number: u16, layout: &Layout) -> io::Result<Option<Self>> {
        let index_path = log_path(store, number, "index");
        let index = match File::open(&index_path) {
            Ok(index) => index,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // A writer makes the file of the records first.
        let records = File::open(log_path(store, number, "records"))?;
        Ok(Some(Self {
            number,
            index_path,
            index,
            windows: Windows::new(records, layout.window_bytes, layout.log_bytes),
            understood: Mutex::new(Understood::default()),
            is_ours: AtomicBool::new(false),
            damaged: AtomicU64::new(0),
        }))
    }

    /// The bytes of a record that was taken in.
    pub fn record(&self, place: &Place) -> io::Result<&[u8]> {
        self.windows.record(place.offset(), place.length as usize)
    }

    pub fn will_need(&self, place: &Place) -> io::Result<()> {
        self.windows.will_need(place.offset(), place.length as usize)
    }

    /// Takes in what was appended since the last time, if the next entry is there.
    pub fn take_in_new(&self, lookup: &Lookup, checksums: &Checksums) -> io::Result<()> {
        if self.is_ours.load(Ordering::Acquire) {
            return Ok(());
        }
        let next = self.understood.lock().unwrap_or_else(PoisonError::into_inner).index_end;
        let mut entry = [0; ENTRY_BYTES];
        if read_up_to(&self.index, &mut entry, next)? == ENTRY_BYTES && entry != [0; ENTRY_BYTES] {
            self.take_in_all(lookup, checksums)?;
        }
        Ok(())
    }

    /// Takes in everything up to the end of the index, also behind entries that are damaged.
    pub fn take_in_all(&self, lookup: &Lookup, checksums: &Checksums) -> io::Result<Understood> {
        let mut understood = self.understood.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = understood.index_end;
        let length = self.index.metadata()?.len();
        lookup.reserve(usize::try_from(length.saturating_sub(position)).unwrap_or(0) / ENTRY_BYTES);
        let mut chunk =
            vec![0; CHUNK_BYTES.min(usize::try_from(length).unwrap_or(CHUNK_BYTES) + ENTRY_BYTES)];
        let mut gaps = Vec::new();
        let mut is_tail_doubtful = false;
        loop {
            let count = read_up_to(&self.index, &mut chunk, position)? / ENTRY_BYTES;
            if count == 0 {
                break;
            }
            for bytes in chunk[..count * ENTRY_BYTES].as_chunks::<ENTRY_BYTES>().0 {
                if let Some(entry) = IndexEntry::decode(bytes, checksums) {
                    // A reader may have met an entry that was only half there. It is whole now, since this one is
                    // later; or it is damaged.
                    for gap in gaps.drain(..) {
                        let mut again = [0; ENTRY_BYTES];
                        read_up_to(&self.index, &mut again, gap)?;
                        match IndexEntry::decode(&again, checksums) {
                            Some(entry) => self.take_in(&entry, lookup, &mut understood)?,
                            None => understood.is_doubtful = true,
                        }
                    }
                    self.take_in(&entry, lookup, &mut understood)?;
                    understood.index_end = position + ENTRY_BYTES as u64;
                    is_tail_doubtful = false;
                } else {
                    gaps.push(position);
                    is_tail_doubtful |= *bytes != [0; ENTRY_BYTES];
                }
                position += ENTRY_BYTES as u64;
            }
        }
        Ok(Understood { is_doubtful: understood.is_doubtful || is_tail_doubtful, ..*understood })
    }

    /// Takes note of how far this very cache has written the index, now that it does so no longer.
    pub fn take_over(&self, index_end: u64, records_end: u64) {
        let mut understood = self.understood.lock().unwrap_or_else(PoisonError::into_inner);
        (understood.index_end, understood.records_end) = (index_end, records_end);
        self.is_ours.store(false, Ordering::Release);
    }

    fn take_in(&self, entry: &IndexEntry, lookup: &Lookup, understood: &mut Understood) -> io::Result<()> {
        let Some((place, end)) = Place::of(self.number, entry).zip(entry.end()) else { return Ok(()) };
        understood.records_end = understood.records_end.max(end);
        if self.windows.commit(end)? {
            lookup.put(entry.content, place, State::Unverified);
        } else {
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes in a record that was just written by this very cache.
    pub fn take_in_own(&self, entry: &IndexEntry, lookup: &Lookup) -> io::Result<()> {
        let Some((place, end)) = Place::of(self.number, entry).zip(entry.end()) else { return Ok(()) };
        if self.windows.commit(end)? {
            lookup.put(entry.content, place, State::Verified);
        }
        Ok(())
    }
}

/// The logs of a store that this process knows of.
#[derive(Debug)]
pub(super) struct Logs {
    store: PathBuf,
    logs: Box<[OnceLock<Arc<Log>>]>,
}

impl Logs {
    /// Opens none yet.
    pub fn new(store: PathBuf) -> Self {
        Self { store, logs: (0..MOST_LOGS).map(|_| OnceLock::new()).collect() }
    }

    /// A log that was opened before.
    pub fn get(&self, number: u16) -> Option<&Arc<Log>> {
        self.logs.get(usize::from(number))?.get()
    }

    pub fn opened(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.logs.iter().filter_map(OnceLock::get)
    }

    /// A log, opened and taken in if it was not yet; none when it is not there.
    pub fn open(
        &self,
        number: u16,
        layout: &Layout,
        lookup: &Lookup,
        checksums: &Checksums,
    ) -> io::Result<Option<&Arc<Log>>> {
        let Some(cell) = self.logs.get(usize::from(number)) else { return Ok(None) };
        if cell.get().is_none() {
            let Some(log) = Log::open(&self.store, number, layout)? else { return Ok(None) };
            // Another thread may have opened it meanwhile.
            let log = cell.get_or_init(|| Arc::new(log));
            log.take_in_all(lookup, checksums)?;
        }
        Ok(cell.get())
    }
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
