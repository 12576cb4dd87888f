//! One entry of an index: which content's record lies where, and the checksums by which both are believed.
//!
//! ```text
//!  byte  0                32        40        48        52        56        57        60        64
//!        ├─ content hash ─┼─ offset ┼─ length ┼─ record ┼─ mark   ┼─ gener- ┼─ zeros  ┼─ entry ─┤
//!        │  SHA-256       │  u64    │  u64    │  CRC-32 │ "dfr1"  │  ation  │         │  CRC-32 │
//! ```
//!
//! Numbers are little-endian. Both checksums begin with that of the store's settings, so that neither an entry nor a
//! record is believed in a store with other settings.

use crc32fast::Hasher;

use crate::store::ContentHash;

/// The size of an entry in an index.
pub(super) const ENTRY_BYTES: usize = 64;

/// Every record begins at a multiple of this many bytes.
pub(super) const ALIGNMENT: u64 = 64;

const MARK: [u8; 4] = *b"dfr1";
/// The bytes that the entry's own checksum covers.
const CHECKED_BYTES: usize = 60;

/// Where a record lies in its log, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub content: ContentHash,
    /// In bytes from the start of the log's records, a multiple of [`ALIGNMENT`].
    pub offset: u64,
    /// In bytes.
    pub length: u64,
    /// [`Checksums::of_record`] of the content and its record.
    pub checksum: u32,
    /// How often the content's record was found damaged and written again: the highest wins.
    pub generation: u8,
}

impl IndexEntry {
    /// The first byte behind the record; none for an entry that no writer writes.
    pub fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }

    pub fn encode(&self, checksums: &Checksums) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..32].copy_from_slice(self.content.as_bytes());
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.length.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[52..56].copy_from_slice(&MARK);
        bytes[56] = self.generation;
        let checksum = checksums.of(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The entry in these bytes; none when they are not what a writer of this store has written.
    pub fn decode(bytes: &[u8; ENTRY_BYTES], checksums: &Checksums) -> Option<Self> {
        if bytes[52..56] != MARK || u32_at(bytes, CHECKED_BYTES) != checksums.of(&bytes[..CHECKED_BYTES]) {
            return None;
        }
        let mut content = [0; 32];
        content.copy_from_slice(&bytes[..32]);
        let entry = Self {
            content: ContentHash::from_bytes(content),
            offset: u64_at(bytes, 32),
            length: u64_at(bytes, 40),
            checksum: u32_at(bytes, 48),
            generation: bytes[56],
        };
        (entry.offset.is_multiple_of(ALIGNMENT) && entry.end().is_some()).then_some(entry)
    }
}

fn u32_at(bytes: &[u8; ENTRY_BYTES], start: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[start..start + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; ENTRY_BYTES], start: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[start..start + 8]);
    u64::from_le_bytes(number)
}

/// The checksums of one store.
#[derive(Debug, Clone)]
pub(super) struct Checksums(Hasher);

impl Checksums {
    /// Those of the store with these settings, in the form in which they are written down.
    pub fn new(settings: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(settings);
        Self(hasher)
    }

    /// The checksum of a content's hash and its record.
    pub fn of_record(&self, content: &ContentHash, record: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(content.as_bytes());
        hasher.update(record);
        hasher.finalize()
    }

    fn of(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(bytes);
        hasher.finalize()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_survives_the_round_trip_and_no_change_of_it_does(
            content in any::<[u8; 32]>(), unit in 0..1u64 << 40, length in 0..1u64 << 40, checksum in any::<u32>(),
            generation in any::<u8>(), changed in 0..ENTRY_BYTES, difference in 1..=255u8,
        ) {
            let checksums = Checksums::new(b"settings");
            let content = ContentHash::from_bytes(content);
            let entry = IndexEntry { content, offset: unit * ALIGNMENT, length, checksum, generation };
            let mut bytes = entry.encode(&checksums);
            prop_assert_eq!(IndexEntry::decode(&bytes, &checksums), Some(entry));
            prop_assert_eq!(IndexEntry::decode(&bytes, &Checksums::new(b"other settings")), None);
            bytes[changed] ^= difference;
            prop_assert_eq!(IndexEntry::decode(&bytes, &checksums), None);
        }
    }

    #[test]
    fn zeros_are_no_entry() {
        assert_eq!(IndexEntry::decode(&[0; ENTRY_BYTES], &Checksums::new(b"")), None);
    }
}
