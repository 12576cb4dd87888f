//! One epoch of a `Loader`, and what it shares with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use dfresearch_core::loader::{Epoch, NextBatch, Quarantined};
use dfresearch_core::{Error, Label};
use pyo3::prelude::*;
use tch::Tensor;

use crate::errors::{run_detached, to_exception};
use crate::tensors::{TensorAllocator, wrap_tensor};

/// How long a wait for a batch lasts before Python's signals are looked at.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

type RunningEpoch = Mutex<Option<Epoch<TensorAllocator>>>;

/// An epoch, until it is over or closed.
pub type Running = Arc<RunningEpoch>;

/// What a loader remembers from batch to batch.
#[derive(Default)]
pub struct Progress {
    pub epoch: u64,
    pub step: usize,
    /// The samples that failed in this epoch or an earlier one.
    pub quarantined: Vec<Quarantined>,
    /// How many of them were known when this epoch began: these are not listed in it. None before it has begun.
    pub left_out: Option<usize>,
    pub data_wait: Duration,
    /// Whether the next iteration starts at `epoch` and `step` instead of the next epoch.
    pub resume: bool,
    pub is_running: bool,
    /// Counts iterations, so that an outdated iterator is found out.
    pub iteration: u64,
}

impl Progress {
    /// Lets the next iteration be a whole epoch.
    pub fn prepare(&mut self, epoch: u64) {
        (self.epoch, self.step, self.left_out, self.resume) = (epoch, 0, None, true);
    }

    /// The samples that are listed when the first `left_out` failures are not.
    pub fn active(&self, total: usize, left_out: usize) -> Vec<u32> {
        let mut left_out: Vec<usize> = self.quarantined[..left_out].iter().map(|q| q.index).collect();
        left_out.sort_unstable();
        (0..total).filter(|index| left_out.binary_search(index).is_err()).map(|index| index as u32).collect()
    }

    /// Notes what failed in the running epoch.
    fn note(&mut self, failed: Vec<Quarantined>) {
        for sample in failed {
            if !self.quarantined.iter().any(|known| known.index == sample.index) {
                self.quarantined.push(sample);
            }
        }
    }
}

/// Whoever panicked under a lock left what is under it as it was.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One epoch of a `Loader`.
#[pyclass(module = "dfresearch_rs")]
pub struct LoaderIterator {
    pub running: Running,
    pub progress: Arc<Mutex<Progress>>,
    /// Which iteration of the loader this is.
    pub number: u64,
    pub process: u32,
}

type Batch<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

#[pymethods]
impl LoaderIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Batch<'py>>> {
        self.check_current(py)?;
        let begun = Instant::now();
        let next = self.next_tensors(py);
        lock(&self.progress).data_wait += begun.elapsed();
        let Some((inputs, labels)) = next? else { return Ok(None) };
        Ok(Some((wrap_tensor(py, &inputs)?, wrap_tensor(py, &labels)?)))
    }
}

impl LoaderIterator {
    fn next_tensors(&self, py: Python<'_>) -> PyResult<Option<(Tensor, Tensor)>> {
        loop {
            let outcome = run_detached(py, || {
                let mut running = lock(&self.running);
                let Some(epoch) = running.as_mut() else { return Ok(NextBatch::End) };
                let outcome = epoch.next_batch(SIGNAL_INTERVAL);
                lock(&self.progress).note(epoch.take_quarantined()?);
                if !matches!(outcome, Ok(NextBatch::Ready { .. } | NextBatch::TimedOut)) {
                    drop(running.take());
                }
                outcome
            });
            match outcome {
                Ok(NextBatch::Ready { batch, labels, next_step }) => {
                    lock(&self.progress).step = next_step;
                    let labels: Vec<i64> = labels.into_iter().map(Label::index).collect();
                    let labels = Tensor::from_slice(&labels);
                    return run_detached(py, || Ok(Some((batch.into_tensor()?, labels))));
                }
                Ok(NextBatch::TimedOut) => py.check_signals()?,
                Ok(NextBatch::End) => {
                    self.end();
                    return Ok(None);
                }
                Err(error) => {
                    lock(&self.progress).is_running = false;
                    return Err(error);
                }
            }
        }
    }

    /// After a whole epoch a saved position means the next one.
    fn end(&self) {
        let mut progress = lock(&self.progress);
        if progress.is_running && progress.iteration == self.number {
            progress.is_running = false;
            let next = progress.epoch.saturating_add(1);
            progress.prepare(next);
        }
    }

    fn check_current(&self, py: Python<'_>) -> PyResult<()> {
        if self.process != std::process::id() {
            return Err(forked(py));
        }
        if lock(&self.progress).iteration != self.number {
            let reason = "another iteration of this loader has begun since".into();
            return Err(to_exception(py, Error::Loader { reason }));
        }
        Ok(())
    }
}

impl Drop for LoaderIterator {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is gone.
        if self.process == std::process::id() {
            // Workers may need the interpreter for a custom operation before they can be joined.
            Python::attach(|py| py.detach(|| drop(lock(&self.running).take())));
        }
    }
}

/// What every use in a forked child gets.
pub fn forked(py: Python<'_>) -> PyErr {
    let reason = "its threads did not survive the fork; make a new loader in the child process".into();
    to_exception(py, Error::Loader { reason })
}

/// Iterations whose threads may still run.
static LIVE: Mutex<Vec<(u32, Weak<RunningEpoch>)>> = Mutex::new(Vec::new());

/// Lets `close_loaders` find it.
pub fn register(running: &Running) {
    let mut live = lock(&LIVE);
    live.retain(|(_, other)| other.strong_count() > 0);
    live.push((std::process::id(), Arc::downgrade(running)));
}

/// Stops and joins all threads of all loaders; runs when the interpreter exits.
#[pyfunction]
pub fn close_loaders(py: Python<'_>) -> PyResult<()> {
    run_detached(py, || {
        let live: Vec<_> = lock(&LIVE).drain(..).collect();
        let ours = live.iter().filter(|(process, _)| *process == std::process::id());
        ours.filter_map(|(_, running)| running.upgrade()).for_each(|running| drop(lock(&running).take()));
        Ok(())
    })
}
