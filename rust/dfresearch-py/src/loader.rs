//! `Loader`: its settings, where it stands, and the state that is saved.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use dfresearch_core::loader::{EpochOrder, LoaderSettings, Quarantined, RecordCache, Shard};
use dfresearch_core::samples::SampleList;
use dfresearch_core::{Error, Label};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{argument_error, run_detached, run_watched, to_exception};
use crate::loader_iterator::{LoaderIterator, Progress, Running, forked, lock, register};
use crate::pipeline::{Pipeline, PipelineKeywords};
use crate::sample_cache::{SampleCacheReport, WarmReport, bytes_of_gigabytes};
use crate::store::Samples;

/// Batches that wait for the consumer unless the caller says otherwise.
const DEFAULT_PREFETCH: usize = 4;

/// Frames of a clip unless the caller says otherwise, as the reference has it.
const DEFAULT_NUM_FRAMES: usize = 16;

/// Batches from files; each iteration goes through one epoch.
#[pyclass(module = "dfresearch_rs", weakref)]
pub struct Loader {
    samples: Arc<SampleList>,
    pipeline: Pipeline,
    settings: LoaderSettings,
    cache: Option<Arc<RecordCache>>,
    progress: Arc<Mutex<Progress>>,
    running: Mutex<Option<Running>>,
    process: u32,
}

