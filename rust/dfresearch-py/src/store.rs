//! The cache folder: samples of a split, the report on the cache, quarantine.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfresearch_core::decode::{ImageLimits, read_dimensions};
use dfresearch_core::samples::{self, LabelledDataset, SampleList, ScanOptions};
use dfresearch_core::split::Split;
use dfresearch_core::store::{self, Progress};
use dfresearch_core::{Error, Label, Result};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice, PyTuple};

use crate::errors::run_detached;

/// A lazy sequence of `(Path, int)`.
#[pyclass(frozen, sequence, module = "dfresearch_rs")]
pub struct Samples {
    list: Arc<SampleList>,
}

#[pymethods]
impl Samples {
    #[new]
    fn new(py: Python<'_>, pairs: Vec<(PathBuf, i64)>) -> PyResult<Self> {
        run_detached(py, || {
            let labelled = pairs.into_iter().map(|(path, label)| Ok((path, Label::try_from(label)?)));
            SampleList::from_pairs(labelled.collect::<Result<Vec<_>>>()?).map(Self::from)
        })
    }

    fn __len__(&self) -> usize {
        self.list.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = index.cast::<PySlice>() {
            let range = slice.indices(self.list.len() as isize)?;
            let positions =
                (0..range.slicelength as isize).map(|step| (range.start + step * range.step) as usize);
            return Ok(Bound::new(py, Self::from(self.list.select(positions)))?.into_any());
        }
        let index: isize = index.extract()?;
        let position = if index < 0 { index + self.list.len() as isize } else { index };
        match usize::try_from(position).ok().filter(|&position| position < self.list.len()) {
            Some(position) => Ok(self.pair(py, position)?.into_any()),
            None => Err(PyIndexError::new_err(format!("sample {index} of {}", self.list.len()))),
        }
    }

    fn index(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        for position in 0..self.list.len() {
            if self.pair(py, position)?.eq(value)? {
                return Ok(position);
            }
        }
        Err(PyValueError::new_err(format!("{} is not among the samples", value.repr()?)))
    }

    fn count(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        (0..self.list.len())
            .try_fold(0, |count, position| Ok(count + usize::from(self.pair(py, position)?.eq(value)?)))
    }

    fn select(&self, indices: Vec<usize>) -> PyResult<Self> {
        if let Some(index) = indices.iter().find(|&&index| index >= self.list.len()) {
            return Err(PyIndexError::new_err(format!("sample {index} of {}", self.list.len())));
        }
        Ok(Self::from(self.list.select(indices)))
    }

    fn dataset(&self, index: usize) -> PyResult<&str> {
        if index >= self.list.len() {
            return Err(PyIndexError::new_err(format!("sample {index} of {}", self.list.len())));
        }
        Ok(self.list.dataset(index))
    }

    fn __repr__(&self) -> String {
        let (real, synthetic) = (self.list.count(Label::Real), self.list.count(Label::Synthetic));
        format!("Samples({} samples: {real} real, {synthetic} synthetic)", self.list.len())
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyList>,))> {
        let samples = slf.get();
        let pairs = (0..samples.list.len()).map(|position| samples.pair(py, position));
        Ok((slf.get_type().into_any(), (PyList::new(py, pairs.collect::<PyResult<Vec<_>>>()?)?,)))
    }
}

impl Samples {
    /// The list itself, shared with the loaders that walk through it.
    pub fn list(&self) -> Arc<SampleList> {
        self.list.clone()
    }

    fn pair<'py>(&self, py: Python<'py>, position: usize) -> PyResult<Bound<'py, PyTuple>> {
        (self.list.path(position), self.list.label(position).index()).into_pyobject(py)
    }
}

impl From<SampleList> for Samples {
    fn from(list: SampleList) -> Self {
        Self { list: Arc::new(list) }
    }
}

/// What was found in a cache folder.
#[pyclass(frozen, get_all, module = "dfresearch_rs")]
pub struct StoreReport {
    datasets: Vec<Py<DatasetReport>>,
    undefined_folders: Vec<PathBuf>,
    quarantined: Vec<(PathBuf, String)>,
    conflicts: Vec<(Vec<PathBuf>, Vec<PathBuf>)>,
    unknown_manifest_files: Vec<(PathBuf, usize, String)>,
    duplicates: usize,
    read: usize,
    notices: Vec<String>,
}

/// A definition and what lies in its folder.
#[pyclass(frozen, get_all, module = "dfresearch_rs")]
pub struct DatasetReport {
    name: String,
    media_type: &'static str,
    status: &'static str,
    samples: usize,
    quarantined: usize,
    conflicting: usize,
    other_files: usize,
    wanted: Option<usize>,
    gone: usize,
    reason: String,
}

