//! Filling the sample cache before the training begins, with every core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::worker::Worker;
use super::{Quarantined, RecordCache, SamplePipeline, is_sample_failure, panicked};
use crate::error::{Error, Result};
use crate::samples::SampleList;
use crate::stop::StopFlag;

/// What became of a sample whose record was to be in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Warmed {
    /// It was there.
    Present,
    /// It was made.
    Added,
    /// It was made, but it is too large to be kept, its file is, or the cache is full.
    NotKept,
}

/// What [`warm`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WarmReport {
    /// Records that were there already.
    pub present: usize,
    /// Records that were made and kept.
    pub added: usize,
    /// Samples that will be decoded in training: too large to be kept, or the cache is full.
    pub not_kept: usize,
    /// Samples that could not be loaded, in the order of the samples.
    pub failed: Vec<Quarantined>,
}

/// Makes the records of all samples that the cache does not hold, and counts in `done` how many it is through with.
/// Once the cache is full, the rest is not decoded.
///
/// # Errors
/// [`Error::Argument`] for a cache that was made for other samples; [`Error::Loader`] when a thread cannot be started;
/// [`Error::Stopped`]; any error that is not the fault of a file.
pub fn warm<P: SamplePipeline>(
    samples: &SampleList,
    pipeline: &P,
    cache: &RecordCache,
    num_workers: usize,
    done: &AtomicUsize,
    stop: &StopFlag,
) -> Result<WarmReport> {
    cache.check_samples(samples)?;
    cache.store().refresh();
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new(Ok(WarmReport::default()));
    let work = || {
        let mut worker = Worker::new(pipeline, Some(cache));
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= samples.len() {
                return;
            }
            let path = samples.path(index);
            let result = stop.check().and_then(|()| {
                catch_unwind(AssertUnwindSafe(|| worker.warm(&path, index))).unwrap_or_else(|_| {
                    worker = Worker::new(pipeline, Some(cache));
                    Err(panicked(&path))
                })
            });
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(report) = outcome.as_mut() else { return };
            match result {
                Ok(Warmed::Present) => report.present += 1,
                Ok(Warmed::Added) => report.added += 1,
                Ok(Warmed::NotKept) => report.not_kept += 1,
                Err(error) if is_sample_failure(&error) => {
                    report.failed.push(Quarantined::new(index, path, &error));
                }
                Err(error) => *outcome = Err(error),
            }
            drop(outcome);
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for number in 1..num_workers.min(samples.len()) {
            let thread = thread::Builder::new().name(format!("dfresearch-warm-{number}"));
            if let Err(error) = thread.spawn_scoped(scope, work) {
                let reason = format!("cannot start a thread: {error}");
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(Error::Loader { reason });
                break;
            }
        }
        work();
    });
    let mut report = outcome.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    report.failed.sort_unstable_by_key(|sample| sample.index);
    Ok(report)
}
