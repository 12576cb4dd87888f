//! One pass over the samples: worker threads, open batches, and the consumer's side.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::record_cache::RecordCache;
use super::worker::Worker;
use super::{BatchAllocator, EpochOrder, LoaderSettings, Quarantined, SamplePipeline};
use super::{is_sample_failure, panicked};
use crate::error::{Error, Result};
use crate::modality::Label;
use crate::rng::RandomKey;
use crate::samples::SampleList;

/// How long a dropped epoch waits for its threads, each of which is at most in the middle of one sample.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// What the consumer gets when it asks for the next batch.
#[derive(Debug)]
pub enum NextBatch<B> {
    /// A batch with at least one sample, in the order of the epoch.
    Ready {
        /// The batch's memory.
        batch: B,
        /// One label for each sample.
        labels: Vec<Label>,
        /// The step of the epoch that follows this batch.
        next_step: usize,
    },
    /// Nothing came within the given time: ask again.
    TimedOut,
    /// The epoch is over.
    End,
}

/// A running pass over the samples. Dropping it stops and joins its threads.
pub struct Epoch<A: BatchAllocator> {
    shared: Arc<Shared<A>>,
    samples: Arc<SampleList>,
    workers: Vec<JoinHandle<()>>,
    process: u32,
}

struct Shared<A: BatchAllocator> {
    state: Mutex<State<A>>,
    /// Signalled when workers may find something to do.
    room: Condvar,
    /// Signalled when the consumer may find a finished batch.
    finished: Condvar,
    allocator: A,
    cache: Option<Arc<RecordCache>>,
    order: EpochOrder,
    prefetch: usize,
}

struct State<A: BatchAllocator> {
    /// Batches between allocation and delivery; the front is the next one to deliver.
    open: VecDeque<OpenBatch<A>>,
    /// The step of the front of `open`.
    front_step: usize,
    delivered_samples: usize,
    /// Whether the epoch began before this pass, which then cannot tell whether all of its samples failed.
    is_resumed: bool,
    failed_samples: usize,
    /// Failures of delivered batches that nobody has asked for yet.
    quarantined: Vec<Quarantined>,
    first_failure: Option<String>,
    fatal: Option<Error>,
    stopped: bool,
    running_workers: usize,
    /// Whether a batch was opened yet.
    opened_any: bool,
}

struct OpenBatch<A: BatchAllocator> {
    batch: A::Batch,
    /// Slots that no worker has claimed yet, last sample first.
    unclaimed: Vec<A::Slot>,
    size: usize,
    unfinished: usize,
    failed: Vec<(usize, Quarantined)>,
}

/// What a worker has to do.
enum Task<A: BatchAllocator> {
    /// A sample is to be loaded.
    Load(Claim<A>),
    /// A batch was opened: those that will be opened while it is filled are to come into memory.
    ReadAhead(Range<usize>),
}

/// One sample for a worker to load.
struct Claim<A: BatchAllocator> {
    step: usize,
    position: usize,
    sample: usize,
    slot: A::Slot,
}

