//! Puts what is fetched into a dataset's folder, so that a kill or a power cut at any moment loses nothing that was
//! committed, leaves nothing that was not, and the next run goes on.
//!
//! ```text
//!  stage ──► .staging/17 ──► fdatasync ──► rename 000042.jpg ──► .fetch.json ──► manifest line, fdatasync ──► index row
//!  (any thread)              └───────────────────────────── commit, for many samples at once ──────────────────────────┘
//! ```
//!
//! A clip of frames is a folder, `000042/`, and goes the same way, its frames flushed and the folder renamed as a whole.
//!
//! Each step makes true what the next one says. A numbered file without a manifest line was never committed and is
//! removed by the next [`DatasetWriter::begin`]; a manifest line whose file is gone or damaged is a gap, which the same
//! medium fills again under the same name; the index follows from both.

mod commit;
mod recovery;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::archive::Origin;
use crate::catalog::DatasetDefinition;
use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::store::dataset_lock::{DatasetLock, LockAttempt};
use crate::store::durable::create_folder;
use crate::store::fetch_state::{FetchIdentity, FetchOutcome, FetchState, RefusedMedium, SampleOrigin};
use crate::store::files::holds_media;
use crate::store::index::Index;
use crate::store::manifest::FetchedLine;
use crate::store::staging::{STAGING_FOLDER, StagedSample, Stager};
use crate::store::{check_dataset_name, modality_folder};

/// Samples after which a commit is made unasked.
const SAMPLES_PER_COMMIT: usize = 64;

/// Bytes after which a commit is made unasked.
const BYTES_PER_COMMIT: u64 = 64 << 20;

/// What came of opening a dataset for writing.
#[derive(Debug)]
pub enum Opened {
    /// The dataset is ours until the writer is dropped.
    Writer(Box<DatasetWriter>),
    /// Another process is writing it.
    Busy {
        /// Who, in words.
        holder: String,
    },
}

/// Writes one dataset; holds its lock.
#[derive(Debug)]
pub struct DatasetWriter {
    cache_dir: PathBuf,
    folder: PathBuf,
    dataset: DatasetDefinition,
    state: Option<FetchState>,
    stager: Stager,
    session: Option<Session>,
    _lock: DatasetLock,
}

/// What a fetch that has begun knows of its dataset.
#[derive(Debug)]
struct Session {
    index: Index,
    /// Every line that a fetch wrote, by its sample's number.
    lines: Vec<FetchedLine>,
    /// Numbers whose file is gone or damaged, by what it was.
    gaps: HashMap<SampleOrigin, usize>,
    /// What is in the folder, in the order of its numbers; what a gap got back comes last.
    committed: Vec<SampleOrigin>,
    /// What is in the folder or on its way.
    known: HashSet<SampleOrigin>,
    /// Accepted and not committed.
    pending: Vec<PendingSample>,
    pending_bytes: u64,
    /// How many samples have got a number; beyond `lines`, those that are pending.
    numbered: usize,
    /// Bytes of the manifest with the lines of everything committed.
    manifest_length: u64,
    /// Whether more may follow them, from a commit that failed.
    is_manifest_ahead: bool,
    /// Media that were refused: the state's, to be found at once.
    refused: HashSet<SampleOrigin>,
    /// Whether the state has something that the file does not say.
    is_state_new: bool,
}

/// An accepted sample with its place.
#[derive(Debug)]
struct PendingSample {
    number: usize,
    staged: StagedSample,
    line: FetchedLine,
    is_placed: bool,
}

impl DatasetWriter {
    /// Opens a dataset for writing, if no other process does; nothing is changed yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that leaves the cache; [`Error::Definition`] for a state of the fetch that
    /// cannot be understood; [`Error::Io`] when the lock cannot be made.
    pub fn open(cache_dir: &Path, dataset: &DatasetDefinition) -> Result<Opened> {
        check_dataset_name(&dataset.name)?;
        let all = modality_folder(cache_dir, dataset.modality);
        let lock = match DatasetLock::attempt(&all.join(format!(".{}.lock", dataset.name)))? {
            LockAttempt::Held(lock) => lock,
            LockAttempt::Busy(holder) => return Ok(Opened::Busy { holder }),
        };
        let folder = all.join(&dataset.name);
        Ok(Opened::Writer(Box::new(Self {
            state: FetchState::read(&folder)?,
            stager: Stager::new(&folder, dataset.modality),
            cache_dir: cache_dir.to_path_buf(),
            folder,
            dataset: dataset.clone(),
            session: None,
            _lock: lock,
        })))
    }

    /// What is known of the dataset's fetch; none where nothing was fetched yet.
    pub fn state(&self) -> Option<&FetchState> {
        self.state.as_ref()
    }

    /// The dataset's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder holds media that no fetch put there, but a person or another program. They stay as they
    /// are: nothing can be fetched beside them.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be listed.
    pub fn is_foreign(&self) -> Result<bool> {
        // Before a fetch knows what it fetches, it writes no media.
        if self.state.as_ref().is_some_and(|state| state.identity.is_some()) {
            return Ok(false);
        }
        holds_media(&self.folder, self.modality())
    }

