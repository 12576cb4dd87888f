//! Fetches datasets into the cache: every one once, whole, and accounted for.
//!
//! ```text
//!  definition ──► pinned revision ──► listing ──► source files in the seed's order
//!                                                        │
//!  raw media, clips: several at once, taken in order ─┤
//!            archives: one after another, until enough  ─┴─► staged ──► committed, in order
//! ```
//!
//! Which samples a dataset gets, and their order, is a function of its definition, the pinned revision and the seed.
//! A run that was ended at any moment goes on where it stopped and comes to the same bytes: what is committed is a
//! beginning of that order, and what comes next follows from it. For the same reason a source that cannot be reached
//! ends its dataset for this run instead of being passed over; when it fails in the next run as well, it is passed over.

mod archives;
mod dataset;
mod disk;
mod files;
mod frames;
mod gasstation;
mod job;
mod permits;
mod plan;
mod progress;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::catalog::{DatasetDefinition, Source};
use crate::error::{Error, Result};
use crate::http::{HttpClient, HttpSettings};
use crate::hub::{self, Hub};
use crate::prepare::dataset::Fetcher;
use crate::prepare::disk::DiskBudget;
pub(crate) use crate::prepare::disk::disk_space;
use crate::prepare::permits::Permits;
use crate::prepare::progress::Board;
use crate::stop::StopFlag;
use crate::store::describe_datasets;

pub use plan::{DatasetPlan, Planned};
pub use progress::{DatasetProgress, DatasetState, PrepareProgress};

/// Between two looks at how far the work is.
const TICK: Duration = Duration::from_millis(100);

/// Between two looks at whether it is done.
const LOOK: Duration = Duration::from_millis(5);

/// How the hub of a source is reached.
type Connect<'a> = &'a (dyn Fn(Source, &HttpClient) -> Result<Box<dyn Hub>> + Sync);

/// What is fetched, and with how much of the machine.
#[derive(Debug, Clone)]
pub struct PrepareOptions {
    /// The cache folder; made when it is not there.
    pub cache_dir: PathBuf,
    /// Samples of a dataset at most.
    pub max_samples: usize,
    /// Transfers at once.
    pub workers: usize,
    /// Decides which samples are taken, and in which order.
    pub seed: u64,
    /// Only datasets that failed or are not complete, those included that failed for good.
    pub retry: bool,
    /// What all media of the cache may take on the disk; none leaves only the reserve.
    pub max_disk_bytes: Option<u64>,
    /// How the network is used.
    pub http: HttpSettings,
}

impl PrepareOptions {
    fn check(&self) -> Result<()> {
        if self.max_samples == 0 {
            return Err(Error::argument("max_samples", "0 fetches nothing; expected at least 1"));
        }
        if self.workers == 0 {
            return Err(Error::argument("workers", "0 transfers fetch nothing; expected at least 1"));
        }
        Ok(())
    }
}

/// How the fetch of a dataset ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetOutcome {
    /// The definition's name.
    pub name: String,
    /// The end.
    pub status: OutcomeStatus,
    /// Samples that the dataset has now.
    pub samples: usize,
    /// Samples that were asked for at most.
    pub wanted: usize,
    /// Bytes that came over the network in this run.
    pub bytes: u64,
    /// What a person should know; empty when there is nothing.
    pub reason: String,
}

/// How the fetch of a dataset ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeStatus {
    /// All that was wanted, or all that there is.
    Ok,
    /// Some samples; the next run goes on.
    Partial,
    /// A person has to be let in first.
    Gated,
    /// No samples.
    Failed,
    /// Another process is fetching it.
    Busy,
    /// Filled by a person or another program: left as it is.
    Kept,
}

impl OutcomeStatus {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Partial => "PARTIAL",
            Self::Gated => "GATED",
            Self::Failed => "FAILED",
            Self::Busy => "BUSY",
            Self::Kept => "KEPT",
        }
    }
}

