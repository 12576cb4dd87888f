//! Fetching datasets: the plan, the work, and how far it is.

use std::path::PathBuf;

use dfresearch_core::catalog::DatasetDefinition;
use dfresearch_core::http::HttpSettings;
use dfresearch_core::prepare::{self, DatasetOutcome, DatasetPlan, PrepareOptions, PrepareProgress};
use dfresearch_core::stop::StopFlag;
use dfresearch_core::{Error, Result};
use pyo3::prelude::*;

use crate::errors::{argument_error, run_detached};

/// How far a dataset is.
#[pyclass(frozen, get_all, module = "dfresearch_rs", name = "DatasetProgress")]
pub struct PyDatasetProgress {
    name: String,
    state: &'static str,
    samples: usize,
    wanted: usize,
    bytes: u64,
}

/// How far all of them are.
#[pyclass(frozen, get_all, module = "dfresearch_rs", name = "PrepareProgress")]
pub struct PyPrepareProgress {
    datasets: Vec<Py<PyDatasetProgress>>,
    samples: usize,
    wanted: usize,
    bytes: u64,
    seconds: f64,
}

/// How the fetch of a dataset ended.
#[pyclass(frozen, get_all, module = "dfresearch_rs", name = "DatasetOutcome")]
pub struct PyDatasetOutcome {
    name: String,
    status: &'static str,
    samples: usize,
    wanted: usize,
    bytes: u64,
    reason: String,
}

/// What would be fetched of a dataset.
#[pyclass(frozen, get_all, module = "dfresearch_rs", name = "DatasetPlan")]
pub struct PyDatasetPlan {
    name: String,
    planned: &'static str,
    files: Option<usize>,
    samples: Option<usize>,
    bytes: Option<u64>,
    note: String,
}

impl PyPrepareProgress {
    fn new(py: Python<'_>, progress: &PrepareProgress) -> PyResult<Self> {
        let sum = |count: fn(&prepare::DatasetProgress) -> usize| progress.datasets.iter().map(count).sum();
        let dataset = |dataset: &prepare::DatasetProgress| {
            Py::new(
                py,
                PyDatasetProgress {
                    name: dataset.name.clone(),
                    state: dataset.state.name(),
                    samples: dataset.samples,
                    wanted: dataset.wanted,
                    bytes: dataset.bytes,
                },
            )
        };
        Ok(Self {
            samples: sum(|dataset| dataset.samples),
            wanted: sum(|dataset| dataset.wanted),
            bytes: progress.datasets.iter().map(|dataset| dataset.bytes).sum(),
            seconds: progress.seconds,
            datasets: progress.datasets.iter().map(dataset).collect::<PyResult<_>>()?,
        })
    }
}

impl From<DatasetOutcome> for PyDatasetOutcome {
    fn from(outcome: DatasetOutcome) -> Self {
        let DatasetOutcome { name, status, samples, wanted, bytes, reason } = outcome;
        Self { name, status: status.name(), samples, wanted, bytes, reason }
    }
}

impl From<DatasetPlan> for PyDatasetPlan {
    fn from(plan: DatasetPlan) -> Self {
        let DatasetPlan { name, planned, files, samples, bytes, note } = plan;
        Self { name, planned: planned.name(), files, samples, bytes, note }
    }
}

/// Fetches datasets into the cache.
#[pyfunction]
#[pyo3(signature = (
    cache_dir, definitions, *, max_samples=500, workers=4, seed=42, retry=false, max_disk_bytes=None, progress=None,
))]
#[allow(clippy::too_many_arguments)] // The keywords of the Python function.
pub fn prepare_datasets(
    py: Python<'_>,
    cache_dir: PathBuf,
    definitions: Vec<Bound<'_, PyAny>>,
    max_samples: usize,
    workers: usize,
    seed: u64,
    retry: bool,
    max_disk_bytes: Option<u64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<PyDatasetOutcome>> {
    let definitions = read_definitions(py, &definitions)?;
    let options = |http| PrepareOptions { cache_dir, max_samples, workers, seed, retry, max_disk_bytes, http };
    let outcomes = run_with_progress(py, progress, |stop, tick| {
        prepare::prepare(&definitions, &options(HttpSettings::from_environment()?), stop, tick)
    })?;
    Ok(outcomes.into_iter().map(PyDatasetOutcome::from).collect())
}

/// What `prepare_datasets` would fetch.
#[pyfunction]
#[pyo3(signature = (cache_dir, definitions, *, max_samples=500, workers=4, seed=42, progress=None))]
pub fn plan_datasets(
    py: Python<'_>,
    cache_dir: PathBuf,
    definitions: Vec<Bound<'_, PyAny>>,
    max_samples: usize,
    workers: usize,
    seed: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<PyDatasetPlan>> {
    let definitions = read_definitions(py, &definitions)?;
    let options = |http| PrepareOptions {
        cache_dir,
        max_samples,
        workers,
        seed,
        retry: false,
        max_disk_bytes: None,
        http,
    };
    let plans = run_with_progress(py, progress, |stop, tick| {
        prepare::plan(&definitions, &options(HttpSettings::from_environment()?), stop, tick)
    })?;
    Ok(plans.into_iter().map(PyDatasetPlan::from).collect())
}

/// Definitions as scripts hold them: dictionaries with the fields of the definition files.
fn read_definitions(py: Python<'_>, definitions: &[Bound<'_, PyAny>]) -> PyResult<Vec<DatasetDefinition>> {
    let dumps = py.import("json")?.getattr("dumps")?;
    let read = |definition: &Bound<'_, PyAny>| {
        let text: String = dumps.call1((definition,))?.extract()?;
        DatasetDefinition::from_json(&text)
            .map_err(|error| argument_error(py, "definitions", format!("{text}: {error}")))
    };
    definitions.iter().map(read).collect()
}

/// Runs work that reports how far it is, and that Ctrl-C or an exception of `progress` ends cleanly.
fn run_with_progress<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&StopFlag, &mut dyn FnMut(&PrepareProgress) -> Result<()>) -> Result<T> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = run_detached(py, || {
        let mut exception = None;
        let result = work(&StopFlag::default(), &mut |state| {
            let told = Python::attach(|py| {
                py.check_signals()?;
                match &progress {
                    Some(progress) => progress.call1(py, (PyPrepareProgress::new(py, state)?,)).map(drop),
                    None => Ok(()),
                }
            });
            told.map_err(|raised| {
                exception = Some(raised);
                Error::Stopped
            })
        });
        raised = exception;
        result
    });
    raised.map_or(result, Err)
}