    /// Prepares the folder for what is to be fetched, and finds out what is there already.
    ///
    /// With the identity of the fetch before, it goes on; with another one, what that fetched is removed first. What
    /// a kill left over is removed, and the index is brought in line.
    ///
    /// # Errors
    /// [`Error::Argument`] for a folder whose media no fetch put there; [`Error::Definition`] for a manifest that
    /// somebody spoilt; [`Error::Io`] and [`Error::Index`] when something cannot be read or written.
    pub fn begin(&mut self, identity: &FetchIdentity) -> Result<()> {
        self.refuse_foreign()?;
        // Media that are still being taken in are forgotten, their files included.
        self.session = None;
        create_folder(&self.folder)?;
        self.clear_staging()?;
        let before = self.state.as_ref().and_then(|state| state.identity.as_ref());
        if before != Some(identity) {
            if before.is_some() {
                self.discard()?;
            }
            let state = FetchState::begun(identity.clone());
            // Before the first file: where this stands, numbered files are ours.
            state.write(&self.folder)?;
            self.state = Some(state);
        }
        self.session = Some(self.recover(identity)?);
        Ok(())
    }

    /// What is in the folder: what a rerun skips. In the order of the samples' numbers at [`DatasetWriter::begin`];
    /// samples of this fetch come behind as they are committed.
    pub fn committed(&self) -> &[SampleOrigin] {
        self.session.as_ref().map_or(&[], |session| &session.committed)
    }