/// As many threads as this process may run at the same time.
fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[pymethods]
impl Loader {
    #[new]
    #[pyo3(signature = (
        samples, *, modality, batch_size = 32, size = [224, 224], mode = "competition", recompress = true,
        sampling = "first", num_frames = DEFAULT_NUM_FRAMES, frame_rate = None, sample_rate = 16_000,
        duration_seconds = 6.0, crop = "center", augment = None, shuffle = false, drop_last = false,
        num_workers = None, prefetch = DEFAULT_PREFETCH, seed = 42, epoch = 0, rank = 0, world_size = 1,
        sample_cache = None, sample_cache_gb = None,
    ), text_signature = "(samples, *, modality, batch_size=32, size=(224, 224), mode='competition', recompress=True, \
        sampling='first', num_frames=16, frame_rate=None, sample_rate=16000, duration_seconds=6.0, crop='center', \
        augment=None, shuffle=False, drop_last=False, num_workers=None, prefetch=4, seed=42, epoch=0, rank=0, \
        world_size=1, sample_cache=None, sample_cache_gb=None)")]
    #[allow(clippy::too_many_arguments, reason = "keywords of a Python constructor")]
    fn new(
        samples: &Bound<'_, PyAny>,
        modality: &str,
        batch_size: usize,
        size: [usize; 2],
        mode: &str,
        recompress: bool,
        sampling: &str,
        num_frames: usize,
        frame_rate: Option<f64>,
        sample_rate: u32,
        duration_seconds: f64,
        crop: &str,
        augment: Option<&Bound<'_, PyAny>>,
        shuffle: bool,
        drop_last: bool,
        num_workers: Option<usize>,
        prefetch: usize,
        seed: u64,
        epoch: u64,
        rank: usize,
        world_size: usize,
        sample_cache: Option<PathBuf>,
        sample_cache_gb: Option<f64>,
    ) -> PyResult<Self> {
        let py = samples.py();
        let list = extract_samples(samples)?;
        let num_workers = num_workers.unwrap_or_else(all_cores);
        let shard = Shard { rank, world_size };
        let settings = LoaderSettings { batch_size, shuffle, drop_last, num_workers, prefetch, seed, shard };
        run_detached(py, || settings.check())?;
        let keywords = PipelineKeywords {
            modality,
            size,
            mode,
            recompress,
            sampling,
            num_frames,
            frame_rate,
            sample_rate,
            duration_seconds,
            crop,
            augment,
        };
        let pipeline = Pipeline::new(py, &keywords)?;
        let cache = run_detached(py, || {
            let max_bytes = sample_cache_gb.map(bytes_of_gigabytes).transpose()?;
            let open = |folder: PathBuf| pipeline.open_cache(list.clone(), &folder, max_bytes).map(Arc::new);
            sample_cache.map(open).transpose()
        })?;
        let progress = Progress { epoch, resume: true, ..Progress::default() };
        Ok(Self {
            samples: list,
            pipeline,
            settings,
            cache,
            progress: Arc::new(Mutex::new(progress)),
            running: Mutex::default(),
            process: std::process::id(),
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let progress = self.progress(py)?;
        let left_out = progress.left_out.filter(|_| progress.is_running);
        let left_out = left_out.unwrap_or_else(|| self.left_out_next(&progress));
        let share = self.settings.shard.len_of(self.samples.len() - left_out);
        Ok(self.settings.steps(share))
    }

    /// Starts the next epoch, or the one that `set_epoch` or `load_state_dict` named.
    fn __iter__(&self, py: Python<'_>) -> PyResult<LoaderIterator> {
        self.close(py)?;
        let (epoch, step, left_out, active) = {
            let progress = self.progress(py)?;
            let (epoch, step, left_out) = if progress.resume {
                (progress.epoch, progress.step, progress.left_out)
            } else {
                (progress.epoch.saturating_add(1), 0, None)
            };
            let left_out = left_out.unwrap_or_else(|| self.left_out_next(&progress));
            let active = progress.active(self.samples.len(), left_out);
            if let (true, Some(first)) = (active.is_empty(), progress.quarantined.first()) {
                let reason = format!("all {left_out} samples are quarantined; the first: {first}");
                return Err(to_exception(py, Error::Loader { reason }));
            }
            (epoch, step, left_out, active)
        };
        let (samples, pipeline, settings) = (self.samples.clone(), &self.pipeline, self.settings);
        let cache = self.cache.clone();
        let running = run_detached(py, || {
            let order = EpochOrder::new(active.into_iter(), &settings, epoch);
            pipeline.start(samples, cache, &settings, order, step)
        })?;
        let running = Arc::new(Mutex::new(Some(running)));
        register(&running);
        *lock(&self.running) = Some(running.clone());
        let mut progress = self.progress(py)?;
        (progress.epoch, progress.step, progress.left_out) = (epoch, step, Some(left_out));
        (progress.resume, progress.is_running) = (false, true);
        progress.iteration += 1;
        let (number, process) = (progress.iteration, self.process);
        Ok(LoaderIterator { running, progress: self.progress.clone(), number, process })
    }

    fn set_epoch(&self, py: Python<'_>, epoch: u64) -> PyResult<()> {
        self.close(py)?;
        self.progress(py)?.prepare(epoch);
        Ok(())
    }

    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = PyDict::new(py);
        for (name, value) in self.identity() {
            state.set_item(name, value)?;
        }
        state.set_item("pipeline", self.pipeline.describe())?;
        let progress = self.progress(py)?;
        state.set_item("epoch", progress.epoch)?;
        state.set_item("step", progress.step)?;
        state.set_item("left_out", progress.left_out)?;
        let failed = progress
            .quarantined
            .iter()
            .map(|sample| (sample.index, sample.reason.clone(), sample.is_undecodable));
        state.set_item("quarantined", failed.collect::<Vec<_>>())?;
        Ok(state)
    }

    fn load_state_dict(&self, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = state.py();
        let entry = |name: &str| {
            state
                .get_item(name)?
                .ok_or_else(|| argument_error(py, "state_dict", format!("{name:?} is missing")))
        };
        for (name, ours) in self.identity() {
            let theirs: u64 = entry(name)?.extract()?;
            if theirs != ours {
                let reason = format!("it was saved with {name} = {theirs}, this loader has {ours}");
                return Err(argument_error(py, "state_dict", reason));
            }
        }
        let (theirs, ours): (String, _) = (entry("pipeline")?.extract()?, self.pipeline.describe());
        if theirs != ours {
            let reason = format!("it was saved with {theirs}, this loader has {ours}");
            return Err(argument_error(py, "state_dict", reason));
        }
        let failed: Vec<(usize, String, bool)> = entry("quarantined")?.extract()?;
        let left_out: Option<usize> = entry("left_out")?.extract()?;
        let indices: HashSet<usize> = failed.iter().map(|(index, ..)| *index).collect();
        let is_ours = indices.len() == failed.len()
            && indices.iter().all(|index| *index < self.samples.len())
            && left_out.is_none_or(|left_out| left_out <= failed.len());
        if !is_ours {
            return Err(argument_error(py, "state_dict", "its quarantined samples are not this loader's"));
        }
        let (epoch, step) = (entry("epoch")?.extract()?, entry("step")?.extract()?);
        self.close(py)?;
        let quarantined = failed.into_iter().map(|(index, reason, is_undecodable)| Quarantined {
            index,
            path: self.samples.path(index),
            reason,
            is_undecodable,
        });
        let mut progress = self.progress(py)?;
        progress.prepare(epoch);
        progress.quarantined = quarantined.collect();
        (progress.step, progress.left_out) = (step, left_out);
        Ok(())
    }

    #[getter]
    fn num_samples(&self) -> usize {
        self.samples.len()
    }

    #[getter]
    fn quarantined(&self, py: Python<'_>) -> PyResult<Vec<(PathBuf, String)>> {
        Ok(self.progress(py)?.quarantined.iter().map(path_and_reason).collect())
    }

    #[getter]
    fn undecodable(&self, py: Python<'_>) -> PyResult<Vec<(PathBuf, String)>> {
        let progress = self.progress(py)?;
        let refused = progress.quarantined.iter().filter(|sample| sample.is_undecodable);
        Ok(refused.map(path_and_reason).collect())
    }

    #[getter]
    fn data_wait_seconds(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.progress(py)?.data_wait.as_secs_f64())
    }

    #[pyo3(signature = (progress = None, *, num_workers = None))]
    fn warm(
        &self,
        py: Python<'_>,
        progress: Option<&Bound<'_, PyAny>>,
        num_workers: Option<usize>,
    ) -> PyResult<WarmReport> {
        if self.process != std::process::id() {
            return Err(forked(py));
        }
        let Some(cache) = &self.cache else {
            return Err(argument_error(py, "sample_cache", "this loader was made without a cache to fill"));
        };
        let (done, total) = (AtomicUsize::new(0), self.samples.len());
        let progress = progress.map(|progress| progress.clone().unbind());
        let watch = |py: Python<'_>| {
            py.check_signals()?;
            let told = progress.as_ref().map(|told| told.call1(py, (done.load(Ordering::Relaxed), total)));
            told.transpose().map(drop)
        };
        let report = run_watched(py, watch, |stop| {
            self.pipeline.warm(&self.samples, cache, num_workers.unwrap_or_else(all_cores), &done, stop)
        })?;
        watch(py)?;
        Ok(report.into())
    }

    fn sample_cache_report(&self) -> Option<SampleCacheReport> {
        self.cache.as_ref().map(|cache| cache.store().report().into())
    }

    /// Stops the running epoch and waits for its threads.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.progress(py)?.is_running = false;
        let running = lock(&self.running).take();
        run_detached(py, || {
            if let Some(running) = running {
                drop(lock(&running).take());
            }
            Ok(())
        })
    }

    fn __repr__(&self) -> String {
        let LoaderSettings { batch_size, num_workers, seed, .. } = self.settings;
        let samples = self.samples.len();
        format!("Loader({samples} samples, batch_size={batch_size}, num_workers={num_workers}, seed={seed})")
    }
}