impl<A: BatchAllocator> Epoch<A> {
    /// Starts the threads of an epoch at batch `first_step` of `order`. Records come from `cache`, as far as it has
    /// them, and go there.
    ///
    /// # Errors
    /// [`Error::Argument`] for a cache that was made for other samples; [`Error::Loader`] when a thread cannot be
    /// started.
    pub fn start<P: SamplePipeline>(
        samples: Arc<SampleList>,
        pipeline: Arc<P>,
        allocator: A,
        cache: Option<Arc<RecordCache>>,
        settings: &LoaderSettings,
        order: EpochOrder,
        first_step: usize,
    ) -> Result<Self> {
        if let Some(cache) = &cache {
            cache.check_samples(&samples)?;
            cache.store().refresh();
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                open: VecDeque::new(),
                front_step: first_step,
                delivered_samples: 0,
                is_resumed: first_step > 0,
                failed_samples: 0,
                quarantined: Vec::new(),
                first_failure: None,
                fatal: None,
                stopped: false,
                running_workers: 0,
                opened_any: false,
            }),
            room: Condvar::new(),
            finished: Condvar::new(),
            allocator,
            cache,
            order,
            prefetch: settings.prefetch,
        });
        let mut running = Self { shared, samples, workers: Vec::new(), process: std::process::id() };
        for number in 0..settings.num_workers {
            let (shared, samples) = (running.shared.clone(), running.samples.clone());
            let (pipeline, seed) = (pipeline.clone(), settings.seed);
            running.shared.lock().running_workers += 1;
            let worker = std::thread::Builder::new()
                .name(format!("dfresearch-loader-{number}"))
                .spawn(move || {
                    shared.work(&samples, &*pipeline, seed);
                    shared.lock().running_workers -= 1;
                    shared.finished.notify_all();
                })
                .map_err(|error| {
                    running.shared.lock().running_workers -= 1;
                    Error::Loader { reason: format!("cannot start a thread: {error}") }
                })?;
            running.workers.push(worker);
        }
        Ok(running)
    }

    /// Waits at most `patience` for the next batch.
    ///
    /// # Errors
    /// [`Error::Loader`] in a forked child, or when every sample of the epoch failed; any error of the
    /// pipeline that is not the fault of a file. After an error the epoch is over.
    pub fn next_batch(&mut self, patience: Duration) -> Result<NextBatch<A::Batch>> {
        self.check_process()?;
        let shared = self.shared.clone();
        let deadline = Instant::now() + patience;
        let mut state = shared.lock();
        loop {
            if let Some(error) = state.fatal.take() {
                shared.stop(&mut state);
                return Err(error);
            }
            if state.stopped {
                return Ok(NextBatch::End);
            }
            if state.front_step >= shared.order.steps() {
                shared.stop(&mut state);
                return all_failed(&state).map_or(Ok(NextBatch::End), Err);
            }
            if state.open.front().is_some_and(|batch| batch.unfinished == 0) {
                match shared.deliver(&mut state, &self.samples) {
                    Ok(Some(ready)) => return Ok(ready),
                    Ok(None) => continue,
                    Err(error) => {
                        shared.stop(&mut state);
                        return Err(error);
                    }
                }
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(NextBatch::TimedOut);
            };
            state = shared.finished.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The samples that failed in the batches delivered since the last call, in the order of the epoch.
    ///
    /// # Errors
    /// [`Error::Loader`] in a forked child.
    pub fn take_quarantined(&self) -> Result<Vec<Quarantined>> {
        self.check_process()?;
        Ok(std::mem::take(&mut self.shared.lock().quarantined))
    }

    /// Stops the threads without waiting for them; the epoch is over.
    pub fn stop(&self) {
        if self.check_process().is_ok() {
            self.shared.stop(&mut self.shared.lock());
        }
    }

    /// After a fork only the forking thread lives on: nobody would ever fill a batch, and the lock may
    /// be held by a thread that is gone.
    fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let reason = "its threads did not survive the fork; make a new loader in the child process";
        Err(Error::Loader { reason: reason.into() })
    }
}

impl<A: BatchAllocator> Drop for Epoch<A> {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            // The threads belong to the parent: there is nobody to join here.
            self.workers.drain(..).for_each(std::mem::forget);
            return;
        }
        let mut state = self.shared.lock();
        self.shared.stop(&mut state);
        let is_running = |state: &mut State<A>| state.running_workers > 0;
        let waited = self.shared.finished.wait_timeout_while(state, SHUTDOWN_PATIENCE, is_running);
        let some_hang = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        for worker in self.workers.drain(..) {
            // A custom operation may hang for ever; such a thread is left to itself and ends after it.
            if !some_hang || worker.is_finished() {
                // A worker's own panics are caught where they arise; nothing is left to report.
                let _ = worker.join();
            }
        }
    }
}

/// An augmentation that fails says nothing of the sample that it failed on.
fn naming_sample(error: Error, path: &Path) -> Error {
    match error {
        Error::Augment { operation, reason } => {
            Error::Augment { operation, reason: format!("{reason} (on {})", path.display()) }
        }
        other => other,
    }
}

fn all_failed<A: BatchAllocator>(state: &State<A>) -> Option<Error> {
    let first = state.first_failure.as_ref()?;
    if state.delivered_samples > 0 || state.is_resumed {
        return None;
    }
    let count = state.failed_samples;
    let reason = format!("all {count} samples failed to load; the first: {first}");
    Some(Error::Loader { reason })
}