    /// How many samples there are, those on their way into the folder included.
    pub fn count(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.known.len())
    }

    /// How many samples there are: before [`DatasetWriter::begin`], as many as the fetch before has left.
    pub fn samples(&self) -> usize {
        let before = self.state.as_ref().map_or(0, |state| state.samples);
        self.session.as_ref().map_or(before, |session| session.known.len())
    }

    /// Where the samples of one source file lay in it, those on their way into the folder included.
    pub fn origins(&self, source_file: &str) -> HashSet<Origin> {
        let known = self.session.iter().flat_map(|session| &session.known);
        known.filter(|known| known.source_file == source_file).map(|known| known.origin.clone()).collect()
    }

    /// Whether a sample of this source file was committed once and its file is gone.
    pub fn has_gap(&self, source_file: &str) -> bool {
        self.session.iter().flat_map(|session| session.gaps.keys()).any(|gap| gap.source_file == source_file)
    }

    /// Whether a medium is in the folder, or accepted and on its way there.
    pub fn is_known(&self, origin: &SampleOrigin) -> bool {
        self.session.as_ref().is_some_and(|session| session.known.contains(origin))
    }

    /// Whether a medium was refused, now or in a run before of the same fetch.
    pub fn is_refused(&self, origin: &SampleOrigin) -> bool {
        self.session.as_ref().is_some_and(|session| session.refused.contains(origin))
    }

    /// What takes media in; to be used between [`DatasetWriter::begin`] and [`DatasetWriter::finish`].
    pub fn stager(&self) -> Stager {
        self.stager.clone()
    }

    /// Takes a medium as a sample: it gets the next number, or the one it had if its file is gone. It is in the folder
    /// after the next commit, which every so often comes by itself.
    ///
    /// Samples with one `group` will be on one side of the split.
    ///
    /// # Errors
    /// [`Error::Argument`] for a medium that is there already, and before [`DatasetWriter::begin`]; errors as in
    /// [`DatasetWriter::commit`].
    pub fn accept(
        &mut self,
        staged: StagedSample,
        origin: SampleOrigin,
        group: Option<String>,
    ) -> Result<()> {
        let revision = self.revision();
        let session = self.session.as_mut().ok_or_else(not_begun)?;
        if !session.known.insert(origin.clone()) {
            return Err(Error::argument("origin", format!("{origin:?} is a sample already")));
        }
        let number = session.gaps.remove(&origin).unwrap_or_else(|| {
            session.numbered += 1;
            session.numbered - 1
        });
        let line = FetchedLine {
            file: sample_name(number, staged.extension()),
            sha256: staged.content().to_string(),
            origin,
            revision,
            group,
        };
        session.pending_bytes += staged.size();
        session.pending.push(PendingSample { number, staged, line, is_placed: false });
        if session.pending.len() >= SAMPLES_PER_COMMIT || session.pending_bytes >= BYTES_PER_COMMIT {
            self.commit()?;
        }
        Ok(())
    }

    /// Remembers a medium that is no sample, and why.
    ///
    /// # Errors
    /// [`Error::Argument`] before [`DatasetWriter::begin`].
    pub fn refuse(&mut self, origin: SampleOrigin, reason: String) -> Result<()> {
        let session = self.session.as_mut().ok_or_else(not_begun)?;
        let state = self.state.as_mut().ok_or_else(not_begun)?;
        if session.refused.insert(origin.clone()) {
            state.refused.push(RefusedMedium { origin, reason });
            session.is_state_new = true;
        }
        Ok(())
    }

    /// Remembers that a source file failed and is passed over, and why: with the next commit at the latest, and before any
    /// sample that is accepted after it.
    ///
    /// # Errors
    /// [`Error::Argument`] before [`DatasetWriter::begin`].
    pub fn note_failure(&mut self, source_file: &str, reason: &str) -> Result<()> {
        self.forget_failure(source_file)?;
        let session = self.session.as_mut().ok_or_else(not_begun)?;
        let state = self.state.as_mut().ok_or_else(not_begun)?;
        state.failures.push((source_file.to_owned(), reason.to_owned()));
        session.is_state_new = true;
        Ok(())
    }

    /// A source file that failed once has come.
    ///
    /// # Errors
    /// [`Error::Argument`] before [`DatasetWriter::begin`].
    pub fn forget_failure(&mut self, source_file: &str) -> Result<()> {
        let session = self.session.as_mut().ok_or_else(not_begun)?;
        let state = self.state.as_mut().ok_or_else(not_begun)?;
        let before = state.failures.len();
        state.failures.retain(|(failed, _)| failed != source_file);
        session.is_state_new |= state.failures.len() < before;
        Ok(())
    }

    /// Remembers what an archive held that is no medium to be taken, in place of what was known of it before.
    ///
    /// # Errors
    /// [`Error::Argument`] before [`DatasetWriter::begin`].
    pub fn note_skipped(&mut self, source_file: &str, skipped: BTreeMap<String, u64>) -> Result<()> {
        let session = self.session.as_mut().ok_or_else(not_begun)?;
        let state = self.state.as_mut().ok_or_else(not_begun)?;
        let before = state.skipped_in.remove(source_file).unwrap_or_default();
        session.is_state_new |= before != skipped;
        if !skipped.is_empty() {
            state.skipped_in.insert(source_file.to_owned(), skipped);
        }
        Ok(())
    }

    /// Ends the fetch: commits what is accepted, and says in the folder and in the index how it ended.
    ///
    /// Also ends one that got stuck before [`DatasetWriter::begin`], for example at a gated repository; what is in the
    /// folder stays.
    ///
    /// # Errors
    /// As in [`DatasetWriter::commit`]; [`Error::Argument`] for a folder whose media no fetch put there.
    pub fn finish(mut self, outcome: FetchOutcome) -> Result<()> {
        self.refuse_foreign()?;
        if self.session.is_some() {
            self.commit()?;
        } else {
            create_folder(&self.folder)?;
        }
        let before = self.state.take().unwrap_or_else(FetchState::unknown);
        let FetchOutcome { status, reason, wanted, is_final, skipped, failures } = outcome;
        let state = FetchState {
            samples: self.session.as_ref().map_or(before.samples, |session| session.committed.len()),
            identity: before.identity,
            status,
            reason,
            wanted: Some(wanted),
            is_final,
            refused: before.refused,
            skipped,
            skipped_in: before.skipped_in,
            failures,
            finished_at: Some(now()),
        };
        state.write(&self.folder)?;
        self.clear_staging()?;
        let mut index = match self.session.take() {
            Some(session) => session.index,
            None => self.open_index()?,
        };
        index.set_fetch(self.modality(), &self.dataset.name, Some(&state))
    }

    fn modality(&self) -> Modality {
        self.dataset.modality
    }

    fn revision(&self) -> String {
        let identity = self.state.as_ref().and_then(|state| state.identity.as_ref());
        identity.map(|identity| identity.revision.clone()).unwrap_or_default()
    }

    fn refuse_foreign(&self) -> Result<()> {
        if !self.is_foreign()? {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(Error::argument(
            "dataset",
            format!(
                "{folder} holds media that were not fetched: move them elsewhere to have the dataset fetched"
            ),
        ))
    }

    /// The index, with what the definition says of the dataset.
    fn open_index(&self) -> Result<Index> {
        let mut index = Index::open(&self.cache_dir)?;
        let DatasetDefinition { name, modality, media_type, generator_family, content_category, .. } =
            &self.dataset;
        let (family, category) = (generator_family.as_deref(), content_category.as_deref());
        index.describe(*modality, name, *media_type, family, category)?;
        Ok(index)
    }

    fn clear_staging(&self) -> Result<()> {
        let staging = self.folder.join(STAGING_FOLDER);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(staging, error)),
            _ => Ok(()),
        }
    }
}

/// The name of a sample in the folder; a clip of frames has no extension.
fn sample_name(number: usize, extension: Option<&str>) -> String {
    let dot = if extension.is_some() { "." } else { "" };
    format!("{number:06}{dot}{}", extension.unwrap_or_default())
}

fn not_begun() -> Error {
    Error::argument("writer", "nothing can be written before begin() says what is fetched")
}

/// To the second: nobody reads more.
fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
