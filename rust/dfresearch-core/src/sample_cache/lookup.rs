//! Which record lies where, for all threads of this process at once.
//!
//! A hit takes a shared lock of one of [`SHARDS`] parts and allocates nothing. A record takes 52 bytes here and five to ten
//! more in the table that finds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use hashbrown::HashTable;

use super::entry::{ALIGNMENT, IndexEntry};
use crate::store::ContentHash;

/// Enough that threads seldom meet in one; a power of two.
const SHARDS: usize = 64;

/// A vector grows by this share, so that little of it is unused.
const GROWTH_DIVISOR: usize = 4;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub log: u16,
    pub generation: u8,
    pub length: u32,
    pub checksum: u32,
    /// The offset in units of [`ALIGNMENT`].
    unit: u32,
}

impl Place {
    /// The place that an entry of a log tells; none for one beyond what a log holds.
    pub fn of(log: u16, entry: &IndexEntry) -> Option<Self> {
        let unit = u32::try_from(entry.offset / ALIGNMENT).ok()?;
        let length = u32::try_from(entry.length).ok()?;
        Some(Self { log, generation: entry.generation, length, checksum: entry.checksum, unit })
    }

    /// In bytes from the start of the log's records.
    pub fn offset(&self) -> u64 {
        u64::from(self.unit) * ALIGNMENT
    }
}

/// What this process knows of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has looked at its bytes yet.
    Unverified,
    /// Its checksum was right.
    Verified,
    /// Its checksum was wrong: as good as not there.
    Damaged,
}

#[derive(Debug)]
struct Slot {
    content: ContentHash,
    place: Place,
    state: State,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    /// Positions in `slots`, found by the content's hash.
    table: HashTable<u32>,
    /// Sum of the lengths of the records that are not known to be damaged.
    bytes: u64,
    damaged: usize,
}

/// Counters lie beside the lock that is written at each look-up anyway.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part {
    shard: RwLock<Shard>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What all parts hold together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub records: usize,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
}

/// Content hash → place of the record.
#[derive(Debug)]
pub(super) struct Lookup {
    parts: Box<[Part]>,
    process: u32,
}

impl Lookup {
    pub fn new() -> Self {
        let parts = (0..SHARDS).map(|_| Part::default()).collect();
        Self { parts, process: std::process::id() }
    }

    /// Place and state of a content's record, damaged or not. Nothing in a forked child while a thread of the parent
    /// had been writing: nobody would ever end that.
    pub fn find(&self, content: &ContentHash) -> Option<(Place, State)> {
        let shard = self.read(self.part(content))?;
        let slot = shard.slot(content)?;
        Some((slot.place, slot.state))
    }

