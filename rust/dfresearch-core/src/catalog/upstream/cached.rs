//! The set of definition files in the cache folder, and how another one takes its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::definition::hexadecimal;
use crate::catalog::{earlier_upstream_file, upstream_files};
use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::optional_file::{is_there, read_optional_file};
use crate::submission::checkpoint::{TemporaryFolder, swap};
use crate::submission::files::{folder_of, sync_folder, write_whole};

/// The file beside the definitions that says where they are from.
pub const SOURCE_FILE: &str = "source.json";

/// Where a fetched set of definition files is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The repository, address or folder.
    pub url: String,
    /// The repository's commit; none where there is no such thing, or where it was not told.
    pub commit: Option<String>,
    /// When the source was last asked, whether it had anything new or not.
    pub fetched_at: Timestamp,
    /// The SHA-256 of each definition file, in hexadecimal digits.
    pub files: BTreeMap<String, String>,
}

impl SourceRecord {
    /// What is written beside `files`.
    pub(super) fn new(url: String, commit: Option<String>, now: Timestamp, files: &Files) -> Self {
        let files =
            files.iter().map(|(name, bytes)| (name.clone(), hexadecimal(&Sha256::digest(bytes)))).collect();
        // Fractions of a second say nothing here.
        let fetched_at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { url, commit, fetched_at, files }
    }

    /// Replaces the record beside the definitions.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join(SOURCE_FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| Error::io(&file, error.into()))?;
        text.push(b'\n');
        write_whole(&file, &text)
    }
}

/// Definition files by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What the folder of definitions holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// No definition file.
    Nothing,
    /// A set as it was fetched.
    Fetched(SourceRecord),
    /// Files that no fetch put there, or that were changed since.
    Own,
}

/// What the folder of definitions holds, and whether a fetch may throw it away.
#[derive(Debug)]
pub(super) struct CachedSet {
    pub holding: Holding,
    /// Whether something lies there that no fetch put there.
    pub has_others: bool,
}

impl CachedSet {
    /// Looks at every file of the folder.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let record = read_optional_file(&folder.join(SOURCE_FILE))?;
        let is_recorded = record.is_some();
        let record: Option<SourceRecord> = record.and_then(|text| serde_json::from_slice(&text).ok());
        let mut set = Self { holding: Holding::Nothing, has_others: is_recorded && record.is_none() };
        let known = definition_files();
        let (mut found, mut own) = (0, false);
        for name in names(folder)? {
            if name == SOURCE_FILE {
                continue;
            }
            let is_definition = known.contains(&name);
            found += usize::from(is_definition);
            let path = folder.join(&name);
            let recorded = record.as_ref().and_then(|record| record.files.get(&name));
            let is_as_fetched = match recorded {
                Some(digest) => {
                    let bytes = fs::read(&path).map_err(|error| Error::io(&path, error))?;
                    *digest == hexadecimal(&Sha256::digest(&bytes))
                }
                None => false,
            };
            set.has_others |= !is_as_fetched;
            own |= is_definition && !is_as_fetched;
        }
        set.holding = match record {
            _ if found == 0 => Holding::Nothing,
            Some(record) if !own => Holding::Fetched(record),
            _ => Holding::Own,
        };
        Ok(set)
    }
}

/// Every name that a definition file of the competition has or had.
pub(super) fn definition_files() -> Vec<String> {
    let today = Modality::ALL.into_iter().flat_map(upstream_files).map(str::to_owned);
    today.chain(Modality::ALL.into_iter().map(earlier_upstream_file)).collect()
}

/// The names in a folder, in order; none when it does not exist.
fn names(folder: &Path) -> Result<Vec<String>> {
    if !is_there(folder)? {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.map_err(|error| Error::io(folder, error))?;
        Ok(entry.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A set of definition files beside the folder that it may take the place of.
pub(super) struct StagedSet(TemporaryFolder);

impl StagedSet {
    /// Writes and flushes the files and their record.
    pub fn write(folder: &Path, files: &Files, record: &SourceRecord) -> Result<Self> {
        let parent = folder_of(folder);
        fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
        let staged = TemporaryFolder::create(folder)?;
        for (name, bytes) in files {
            write_whole(&staged.path.join(name), bytes)?;
        }
        record.write(&staged.path)?;
        Ok(Self(staged))
    }

    /// Where it lies until it replaces the folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Puts the set in the folder's place, in one step. What was there goes away, or is set aside under the name that
    /// comes back.
    pub fn replace(mut self, folder: &Path, set_aside: bool, now: Timestamp) -> Result<Option<PathBuf>> {
        let was_there = is_there(folder)?;
        // From the exchange on, the old files lie there.
        self.0.disposable = !(was_there && set_aside);
        swap(&self.0.path, folder)?;
        let parent = folder_of(folder);
        sync_folder(parent)?;
        if !(was_there && set_aside) {
            return Ok(None);
        }
        let aside = free_name(folder, now)?;
        fs::rename(&self.0.path, &aside).map_err(|error| Error::io(&aside, error))?;
        sync_folder(parent)?;
        Ok(Some(aside))
    }
}

/// `{folder}.before-{date}`, with a number behind it when there is one from the same day.
fn free_name(folder: &Path, now: Timestamp) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".before-{}", now.strftime("%Y-%m-%d")));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let path = PathBuf::from(name);
        if !is_there(&path)? {
            return Ok(path);
        }
        number += 1;
    }
}
