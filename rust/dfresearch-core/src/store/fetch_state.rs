//! What is known of the fetch of a dataset, in a file in its folder.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::Origin;
use crate::error::{Error, Result};
use crate::optional_file::read_optional_file;
use crate::store::durable;

/// The file's name in a dataset's folder. Where it stands, numbered files belong to the fetch.
pub const FETCH_STATE_FILE: &str = ".fetch.json";

/// What a dataset shows whose fetch has begun and not ended.
const UNFINISHED: &str = "not finished: a fetch is running or was interrupted; the next prepare.py goes on";

/// What decides which media a dataset consists of: with the same identity a fetch goes on, with another one it starts
/// over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchIdentity {
    /// The name of the source, for example `huggingface`.
    pub source: String,
    /// The repository.
    pub path: String,
    /// The commit that all of the dataset is taken from.
    pub revision: String,
    /// What files and media are drawn with.
    pub seed: u64,
    /// A digest of what in the definition decides which media are taken.
    pub selection: String,
}

/// Where a fetched medium comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "OriginFields", into = "OriginFields")]
pub struct SampleOrigin {
    /// The file of the repository.
    pub source_file: String,
    /// The place in it, for an archive.
    pub origin: Origin,
}

/// An origin's fields in manifests and in [`FETCH_STATE_FILE`].
#[derive(Serialize, Deserialize)]
struct OriginFields {
    source: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    member: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    row: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    position: Option<u32>,
}

impl From<OriginFields> for SampleOrigin {
    fn from(fields: OriginFields) -> Self {
        let OriginFields { source, member, row, column, position } = fields;
        Self { source_file: source, origin: Origin { member, row, column, position } }
    }
}

impl From<SampleOrigin> for OriginFields {
    fn from(sample: SampleOrigin) -> Self {
        let Origin { member, row, column, position } = sample.origin;
        Self { source: sample.source_file, member, row, column, position }
    }
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchStatus {
    /// Everything that was wanted, or all there is.
    Ok,
    /// Something is missing that another run may bring.
    Partial,
    /// A person has to be let in first.
    Gated,
    /// Nothing could be fetched.
    Failed,
}

impl FetchStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Partial, Self::Gated, Self::Failed];

    /// The word in files and in the index.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Gated => "gated",
            Self::Failed => "failed",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What a fetch has to say at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOutcome {
    /// How it ended.
    pub status: FetchStatus,
    /// Why, in words for a person; may be empty when all is well.
    pub reason: String,
    /// How many samples were asked for.
    pub wanted: usize,
    /// Whether another run would come to the same: only asked for expressly is it tried again.
    pub is_final: bool,
    /// What in the archives was no medium to be taken: the reason and how often.
    pub skipped: BTreeMap<String, u64>,
    /// Files of the repository that could not be fetched, with the reason.
    pub failures: Vec<(String, String)>,
}

/// A medium that came whole and is no sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedMedium {
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: SampleOrigin,
    /// Why it is not used.
    pub reason: String,
}

/// The state of a dataset's fetch, as it stands in [`FETCH_STATE_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchState {
    /// What was fetched; none when it did not get so far, and no file in the folder is the fetch's.
    pub identity: Option<FetchIdentity>,
    /// How the fetch ended; `Partial` while it has not.
    pub status: FetchStatus,
    /// Why.
    pub reason: String,
    /// How many samples were asked for when it ended last; none before.
    pub wanted: Option<usize>,
    /// Whether another run would come to the same.
    #[serde(default)]
    pub is_final: bool,
    /// How many samples it put into the folder.
    pub samples: usize,
    /// Media that are no samples, in the order in which they came.
    pub refused: Vec<RefusedMedium>,
    /// What in the archives was no medium to be taken: the reason and how often.
    pub skipped: BTreeMap<String, u64>,
    /// The same for every archive of which there is something to say.
    #[serde(default)]
    pub skipped_in: BTreeMap<String, BTreeMap<String, u64>>,
    /// Files of the repository that could not be fetched, with the reason.
    pub failures: Vec<(String, String)>,
    /// When it ended; none while it has not.
    pub finished_at: Option<Timestamp>,
}

impl FetchState {
    /// The state of a fetch that has just begun.
    pub(super) fn begun(identity: FetchIdentity) -> Self {
        Self { identity: Some(identity), ..Self::unknown() }
    }

    /// The state of a fetch that knows nothing of the repository yet.
    pub(super) fn unknown() -> Self {
        Self {
            identity: None,
            status: FetchStatus::Partial,
            reason: UNFINISHED.to_owned(),
            wanted: None,
            is_final: false,
            samples: 0,
            refused: Vec::new(),
            skipped: BTreeMap::new(),
            skipped_in: BTreeMap::new(),
            failures: Vec::new(),
            finished_at: None,
        }
    }

    /// Says that the fetch goes on: a kill from now on leaves this.
    pub(super) fn reopen(&mut self) {
        self.status = FetchStatus::Partial;
        self.reason = UNFINISHED.to_owned();
        self.is_final = false;
        self.finished_at = None;
    }

    /// Reads the state of a dataset's folder; none where nothing was fetched.
    ///
    /// # Errors
    /// [`Error::Definition`] for a file that is not as [`FetchState`] writes it; [`Error::Io`] when it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FETCH_STATE_FILE);
        let Some(bytes) = read_optional_file(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::Definition {
            line: error.line(),
            reason: format!(
                "{error}; delete the dataset's folder to have it fetched anew, or this file alone to keep the \
                 folder's media as if put in by hand"
            ),
            file: path,
        })
    }

    /// Writes the state, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FETCH_STATE_FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| Error::io(&path, error.into()))?;
        text.push(b'\n');
        durable::replace_file(&path, &text)
    }
}