impl<A: BatchAllocator> Shared<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // No code that can panic runs under this lock, except an allocator that is out of memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, state: &mut State<A>) {
        state.stopped = true;
        self.room.notify_all();
        self.finished.notify_all();
    }

    /// Takes the finished front batch; nothing when all of its samples failed.
    fn deliver(&self, state: &mut State<A>, samples: &SampleList) -> Result<Option<NextBatch<A::Batch>>> {
        let Some(OpenBatch { batch, size, mut failed, .. }) = state.open.pop_front() else {
            return Ok(None);
        };
        let indices = self.order.batch(state.front_step);
        state.front_step += 1;
        self.room.notify_all();

        failed.sort_unstable_by_key(|(position, _)| *position);
        let is_kept = |position: &usize| failed.iter().all(|(failed, _)| failed != position);
        let kept: Vec<usize> = (0..size).filter(is_kept).collect();
        let labels = kept.iter().map(|&position| samples.label(indices[position] as usize)).collect();
        state.failed_samples += failed.len();
        state.quarantined.extend(failed.into_iter().map(|(_, sample)| sample));
        if state.first_failure.is_none() {
            state.first_failure = state.quarantined.first().map(Quarantined::to_string);
        }
        state.delivered_samples += kept.len();
        let next_step = state.front_step;
        match kept.len() {
            0 => Ok(None),
            count if count == size => Ok(Some(NextBatch::Ready { batch, labels, next_step })),
            _ => {
                let batch = self.allocator.keep(batch, &kept)?;
                Ok(Some(NextBatch::Ready { batch, labels, next_step }))
            }
        }
    }

    fn work<P: SamplePipeline>(&self, samples: &SampleList, pipeline: &P, seed: u64) {
        let cache = self.cache.as_deref();
        let new_worker = || Worker::new(pipeline, cache);
        let mut worker = new_worker();
        while let Some(task) = self.claim(pipeline.slot_bytes()) {
            let Claim { step, position, sample, mut slot } = match task {
                Task::Load(claim) => claim,
                Task::ReadAhead(steps) => {
                    for step in steps {
                        cache.inspect(|cache| cache.read_ahead(self.order.batch(step)));
                    }
                    continue;
                }
            };
            let path = samples.path(sample);
            let key = RandomKey { seed, epoch: self.order.epoch(), sample: sample as u64 };
            let loaded = catch_unwind(AssertUnwindSafe(|| worker.load(&path, key, slot.as_mut())));
            let result = loaded.unwrap_or_else(|_| {
                // Buffers may be half written after a panic.
                worker = new_worker();
                Err(panicked(&path))
            });
            // The slot is given back before the batch can count as finished.
            drop(slot);
            self.finish(step, position, result.map_err(|error| (error, sample, path)));
        }
    }

    /// Waits for a sample to load; nothing when the epoch is over for the workers.
    fn claim(&self, slot_bytes: usize) -> Option<Task<A>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let front = state.front_step;
            let unclaimed = state.open.iter().position(|batch| !batch.unclaimed.is_empty());
            if let Some(number) = unclaimed {
                let batch = &mut state.open[number];
                let position = batch.size - batch.unclaimed.len();
                if let Some(slot) = batch.unclaimed.pop() {
                    let step = front + number;
                    let sample = self.order.batch(step)[position] as usize;
                    return Some(Task::Load(Claim { step, position, sample, slot }));
                }
            }
            let next = front + state.open.len();
            if next >= self.order.steps() {
                return None;
            }
            if state.open.len() < self.prefetch {
                let size = self.order.batch(next).len();
                match self.allocator.allocate(size, slot_bytes) {
                    Ok((batch, mut unclaimed)) => {
                        unclaimed.reverse();
                        let failed = Vec::new();
                        state.open.push_back(OpenBatch { batch, unclaimed, size, unfinished: size, failed });
                        self.room.notify_all();
                        if self.cache.is_some() {
                            let ahead = next + self.prefetch;
                            // The first one opens the whole window.
                            let first = if state.opened_any { ahead } else { next + 1 };
                            state.opened_any = true;
                            return Some(Task::ReadAhead(first..ahead + 1));
                        }
                    }
                    Err(error) => self.fail(&mut state, error),
                }
                continue;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, step: usize, position: usize, result: Result<(), (Error, usize, PathBuf)>) {
        let mut state = self.lock();
        let number = step - state.front_step;
        let Some(batch) = state.open.get_mut(number) else { return };
        batch.unfinished -= 1;
        let is_finished = batch.unfinished == 0;
        if let Err((error, index, path)) = result {
            if is_sample_failure(&error) {
                batch.failed.push((position, Quarantined::new(index, path, &error)));
            } else {
                self.fail(&mut state, naming_sample(error, &path));
            }
        }
        if is_finished && number == 0 {
            self.finished.notify_all();
        }
    }

    fn fail(&self, state: &mut State<A>, error: Error) {
        state.fatal.get_or_insert(error);
        self.stop(state);
    }
}
