//! One dataset, from its definition to committed samples.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::archive::SkipReason;
use crate::catalog::DatasetDefinition;
use crate::error::{Error, FetchErrorKind, Result};
use crate::fetch::Meter;
use crate::http::HttpClient;
use crate::hub::Hub;
use crate::prepare::disk::{DiskBudget, is_disk_full};
use crate::prepare::gasstation;
use crate::prepare::job::{self, End, Job, STARTED_OVER};
use crate::prepare::permits::Permits;
use crate::prepare::plan::{Listing, Quota, list_files};
use crate::prepare::progress::{Board, DatasetState};
use crate::prepare::source::{PARTS_FOLDER, RemoteSource};
use crate::prepare::{Connect, DatasetOutcome, OutcomeStatus, PrepareOptions};
use crate::stop::StopFlag;
use crate::store::{
    DatasetWriter, FetchIdentity, FetchOutcome, FetchState, FetchStatus, Opened, modality_folder,
};

/// Failed source files that a reason names before it only counts them.
const NAMED_FAILURES: usize = 3;

/// What all datasets of a run share.
pub(super) struct Fetcher<'a> {
    pub options: &'a PrepareOptions,
    pub connect: Connect<'a>,
    pub client: HttpClient,
    pub permits: Permits,
    pub budget: Arc<DiskBudget>,
    pub board: Arc<Board>,
    pub stop: &'a StopFlag,
    /// Why nothing more can be written, once that is so.
    pub disk_full: Mutex<Option<String>>,
}