impl Loader {
    /// The progress, unless this is a forked child, in which a thread that is gone may hold the lock.
    fn progress(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Progress>> {
        if self.process == std::process::id() { Ok(lock(&self.progress)) } else { Err(forked(py)) }
    }

    /// What has to be the same for a saved position to mean the same batches.
    fn identity(&self) -> [(&'static str, u64); 7] {
        let LoaderSettings { batch_size, shuffle, drop_last, seed, shard, .. } = self.settings;
        [
            ("num_samples", self.samples.len() as u64),
            ("batch_size", batch_size as u64),
            ("shuffle", u64::from(shuffle)),
            ("drop_last", u64::from(drop_last)),
            ("seed", seed),
            ("rank", shard.rank as u64),
            ("world_size", shard.world_size as u64),
        ]
    }

    /// How many known failures the next epoch leaves out.
    ///
    /// Processes that share an epoch know of their own failures only: to keep their shares disjoint and
    /// equally long, none of them leaves anything out of the order, and failing slots are dropped again.
    fn left_out_next(&self, progress: &Progress) -> usize {
        if self.settings.shard.world_size > 1 { 0 } else { progress.quarantined.len() }
    }
}

fn path_and_reason(sample: &Quarantined) -> (PathBuf, String) {
    (sample.path.clone(), sample.reason.clone())
}

/// A `Samples` as it is, or any sequence of (path, label).
fn extract_samples(samples: &Bound<'_, PyAny>) -> PyResult<Arc<SampleList>> {
    if let Ok(samples) = samples.cast::<Samples>() {
        return Ok(samples.get().list());
    }
    let mut list: Vec<(PathBuf, Label)> = Vec::new();
    for sample in samples.try_iter()? {
        let (path, label): (PathBuf, i64) = sample?.extract()?;
        let label = run_detached(samples.py(), || Label::try_from(label))?;
        list.push((path, label));
    }
    run_detached(samples.py(), || SampleList::from_pairs(list).map(Arc::new))
}
