//! Which record of the sample cache belongs to a file: by the content that the file is known to have.
//!
//! ```text
//!  file ─► size, time ─┬─ as the index of the cache saw them ───► content known ─┐
//!                      ├─ as this loader saw them ──────────────► content known ─┼─► record?
//!                      └─ otherwise: read the file, hash it ────► content known ─┘
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::sample_cache::SampleCache;
use crate::samples::{KnownContent, SampleList};
use crate::store::{ContentHash, FileState, hash_media, media_state};

/// Clips and recordings whose content is not known are only read to be hashed up to this size; what is larger is
/// decoded every time. The files of a dataset are hashed when they come into its index, whatever their size.
const MAX_HASHED_BYTES: u64 = 64 << 20;

/// A sample cache for the samples of one list, and what was learned of files that no index knows.
#[derive(Debug)]
pub struct RecordCache {
    store: SampleCache,
    samples: Arc<SampleList>,
    /// By the sample's index. It goes before what the list of samples says, which may be older.
    learned: RwLock<HashMap<usize, KnownContent>>,
}

impl RecordCache {
    /// Nothing is learned yet.
    pub fn new(store: SampleCache, samples: Arc<SampleList>) -> Self {
        Self { store, samples, learned: RwLock::default() }
    }

    /// Refuses other samples than those it was made for: their numbers mean other files.
    pub(super) fn check_samples(&self, samples: &SampleList) -> Result<()> {
        if std::ptr::eq(&raw const *self.samples, samples) || *self.samples == *samples {
            return Ok(());
        }
        Err(Error::argument("cache", "was made for another list of samples; make a new one for this list"))
    }

    /// The records.
    pub fn store(&self) -> &SampleCache {
        &self.store
    }

    /// Lets the disk bring the records of these samples into memory.
    pub(super) fn read_ahead(&self, indices: &[u32]) {
        for &index in indices {
            if let Some(known) = self.known(index as usize) {
                self.store.will_need(&known.hash);
            }
        }
    }

    /// The content of a sample whose file is in this state, if it is known.
    pub(super) fn content(&self, index: usize, state: FileState) -> Option<ContentHash> {
        let known = self.known(index)?;
        (known.state == state).then_some(known.hash)
    }

    /// Notes what the file of a sample held when it was in this state.
    pub(super) fn learn(&self, index: usize, hash: ContentHash, state: FileState) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        learned.insert(index, KnownContent { hash, state });
    }

    fn known(&self, index: usize) -> Option<KnownContent> {
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        learned.get(&index).copied().or_else(|| self.samples.known_content(index))
    }
}

/// The state of a sample's file; none of what cannot be looked at, which decoding will say.
pub(super) fn state(path: &Path, modality: Modality) -> Option<FileState> {
    media_state(path, modality).ok()
}

/// The content of a clip or a recording, unless it is too large to be read for this alone.
pub(super) fn hash(path: &Path, modality: Modality, state: FileState) -> Option<ContentHash> {
    if state.size > MAX_HASHED_BYTES { None } else { hash_media(path, modality).ok() }
}
