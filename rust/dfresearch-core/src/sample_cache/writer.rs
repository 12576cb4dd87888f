//! The one writer that a log has at a time.
//!
//! ```text
//!  records  ├ r0 ┼ r1 ┼ r2 ┼┄┄┄┄┄┄ reserved ┄┄┄┄┄┄┤     1. a range, under a lock
//!  index    ├ e0 ┼ e1 ┼┄┄┄ zeros, reserved ┄┄┄┤         2. the record into it, by many threads at once
//!                     ▲                                 3. its entry, under the lock
//!                     e2 comes when r2 is whole
//! ```

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::capacity::{Capacity, Reserved, extend_file};
use super::entry::{ALIGNMENT, Checksums, ENTRY_BYTES, IndexEntry};
use super::log::{Layout, Log, Logs, MOST_LOGS, log_path};
use super::lookup::Lookup;
use super::settings::StoreSettings;
use crate::store::ContentHash;

/// What decides whether and where records are kept; under one lock.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Taken at the first record.
    pub writer: Option<Arc<LogWriter>>,
    /// Being written by some thread.
    pub pending: HashSet<ContentHash>,
    /// Nothing more is kept, for whatever reason.
    pub is_closed: bool,
    /// Nothing more is kept because there is no room.
    pub is_full: bool,
    pub notices: Vec<String>,
}

impl Admission {
    /// Keeps a notice, once.
    pub fn note(&mut self, notice: String) {
        if !self.notices.contains(&notice) {
            tracing::warn!(target: "sample_cache", "{notice}");
            self.notices.push(notice);
        }
    }
}

/// Where a record goes.
#[derive(Debug)]
pub(super) enum Allocation {
    /// At this offset in the records.
    At(u64),
    /// Into another log: this one has its full length.
    ElsewhereSinceFull,
    /// Nowhere. The reason, in words.
    Nowhere(String),
}

/// The right to write a log. What it has reserved and not used is given back when it is dropped.
#[derive(Debug)]
pub(super) struct LogWriter {
    pub log: Arc<Log>,
    /// Locked.
    index: File,
    records: File,
    process: u32,
    ends: Mutex<Ends>,
}

#[derive(Debug)]
struct Ends {
    /// The first byte of the index behind the last entry.
    index: u64,
    /// The same when all records that are being written will be there.
    promised_index: u64,
    reserved_index: u64,
    /// The first byte of the records behind the last that is there.
    records: u64,
    /// The same when all records that are being written will be there.
    promised_records: u64,
    reserved_records: u64,
}

impl LogWriter {
    /// Takes the first log that nobody is writing and that has room for a record of this length, or begins one.
    pub fn take(
        store: &Path,
        length: u64,
        layout: &Layout,
        logs: &Logs,
        lookup: &Lookup,
        checksums: &Checksums,
    ) -> io::Result<Self> {
        for number in 0..MOST_LOGS {
            let open = |kind| {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false);
                options.open(log_path(store, number, kind))
            };
            // Readers expect the records to be there when the index is.
            let (records, index) = (open("records")?, open("index")?);
            match index.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let Some(log) = logs.open(number, layout, lookup, checksums)? else { continue };
            let understood = log.take_in_all(lookup, checksums)?;
            let reserved_records = records.metadata()?.len();
            // Where entries are lost, a reader may still have a record that nobody else knows of: nothing is written
            // over what is in the file then.
            let records_end =
                understood.records_end.max(if understood.is_doubtful { reserved_records } else { 0 });
            if place(records_end, length, layout).is_none() {
                index.unlock()?;
                continue;
            }
            // Cuts off what a killed writer left half written.
            index.set_len(understood.index_end)?;
            log.is_ours.store(true, Ordering::Release);
            let ends = Mutex::new(Ends {
                index: understood.index_end,
                promised_index: understood.index_end,
                reserved_index: understood.index_end,
                records: records_end,
                promised_records: records_end,
                reserved_records,
            });
            return Ok(Self { log: log.clone(), index, records, process: std::process::id(), ends });
        }
        Err(io::Error::other(format!("{MOST_LOGS} processes are writing it already")))
    }

    /// Finds a range for a record, and reserves space for it and its entry.
    pub fn allocate(
        &self,
        length: u64,
        layout: &Layout,
        capacity: &Capacity,
        settings: &StoreSettings,
    ) -> io::Result<Allocation> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(offset) = place(ends.promised_records, length, layout) else {
            return Ok(Allocation::ElsewhereSinceFull);
        };
        let records = offset + length;
        let index = ends.promised_index + ENTRY_BYTES as u64;
        let short_of_records = records.saturating_sub(ends.reserved_records);
        let short_of_index = index.saturating_sub(ends.reserved_index);
        if short_of_records + short_of_index > 0 {
            // Of what is granted beyond the need the entries get their share first: they are few.
            let step = |short: u64, step: u64| if short == 0 { 0 } else { short.max(step) };
            let wanted_index = step(short_of_index, layout.index_reserve_bytes);
            let wanted_records = step(short_of_records, layout.reserve_bytes)
                .min(layout.log_bytes.saturating_sub(ends.reserved_records));
            let needed = short_of_records + short_of_index;
            let (from_index, from_records) = (ends.reserved_index, ends.reserved_records);
            let mut reserved = (from_index, from_records);
            let extend = |granted: u64| {
                let spare = granted - needed;
                let more_index = short_of_index + spare.min(wanted_index - short_of_index);
                let more_index = if wanted_records == 0 { granted } else { more_index };
                reserved = (from_index + more_index, from_records + granted - more_index);
                extend_file(&self.records, from_records, reserved.1)?;
                extend_file(&self.index, from_index, reserved.0)
                    .inspect_err(|_| self.records.set_len(from_records).unwrap_or_default())
            };
            match capacity.reserve(settings, needed, wanted_index + wanted_records, extend)? {
                Reserved::Done => (ends.reserved_index, ends.reserved_records) = reserved,
                Reserved::Full(reason) => return Ok(Allocation::Nowhere(reason)),
            }
        }
        (ends.promised_records, ends.promised_index) = (records, index);
        Ok(Allocation::At(offset))
    }

    /// Writes a record into the range that was found for it, then its entry.
    pub fn write(&self, entry: &IndexEntry, record: &[u8], checksums: &Checksums) -> io::Result<()> {
        self.records.write_all_at(record, entry.offset)?;
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.index.write_all_at(&entry.encode(checksums), ends.index) {
            // Half an entry is none, and the next one would have to follow it.
            self.index.write_all_at(&[0; ENTRY_BYTES], ends.index).unwrap_or_default();
            return Err(error);
        }
        ends.index += ENTRY_BYTES as u64;
        ends.records = ends.records.max(entry.offset + entry.length);
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // A forked child has the handles too; the log is the parent's.
        if self.process != std::process::id() {
            return;
        }
        let ends = self.ends.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What cannot be given back is found and used by the next writer.
        let _ = self.index.set_len(ends.index);
        if ends.reserved_records > ends.records {
            let _ = self.records.set_len(ends.records);
        }
        self.log.take_over(ends.index, ends.records);
        let _ = self.index.unlock();
    }
}

/// Where the next record of this length goes: aligned, and within one window. None when the log has no room for it.
fn place(end: u64, length: u64, layout: &Layout) -> Option<u64> {
    let aligned = end.checked_next_multiple_of(ALIGNMENT)?;
    let is_across = aligned % layout.window_bytes + length > layout.window_bytes;
    let offset = if is_across { aligned.checked_next_multiple_of(layout.window_bytes)? } else { aligned };
    (offset.checked_add(length)? <= layout.log_bytes).then_some(offset)
}
