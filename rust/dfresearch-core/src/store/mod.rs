//! The cache folder: media files below `datasets/{modality}/{dataset}/`, and an index that remembers them.
//!
//! ```text
//!  files ──► walk ──► unchanged (size, mtime)? ──► index row
//!    ▲           └──► new or changed ──► read once: hash + header ──► index row, ok or quarantined
//!    └─── DatasetWriter: what is fetched, with a manifest line for each file
//! ```
//!
//! The index is derived from the files and can be deleted at any time: the next scan reads all files again.
//! What it cannot get back is which files a decoder refused in mid-epoch; the decoder will find them again.

mod dataset_lock;
mod durable;
mod fetch_state;
mod files;
mod index;
mod lock;
mod manifest;
mod probe;
mod scan;
mod staging;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::catalog::DatasetDefinition;
use crate::error::{DecodeError, Error, Result};
use crate::modality::Modality;

pub use fetch_state::{
    FETCH_STATE_FILE, FetchIdentity, FetchOutcome, FetchState, FetchStatus, RefusedMedium, SampleOrigin,
};
pub(crate) use files::media_state;
pub use files::{FileState, holds_media, media_extensions};
pub(crate) use index::{DatasetRow, FetchSummary};
pub use index::{FileRecord, INDEX_FILE, Index};
pub use manifest::{MANIFEST_FILE, Manifest};
pub use probe::{MediaProperties, probe};
pub use scan::{DatasetScan, Progress, ScanProgress, ScannedFile, scan_dataset};
pub(crate) use scan::{hash_media, is_unchanged_dataset};
pub use staging::{FrameStager, Refusal, StagedSample, Stager};
pub use writer::{DatasetWriter, Opened};

/// Reads width and height from the header of an encoded image.
pub type Probe<'a> = dyn Fn(&[u8]) -> Result<(usize, usize), DecodeError> + Sync + 'a;

/// The SHA-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of a clip that is a folder: of its frames' hashes, in the order in which they are decoded. So copies
    /// are found whatever they are called.
    pub(crate) fn of_frames(frames: &[Self]) -> Self {
        let hasher = frames.iter().fold(Sha256::new(), |hasher, frame| hasher.chain_update(frame.as_bytes()));
        Self(hasher.finalize().into())
    }

    /// A hash that was computed before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The folder of a cache that holds one folder per dataset of the modality.
pub fn modality_folder(cache_dir: &Path, modality: Modality) -> PathBuf {
    cache_dir.join("datasets").join(modality.name())
}

/// Refuses a dataset name that is no plain folder name, and would thus leave the cache folder.
///
/// # Errors
/// [`Error::Argument`] that says what is wrong with the name.
pub fn check_dataset_name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "is empty".to_owned()
    } else if name == "." || name == ".." {
        format!("{name:?} is not a folder name")
    } else if name.contains(['/', '\\']) {
        format!("{name:?} contains a path separator: a dataset is one folder inside the cache")
    } else if name.chars().any(char::is_control) {
        format!("{name:?} contains a control character")
    } else {
        return Ok(());
    };
    Err(Error::argument("name", reason))
}

/// Writes into the index what definitions say of their datasets: label, generator, content.
///
/// # Errors
/// [`Error::Argument`] for a name that leaves the cache; [`Error::Index`] when the index cannot be opened or written.
pub fn describe_datasets(cache_dir: &Path, definitions: &[DatasetDefinition]) -> Result<()> {
    let mut index = Index::open(cache_dir)?;
    for definition in definitions {
        check_dataset_name(&definition.name)?;
        let DatasetDefinition { name, modality, media_type, generator_family, content_category, .. } =
            definition;
        index.describe(
            *modality,
            name,
            *media_type,
            generator_family.as_deref(),
            content_category.as_deref(),
        )?;
    }
    Ok(())
}

/// Remembers that these files, as they are now, cannot be used, each with its reason, until the file itself
/// changes.
///
/// Returns how many of them the index of this cache knows; others are left alone.
///
/// # Errors
/// [`Error::Index`] when the index cannot be opened or written.
pub fn quarantine(cache_dir: &Path, entries: &[(PathBuf, String)]) -> Result<usize> {
    let mut index = Index::open(cache_dir)?;
    let mut known = 0;
    for (path, reason) in entries {
        if let Some((modality, dataset, file)) = place_in_cache(cache_dir, path) {
            // A file that changed after it was listed is not to be taken for a new one by the next scan.
            let state = files::media_state(path, modality).ok();
            known += usize::from(index.quarantine(modality, &dataset, &file, state, reason)?);
        }
    }
    Ok(known)
}

/// Modality, dataset and name of a file below the cache's `datasets` folder.
fn place_in_cache(cache_dir: &Path, path: &Path) -> Option<(Modality, String, String)> {
    let absolute = |path: &Path| std::path::absolute(path).ok();
    let inside = absolute(path)?.strip_prefix(absolute(cache_dir)?.join("datasets")).ok()?.to_owned();
    let mut parts = inside.to_str()?.splitn(3, '/');
    let modality = parts.next()?.parse().ok()?;
    Some((modality, parts.next()?.to_owned(), parts.next()?.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod schema_tests;