/// Fetches datasets; one that fails does not stop the others.
///
/// `tick` is called on the calling thread several times a second with how far the work is; an error from it stops the
/// work cleanly and is returned. The outcomes are in the order of `definitions`.
///
/// # Errors
/// [`Error::Argument`] for impossible options, [`Error::Io`] when the cache folder cannot be made, [`Error::Stopped`]
/// when `stop` was raised, and whatever `tick` returns. What goes wrong with a dataset stands in its outcome.
pub fn prepare(
    definitions: &[DatasetDefinition],
    options: &PrepareOptions,
    stop: &StopFlag,
    tick: &mut dyn FnMut(&PrepareProgress) -> Result<()>,
) -> Result<Vec<DatasetOutcome>> {
    prepare_from(&hub::connect, definitions, options, stop, tick)
}

fn prepare_from(
    connect: Connect<'_>,
    definitions: &[DatasetDefinition],
    options: &PrepareOptions,
    stop: &StopFlag,
    tick: &mut dyn FnMut(&PrepareProgress) -> Result<()>,
) -> Result<Vec<DatasetOutcome>> {
    options.check()?;
    std::fs::create_dir_all(&options.cache_dir).map_err(|error| Error::io(&options.cache_dir, error))?;
    describe_datasets(&options.cache_dir, definitions)?;
    let board = Arc::new(Board::new(definitions, options.max_samples));
    let fetcher = Fetcher {
        options,
        connect,
        client: HttpClient::new(options.http.clone(), stop.clone()),
        permits: Permits::new(options.workers),
        budget: Arc::new(DiskBudget::new(&options.cache_dir, options.max_disk_bytes)?),
        board: board.clone(),
        stop,
        disk_full: Mutex::default(),
    };
    run_all(definitions.len(), options.workers, stop, &board, tick, &|position| {
        fetcher.fetch(position, &definitions[position])
    })
}

/// What [`prepare`] would fetch, in the order of `definitions`; nothing is written.
///
/// A source that cannot be reached is asked once only, and its datasets are planned from their definitions alone.
///
/// # Errors
/// As [`prepare`].
pub fn plan(
    definitions: &[DatasetDefinition],
    options: &PrepareOptions,
    stop: &StopFlag,
    tick: &mut dyn FnMut(&PrepareProgress) -> Result<()>,
) -> Result<Vec<DatasetPlan>> {
    options.check()?;
    let board = Board::new(definitions, options.max_samples);
    let http = HttpSettings { attempts: 1, ..options.http.clone() };
    let planner = plan::Planner::new(options, HttpClient::new(http, stop.clone()));
    run_all(definitions.len(), options.workers, stop, &board, tick, &|position| {
        let plan = planner.plan(&definitions[position])?;
        board.finish(position, plan.samples.unwrap_or(0), DatasetState::Planned);
        Ok(plan)
    })
}

/// Runs `work` for every position on `workers` threads, while this one tells `tick` how far it is.
fn run_all<T: Send>(
    count: usize,
    workers: usize,
    stop: &StopFlag,
    board: &Board,
    tick: &mut dyn FnMut(&PrepareProgress) -> Result<()>,
    work: &(dyn Fn(usize) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work_through = || -> Vec<(usize, Result<T>)> {
        let mut done = Vec::new();
        while !stop.is_stopped() {
            let position = next.fetch_add(1, Ordering::Relaxed);
            if position >= count {
                break;
            }
            let result = work(position);
            if result.is_err() {
                // Only what ends the whole run is an error here.
                stop.stop();
            }
            done.push((position, result));
        }
        done
    };
    let (mut results, ticked) = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.min(count)).map(|_| scope.spawn(work_through)).collect();
        let mut ticked = Ok(());
        while ticked.is_ok() && !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            ticked = tick(&board.progress());
            let next = Instant::now() + TICK;
            while Instant::now() < next && !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(LOOK);
            }
        }
        if ticked.is_err() {
            stop.stop();
        }
        let mut results = Vec::with_capacity(count);
        for thread in threads {
            match thread.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (results, ticked)
    });
    ticked?;
    results.sort_by_key(|result| result.0);
    // The reason for stopping is told rather than that the others were stopped by it.
    if let Some(first) = results
        .iter()
        .position(|(_, result)| matches!(result, Err(error) if !matches!(error, Error::Stopped)))
    {
        return results.swap_remove(first).1.map(|_| Vec::new());
    }
    stop.check()?;
    tick(&board.progress())?;
    results.into_iter().map(|(_, result)| result).collect()
}