impl Fetcher<'_> {
    /// # Errors
    /// [`Error::Stopped`]; everything else stands in the outcome.
    pub fn fetch(&self, position: usize, definition: &DatasetDefinition) -> Result<DatasetOutcome> {
        // A panic would take the outcomes of all the others with it.
        let fetch = AssertUnwindSafe(|| self.try_fetch(position, definition));
        let outcome = catch_unwind(fetch).unwrap_or_else(|_| {
            Err(Error::fetch(&definition.path, FetchErrorKind::Invalid, "a panic while it was fetched"))
        });
        let outcome = match outcome {
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => {
                self.note_disk_full(&error);
                self.outcome(position, definition, OutcomeStatus::Failed, 0, error.to_string())
            }
            Ok(outcome) => outcome,
        };
        self.board.finish(position, outcome.samples, DatasetState::Finished(outcome.status));
        Ok(outcome)
    }

    fn try_fetch(&self, position: usize, definition: &DatasetDefinition) -> Result<DatasetOutcome> {
        let mut writer = match DatasetWriter::open(&self.options.cache_dir, definition)? {
            Opened::Writer(writer) => writer,
            Opened::Busy { holder } => {
                let reason = format!("another prepare is fetching it: {holder}");
                return Ok(self.outcome(position, definition, OutcomeStatus::Busy, 0, reason));
            }
        };
        if writer.is_foreign()? {
            let reason = "filled by hand or by another program: used as it is; remove its folder to fetch it"
                .to_owned();
            return Ok(self.outcome(position, definition, OutcomeStatus::Kept, 0, reason));
        }
        let quota = Quota::new(definition, self.options.max_samples);
        let before =
            writer.state().filter(|state| is_same_selection(state, definition, self.options.seed)).cloned();
        if let Some(state) = &before
            && let Some(identity) = &state.identity
        {
            writer.begin(identity)?;
            let samples = writer.count();
            if is_complete(state, samples, quota) {
                let notes = [Some(state.reason.clone()), gasstation::age_note(definition, state)];
                let notes: Vec<String> =
                    notes.into_iter().flatten().filter(|note| !note.is_empty()).collect();
                return Ok(self.outcome(position, definition, OutcomeStatus::Ok, samples, notes.join("; ")));
            }
            if state.is_final && samples == state.samples && !self.options.retry {
                let reason = format!("{} (--retry tries again)", state.reason);
                return Ok(self.outcome(position, definition, partial_or_failed(samples), samples, reason));
            }
        }
        let disk_full = self.disk_full.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(reason) = disk_full {
            let samples = writer.samples();
            return Ok(self.outcome(position, definition, partial_or_failed(samples), samples, reason));
        }
        self.board.begin(position, writer.count());
        self.board.set_state(position, DatasetState::Listing);
        self.fetch_into(position, definition, quota, *writer, before)
    }

    fn fetch_into(
        &self,
        position: usize,
        definition: &DatasetDefinition,
        quota: Quota,
        mut writer: DatasetWriter,
        before: Option<FetchState>,
    ) -> Result<DatasetOutcome> {
        let failed_before =
            before.iter().flat_map(|state| state.failures.iter().cloned()).collect::<HashMap<_, _>>();
        let earlier = before.as_ref().and_then(|state| state.identity.as_ref());
        let has_started_over = earlier.is_some_and(|identity| identity.revision == STARTED_OVER);
        let meter: Arc<dyn Meter> =
            Arc::new(DatasetMeter { board: self.board.clone(), budget: self.budget.clone(), position });
        let listed = self.list(definition, before.as_ref(), &mut writer, &meter);
        let (hub, revision, listing) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                return self.close(position, definition, quota, writer, Err(error), Vec::new());
            }
        };
        let mut job = Job {
            source: RemoteSource {
                fetcher: self,
                definition,
                hub: &*hub,
                revision: &revision,
                meter: &meter,
            },
            position,
            quota,
            sources: job::sources(&writer),
            writer,
            failed_before,
            has_started_over,
            failures: Vec::new(),
        };
        self.board.set_state(position, DatasetState::Fetching);
        self.board.begin(position, job.writer.count());
        let end = job.read(listing);
        let Job { writer, failures, .. } = job;
        self.close(position, definition, quota, writer, end, failures)
    }

    /// Pins a revision and lists what there is. What was begun goes on at its revision, as long as the source has it.
    fn list(
        &self,
        definition: &DatasetDefinition,
        before: Option<&FetchState>,
        writer: &mut DatasetWriter,
        meter: &Arc<dyn Meter>,
    ) -> Result<(Box<dyn Hub>, String, Listing)> {
        let _permit = self.permits.acquire(self.stop)?;
        let hub = (self.connect)(definition.source, &self.client)?;
        if let Some(FetchState { identity: Some(identity), .. }) = before
            && writer.count() > 0
        {
            let revision = identity.revision.clone();
            match list_files(&*hub, definition, &revision, self.options.seed) {
                Ok(listing) => return Ok((hub, revision, listing)),
                // History was rewritten, or a week has passed: begun anew.
                Err(Error::Fetch { kind: FetchErrorKind::NotFound, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let revision = hub.resolve(&definition.path, None)?;
        let listing = list_files(&*hub, definition, &revision, self.options.seed)?;
        if writer.samples() > 0
            && let Some(first) = listing.first()
        {
            // What is there makes way for other samples: not before those can be had.
            let source = RemoteSource { fetcher: self, definition, hub: &*hub, revision: &revision, meter };
            source.open(first)?.prefetch(std::slice::from_ref(&(0..1)))?;
        }
        writer.begin(&identity(definition, &revision, self.options.seed))?;
        Ok((hub, revision, listing))
    }

    /// Commits what there is and writes down how it ended.
    fn close(
        &self,
        position: usize,
        definition: &DatasetDefinition,
        quota: Quota,
        writer: DatasetWriter,
        end: Result<End>,
        failures: Vec<(String, String)>,
    ) -> Result<DatasetOutcome> {
        let samples = writer.samples();
        let refused = writer.state().map_or(0, |state| state.refused.len());
        let skipped = all_skipped(writer.state());
        let stopped = matches!(end, Err(Error::Stopped));
        if let Err(error) = &end {
            self.note_disk_full(error);
        }
        let (status, is_final, reason) = judge(&end, samples, quota, &failures, refused, &skipped);
        let outcome = FetchOutcome {
            status: match status {
                OutcomeStatus::Ok => FetchStatus::Ok,
                OutcomeStatus::Gated => FetchStatus::Gated,
                OutcomeStatus::Failed => FetchStatus::Failed,
                OutcomeStatus::Partial | OutcomeStatus::Busy | OutcomeStatus::Kept => FetchStatus::Partial,
            },
            reason: reason.clone(),
            wanted: quota.samples,
            is_final,
            skipped: skipped.into_iter().map(|(kind, count)| (kind.name().to_owned(), count)).collect(),
            failures: match end {
                Ok(_) => failures,
                // What this run did not come to is as it was.
                Err(_) => with_earlier(failures, writer.state()),
            },
        };
        if end.is_ok() {
            let parts = self.parts_folder(definition);
            match std::fs::remove_dir_all(&parts) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(parts, error));
                }
                _ => {}
            }
        }
        writer.finish(outcome)?;
        if stopped {
            return Err(Error::Stopped);
        }
        Ok(self.outcome(position, definition, status, samples, reason))
    }

    pub fn parts_folder(&self, definition: &DatasetDefinition) -> PathBuf {
        modality_folder(&self.options.cache_dir, definition.modality)
            .join(&definition.name)
            .join(PARTS_FOLDER)
    }

    fn note_disk_full(&self, error: &Error) {
        if is_disk_full(error) {
            let mut disk_full = self.disk_full.lock().unwrap_or_else(PoisonError::into_inner);
            disk_full.get_or_insert_with(|| format!("not fetched: {error}"));
        }
    }

    fn outcome(
        &self,
        position: usize,
        definition: &DatasetDefinition,
        status: OutcomeStatus,
        samples: usize,
        reason: String,
    ) -> DatasetOutcome {
        let wanted = Quota::new(definition, self.options.max_samples).samples;
        DatasetOutcome {
            name: definition.name.clone(),
            status,
            samples,
            wanted,
            bytes: self.board.bytes(position),
            reason,
        }
    }
}

