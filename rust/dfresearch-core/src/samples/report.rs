//! What was found in a cache folder, for people.

use std::path::PathBuf;

use crate::modality::MediaType;

/// Everything about a modality's cache that a person should know.
#[derive(Debug, Clone, Default)]
pub struct StoreReport {
    /// One entry per definition, in their order.
    pub datasets: Vec<DatasetReport>,
    /// Folders that no definition names: nothing says whether they are real, and they are left out.
    pub undefined_folders: Vec<PathBuf>,
    /// Files that are not used, with the reason.
    pub quarantined: Vec<QuarantinedFile>,
    /// Bytes that stand under both labels; all of their files are left out.
    pub conflicts: Vec<Conflict>,
    /// Lines of manifests whose file is not there.
    pub unknown_manifest_files: Vec<UnknownManifestFile>,
    /// How many files are copies of another one of the same label. They stay samples.
    pub duplicates: usize,
    /// How many files were read now; the index knew the others.
    pub read: usize,
    /// What happened to the index, when something did.
    pub notices: Vec<String>,
}

impl StoreReport {
    /// How many samples there are before a cap and a split.
    pub fn samples(&self) -> usize {
        self.datasets.iter().map(|dataset| dataset.samples).sum()
    }
}

/// A definition and what lies in its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetReport {
    /// The definition's name.
    pub name: String,
    /// The definition's media type.
    pub media_type: MediaType,
    /// Whether there is something to use.
    pub status: DatasetStatus,
    /// Usable files.
    pub samples: usize,
    /// Files that cannot be used.
    pub quarantined: usize,
    /// Files that are left out because the same bytes stand under the other label.
    pub conflicting: usize,
    /// Files with extensions that are not the modality's; they are not looked at.
    pub other_files: usize,
    /// How many samples the fetch was to bring; none where nothing was fetched.
    pub wanted: Option<usize>,
    /// Files that were fetched and are not there any more.
    pub gone: usize,
    /// Why the status is not OK, and what a fetch has to say.
    pub reason: String,
}

/// Whether a dataset can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetStatus {
    /// Every media file is a sample, and there is at least one.
    Ok,
    /// Some media files are samples, others are not; or a fetch is not finished.
    Partial,
    /// A person has to be let in before it can be fetched.
    Gated,
    /// There are media files, and none can be used; or it could not be fetched.
    Failed,
    /// There is no media file.
    Missing,
}

impl DatasetStatus {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Partial => "PARTIAL",
            Self::Gated => "GATED",
            Self::Failed => "FAILED",
            Self::Missing => "MISSING",
        }
    }
}

/// A file that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedFile {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be used.
    pub reason: String,
}

/// The same bytes under both labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Files that definitions call real.
    pub real: Vec<PathBuf>,
    /// Files that definitions call synthetic.
    pub synthetic: Vec<PathBuf>,
}

/// A line of a manifest that names a file which is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownManifestFile {
    /// The manifest.
    pub manifest: PathBuf,
    /// Its line, counted from one.
    pub line: usize,
    /// The file that the line names.
    pub file: String,
}
