//! Fetching datasets: the plan, the work, and how far it is.

use std::path::PathBuf;

use dfresearch_core::catalog::DatasetDefinition;
use dfresearch_core::http::HttpSettings;
use dfresearch_core::prepare::{
    self, DatasetOutcome, DatasetPlan, DatasetProgress, PrepareOptions, PrepareProgress,
};
use dfresearch_core::stop::StopFlag;
use dfresearch_core::{Error, Result};
use pyo3::prelude::*;

use crate::errors::{argument_error, run_detached};

/// Name, state, samples, samples that are wanted, and bytes of a dataset.
type DatasetRow = (String, &'static str, usize, usize, u64);

/// How far all of them are.
#[pyclass(frozen, get_all, module = "dfresearch_rs", name = "PrepareProgress")]
pub struct PyPrepareProgress {
    datasets: Vec<DatasetRow>,
    samples: usize,
    wanted: usize,
    bytes: u64,
    bytes_per_second: f64,
    seconds_left: Option<f64>,
}

/// How the fetch of all of them ended.
#[pyclass(frozen, get_all, module = "dfresearch_rs", name = "PrepareReport")]
pub struct PyPrepareReport {
    datasets: Vec<Py<PyDatasetOutcome>>,
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
    media_type: &'static str,
    status: &'static str,
    files: Option<usize>,
    samples: Option<usize>,
    bytes: Option<u64>,
    note: String,
}

impl From<&PrepareProgress> for PyPrepareProgress {
    fn from(progress: &PrepareProgress) -> Self {
        let sum = |count: fn(&DatasetProgress) -> usize| progress.datasets.iter().map(count).sum();
        let row = |dataset: &DatasetProgress| {
            (dataset.name.clone(), dataset.state.name(), dataset.samples, dataset.wanted, dataset.bytes)
        };
        Self {
            samples: sum(|dataset| dataset.samples),
            wanted: sum(|dataset| dataset.wanted),
            bytes: progress.datasets.iter().map(|dataset| dataset.bytes).sum(),
            bytes_per_second: progress.bytes_per_second,
            seconds_left: progress.seconds_left,
            datasets: progress.datasets.iter().map(row).collect(),
        }
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
        let DatasetPlan { name, media_type, planned, files, samples, bytes, note } = plan;
        Self { name, media_type: media_type.name(), status: planned.name(), files, samples, bytes, note }
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
) -> PyResult<PyPrepareReport> {
    let definitions = read_definitions(py, &definitions)?;
    let options =
        |http| PrepareOptions { cache_dir, max_samples, workers, seed, retry, max_disk_bytes, http };
    let outcomes = run_with_progress(py, progress, |stop, tick| {
        prepare::prepare(&definitions, &options(HttpSettings::from_environment()?), stop, tick)
    })?;
    let datasets = outcomes.into_iter().map(|outcome| Py::new(py, PyDatasetOutcome::from(outcome)));
    Ok(PyPrepareReport { datasets: datasets.collect::<PyResult<_>>()? })
}

/// What `prepare_datasets` would fetch.
#[pyfunction]
#[pyo3(signature = (
    cache_dir, definitions, *, max_samples=500, workers=4, seed=42, retry=false, max_disk_bytes=None, progress=None,
))]
#[allow(clippy::too_many_arguments)] // The keywords of the Python function.
pub fn plan_datasets(
    py: Python<'_>,
    cache_dir: PathBuf,
    definitions: Vec<Bound<'_, PyAny>>,
    max_samples: usize,
    workers: usize,
    seed: u64,
    retry: bool,
    max_disk_bytes: Option<u64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<PyDatasetPlan>> {
    let definitions = read_definitions(py, &definitions)?;
    let options =
        |http| PrepareOptions { cache_dir, max_samples, workers, seed, retry, max_disk_bytes, http };
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
                    Some(progress) => progress.call1(py, (PyPrepareProgress::from(state),)).map(drop),
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