struct DatasetMeter {
    board: Arc<Board>,
    budget: Arc<DiskBudget>,
    position: usize,
}

impl Meter for DatasetMeter {
    fn add(&self, bytes: u64) -> Result<()> {
        self.board.add_bytes(self.position, bytes);
        self.budget.take(bytes)
    }
}

pub(super) fn identity(definition: &DatasetDefinition, revision: &str, seed: u64) -> FetchIdentity {
    FetchIdentity {
        source: definition.source.name().to_owned(),
        path: definition.path.clone(),
        revision: revision.to_owned(),
        seed,
        selection: definition.selection_digest(),
    }
}

/// Whether a fetch was of the same media, at any revision.
pub(super) fn is_same_selection(state: &FetchState, definition: &DatasetDefinition, seed: u64) -> bool {
    let fetched = state.identity.as_ref();
    fetched.is_some_and(|fetched| identity(definition, &fetched.revision, seed) == *fetched)
}

/// Whether everything that is wanted is there. A source that has run out has no more for anybody.
pub(super) fn is_complete(state: &FetchState, samples: usize, quota: Quota) -> bool {
    let has_run_out = state.wanted.is_some_and(|wanted| samples < wanted);
    state.status == FetchStatus::Ok && samples == state.samples && (has_run_out || samples >= quota.samples)
}

/// What all archives held that is no sample, those of earlier runs included.
fn all_skipped(state: Option<&FetchState>) -> BTreeMap<SkipReason, u64> {
    let mut all = BTreeMap::new();
    for (name, count) in state.iter().flat_map(|state| state.skipped_in.values()).flatten() {
        if let Some(kind) = SkipReason::from_name(name) {
            *all.entry(kind).or_insert(0) += count;
        }
    }
    all
}

/// Failures of a run that has not come to its end, and those before it that it had nothing to say about.
fn with_earlier(mut failures: Vec<(String, String)>, state: Option<&FetchState>) -> Vec<(String, String)> {
    let told: HashSet<String> = failures.iter().map(|(path, _)| path.clone()).collect();
    let earlier = state.into_iter().flat_map(|state| &state.failures);
    failures.extend(earlier.filter(|(path, _)| !told.contains(path)).cloned());
    failures
}

fn partial_or_failed(samples: usize) -> OutcomeStatus {
    if samples > 0 { OutcomeStatus::Partial } else { OutcomeStatus::Failed }
}

/// Status, whether the next run would come to the same, and the reason for people.
fn judge(
    end: &Result<End>,
    samples: usize,
    quota: Quota,
    failures: &[(String, String)],
    refused: usize,
    skipped: &BTreeMap<SkipReason, u64>,
) -> (OutcomeStatus, bool, String) {
    let mut notes = Vec::new();
    let (status, is_final) = match end {
        Ok(End::Enough) => (OutcomeStatus::Ok, false),
        Ok(End::Exhausted) if samples == 0 => {
            notes.push("nothing in it can be used".to_owned());
            (OutcomeStatus::Failed, true)
        }
        Ok(End::Exhausted) if failures.is_empty() => {
            if samples < quota.samples {
                notes.push(format!("all there is: {samples} of {}", quota.samples));
            }
            (OutcomeStatus::Ok, false)
        }
        Ok(End::Exhausted) => (OutcomeStatus::Partial, true),
        Err(error) => {
            notes.push(match error {
                Error::Stopped => "interrupted".to_owned(),
                other => other.to_string(),
            });
            match error {
                Error::Fetch { kind: FetchErrorKind::Gated, .. } => (OutcomeStatus::Gated, false),
                Error::Fetch { kind: FetchErrorKind::NotFound | FetchErrorKind::Invalid, .. } => {
                    (partial_or_failed(samples), true)
                }
                _ => (partial_or_failed(samples), false),
            }
        }
    };
    if !failures.is_empty() && end.is_ok() {
        let named: Vec<String> =
            failures.iter().take(NAMED_FAILURES).map(|(path, reason)| format!("{path}: {reason}")).collect();
        notes.push(format!("{} source files failed: {}", failures.len(), named.join("; ")));
    }
    if refused > 0 {
        notes.push(format!("{refused} media refused"));
    }
    let told = skipped.iter().filter(|(kind, _)| kind.is_loss() || status != OutcomeStatus::Ok);
    notes.extend(told.map(|(kind, count)| format!("{count} skipped: {kind}")));
    (status, is_final, notes.join("; "))
}