impl StoreReport {
    fn new(py: Python<'_>, report: samples::StoreReport) -> PyResult<Self> {
        let datasets = report.datasets.into_iter().map(|dataset| Py::new(py, DatasetReport::from(dataset)));
        let conflicts = report.conflicts.into_iter().map(|conflict| (conflict.real, conflict.synthetic));
        let quarantined = report.quarantined.into_iter().map(|file| (file.path, file.reason));
        let unknown =
            report.unknown_manifest_files.into_iter().map(|line| (line.manifest, line.line, line.file));
        Ok(Self {
            datasets: datasets.collect::<PyResult<_>>()?,
            undefined_folders: report.undefined_folders,
            quarantined: quarantined.collect(),
            conflicts: conflicts.collect(),
            unknown_manifest_files: unknown.collect(),
            duplicates: report.duplicates,
            read: report.read,
            notices: report.notices,
        })
    }
}

impl From<samples::DatasetReport> for DatasetReport {
    fn from(dataset: samples::DatasetReport) -> Self {
        Self {
            name: dataset.name,
            media_type: dataset.media_type.name(),
            status: dataset.status.name(),
            samples: dataset.samples,
            quarantined: dataset.quarantined,
            conflicting: dataset.conflicting,
            other_files: dataset.other_files,
            wanted: dataset.wanted,
            gone: dataset.gone,
            reason: dataset.reason,
        }
    }
}

/// Samples of one split, and the report on the cache.
#[pyfunction]
#[pyo3(signature = (cache_dir, modality, definitions, split="train", max_per_class=None, seed=42, rescan=false))]
#[allow(clippy::too_many_arguments)] // Python's keywords.
pub fn gather_samples(
    py: Python<'_>,
    cache_dir: PathBuf,
    modality: &str,
    definitions: Vec<(String, String)>,
    split: &str,
    max_per_class: Option<usize>,
    seed: u64,
    rescan: bool,
) -> PyResult<(Samples, StoreReport)> {
    let (list, report) = run_until_signal(py, |progress| {
        let survey = survey(&cache_dir, modality, definitions, rescan, progress)?;
        Ok((survey.select(Split::from_name(split), max_per_class, seed)?, survey.report))
    })?;
    Ok((Samples::from(list), StoreReport::new(py, report)?))
}

/// The report on a modality's cache.
#[pyfunction]
#[pyo3(signature = (cache_dir, modality, definitions, rescan=false))]
pub fn survey_cache(
    py: Python<'_>,
    cache_dir: PathBuf,
    modality: &str,
    definitions: Vec<(String, String)>,
    rescan: bool,
) -> PyResult<StoreReport> {
    let survey =
        run_until_signal(py, |progress| survey(&cache_dir, modality, definitions, rescan, progress))?;
    StoreReport::new(py, survey.report)
}

/// Remembers files that cannot be used; returns how many of them the index knows.
#[pyfunction]
pub fn quarantine(py: Python<'_>, cache_dir: PathBuf, entries: Vec<(PathBuf, String)>) -> PyResult<usize> {
    run_detached(py, || store::quarantine(&cache_dir, &entries))
}

fn survey(
    cache_dir: &Path,
    modality: &str,
    definitions: Vec<(String, String)>,
    rescan: bool,
    progress: &Progress<'_>,
) -> Result<samples::Survey> {
    let labelled =
        |(name, media_type): (String, String)| Ok(LabelledDataset { name, media_type: media_type.parse()? });
    let datasets = definitions.into_iter().map(labelled).collect::<Result<Vec<_>>>()?;
    let probe = |bytes: &[u8]| read_dimensions(bytes, &ImageLimits::default());
    let options = ScanOptions { probe: &probe, progress, rescan };
    samples::survey(cache_dir, modality.parse()?, &datasets, &options)
}

/// Runs a scan that Ctrl-C ends: a first scan of a large cache takes minutes.
fn run_until_signal<T: Send>(
    py: Python<'_>,
    scan: impl FnOnce(&Progress<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    let mut signal = None;
    let result = run_detached(py, || {
        let raised = RefCell::new(None);
        let result = scan(&|_| {
            Python::attach(|py| py.check_signals()).map_err(|exception| {
                *raised.borrow_mut() = Some(exception);
                Error::Loader { reason: "stopped by a signal".to_owned() }
            })
        });
        signal = raised.into_inner();
        result
    });
    signal.map_or(result, Err)
}