    /// Counts an answer.
    pub fn count(&self, content: &ContentHash, is_hit: bool) {
        let part = self.part(content);
        if is_hit { &part.hits } else { &part.misses }.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of what the checksum of the record at this place was; true if nobody knew. In a forked child, a lock
    /// that a thread of the parent had is never waited for.
    pub fn set_state(&self, content: &ContentHash, place: Place, state: State) -> bool {
        let part = self.part(content);
        let mut shard = if std::process::id() == self.process {
            write(part)
        } else {
            let Ok(shard) = part.shard.try_write() else { return false };
            shard
        };
        let Some(position) = shard.position(content) else { return false };
        let slot = &mut shard.slots[position];
        if slot.place != place || slot.state != State::Unverified {
            return false;
        }
        slot.state = state;
        if state == State::Damaged {
            shard.bytes -= u64::from(place.length);
            shard.damaged += 1;
        }
        true
    }

    /// Takes in an entry that was read or written. What is verified stays; otherwise the higher generation wins, and
    /// of two of the same the later.
    pub fn put(&self, content: ContentHash, place: Place, state: State) {
        let mut shard = write(self.part(&content));
        let length = u64::from(place.length);
        if let Some(position) = shard.position(&content) {
            let slot = &mut shard.slots[position];
            let (old, known) = (slot.place, slot.state);
            if known == State::Verified || place.generation < old.generation || place == old {
                return;
            }
            slot.place = place;
            slot.state = state;
            if known == State::Damaged {
                shard.damaged -= 1;
            } else {
                shard.bytes -= u64::from(old.length);
            }
            shard.bytes += length;
            return;
        }
        let Ok(position) = u32::try_from(shard.slots.len()) else { return };
        if shard.slots.len() == shard.slots.capacity() {
            let more = (position as usize / GROWTH_DIVISOR).max(16);
            shard.slots.reserve_exact(more);
        }
        shard.slots.push(Slot { content, place, state });
        shard.bytes += length;
        let Shard { slots, table, .. } = &mut *shard;
        table.insert_unique(key(&content), position, |&other| key(&slots[other as usize].content));
    }

    /// Makes room for about this many more.
    pub fn reserve(&self, count: usize) {
        // Hashes fall into the parts at random: a few more than the mean.
        let share = count / SHARDS;
        let share = share + share / 32 + 1;
        for part in &self.parts {
            let mut shard = write(part);
            shard.slots.reserve_exact(share);
            let Shard { slots, table, .. } = &mut *shard;
            table.reserve(share, |&other| key(&slots[other as usize].content));
        }
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for part in &self.parts {
            if let Some(shard) = self.read(part) {
                totals.records += shard.slots.len() - shard.damaged;
                totals.bytes += shard.bytes;
            }
            totals.hits += part.hits.load(Ordering::Relaxed);
            totals.misses += part.misses.load(Ordering::Relaxed);
        }
        totals
    }

    /// What the table takes in memory, in bytes.
    #[cfg(test)]
    pub fn memory_bytes(&self) -> usize {
        let of = |shard: &Shard| shard.slots.capacity() * size_of::<Slot>() + shard.table.allocation_size();
        self.parts.iter().map(|part| size_of::<Part>() + self.read(part).map_or(0, |shard| of(&shard))).sum()
    }

    fn part(&self, content: &ContentHash) -> &Part {
        &self.parts[usize::from(content.as_bytes()[0]) % SHARDS]
    }

    fn read<'a>(&self, part: &'a Part) -> Option<RwLockReadGuard<'a, Shard>> {
        match part.shard.try_read() {
            Ok(shard) => Some(shard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if std::process::id() != self.process => None,
            Err(TryLockError::WouldBlock) => Some(part.shard.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Shard {
    fn position(&self, content: &ContentHash) -> Option<usize> {
        let found =
            self.table.find(key(content), |&position| self.slots[position as usize].content == *content);
        found.map(|&position| position as usize)
    }

    fn slot(&self, content: &ContentHash) -> Option<&Slot> {
        self.slots.get(self.position(content)?)
    }
}

fn write(part: &Part) -> RwLockWriteGuard<'_, Shard> {
    // Nothing that runs under this lock panics, but for memory that cannot be had.
    part.shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// A content hash is as good as random already: eight of its bytes are a hash of it.
fn key(content: &ContentHash) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&content.as_bytes()[8..16]);
    u64::from_le_bytes(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_waits_for_no_thread_of_its_parent() {
        let content = ContentHash::of(b"a");
        let entry = IndexEntry { content, offset: 0, length: 1, checksum: 0, generation: 0 };
        let place = Place::of(0, &entry).unwrap();
        let lookup = Lookup { process: std::process::id() ^ 1, ..Lookup::new() };
        lookup.put(content, place, State::Unverified);
        // A thread that the fork left behind was reading.
        std::mem::forget(lookup.part(&content).shard.read());
        assert_eq!(lookup.find(&content), Some((place, State::Unverified)));
        assert!(!lookup.set_state(&content, place, State::Verified));
        // Another was writing.
        let mut others = (0u8..).map(|number| ContentHash::of(&[number]));
        let content = others.find(|it| it.as_bytes()[0] % 64 != content.as_bytes()[0] % 64).unwrap();
        lookup.put(content, place, State::Unverified);
        std::mem::forget(lookup.part(&content).shard.write());
        assert_eq!(lookup.find(&content), None);
    }
}
