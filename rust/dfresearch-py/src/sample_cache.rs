//! What the sample cache holds and did, and what was put there ahead of training.

use std::path::PathBuf;
use std::time::SystemTime;

use dfresearch_core::loader::{self, Quarantined};
use dfresearch_core::sample_cache::{Cleared, StoreSummary};
use dfresearch_core::{Error, Result, sample_cache};
use pyo3::prelude::*;

use crate::errors::run_detached;

/// Bytes of a gigabyte.
const GIGABYTE: f64 = 1e9;

/// A size in gigabytes (10^9 bytes), as the keyword `sample_cache_gb` has it.
///
/// # Errors
/// [`Error::Argument`] for what is no size.
pub fn bytes_of_gigabytes(gigabytes: f64) -> Result<u64> {
    if gigabytes.is_finite() && gigabytes >= 0.0 {
        return Ok((gigabytes * GIGABYTE) as u64);
    }
    Err(Error::argument("sample_cache_gb", format!("{gigabytes} is no size in gigabytes")))
}

/// What a loader's sample cache holds, and what came of asking it.
#[pyclass(frozen, get_all, module = "dfresearch_rs")]
pub struct SampleCacheReport {
    folder: PathBuf,
    records: u64,
    bytes: u64,
    max_bytes: u64,
    hits: u64,
    misses: u64,
    inserted: u64,
    damaged: u64,
    is_full: bool,
    notices: Vec<String>,
}

impl From<sample_cache::SampleCacheReport> for SampleCacheReport {
    fn from(report: sample_cache::SampleCacheReport) -> Self {
        Self {
            folder: report.folder,
            records: report.records,
            bytes: report.bytes,
            max_bytes: report.max_bytes,
            hits: report.hits,
            misses: report.misses,
            inserted: report.inserted,
            damaged: report.damaged,
            is_full: report.is_full,
            notices: report.notices,
        }
    }
}

/// The records of one modality and preprocessing, as they lie on the disk.
#[pyclass(frozen, get_all, module = "dfresearch_rs")]
pub struct SampleStore {
    folder: PathBuf,
    modality: Option<&'static str>,
    preprocessing: Option<String>,
    records: u64,
    bytes: u64,
    last_use: SystemTime,
    is_current: bool,
    is_open: bool,
}

impl From<StoreSummary> for SampleStore {
    fn from(summary: StoreSummary) -> Self {
        let StoreSummary { folder, settings, records, bytes, last_use, is_current, is_open } = summary;
        let (modality, preprocessing) =
            settings.map(|settings| (settings.modality.name(), settings.preprocessing)).unzip();
        Self { folder, modality, preprocessing, records, bytes, last_use, is_current, is_open }
    }
}

#[pymethods]
impl SampleStore {
    fn __repr__(&self) -> String {
        let (name, gigabytes) = (self.modality.unwrap_or("unreadable"), self.bytes as f64 / GIGABYTE);
        format!("SampleStore({name}, {} records, {gigabytes:.2} GB)", self.records)
    }
}

/// All stores below a folder.
#[pyfunction]
pub fn survey_sample_cache(py: Python<'_>, folder: PathBuf) -> PyResult<Vec<SampleStore>> {
    let stores = run_detached(py, || sample_cache::survey(&folder))?;
    Ok(stores.into_iter().map(SampleStore::from).collect())
}

/// Removes all stores that nobody has open.
#[pyfunction]
pub fn clear_sample_cache(py: Python<'_>, folder: PathBuf) -> PyResult<(usize, u64, Vec<PathBuf>)> {
    let Cleared { stores, bytes, in_use } = run_detached(py, || sample_cache::clear(&folder))?;
    Ok((stores, bytes, in_use))
}

/// What `Loader.warm` did.
#[pyclass(frozen, get_all, module = "dfresearch_rs")]
pub struct WarmReport {
    present: usize,
    added: usize,
    not_kept: usize,
    failed: Vec<(PathBuf, String)>,
    undecodable: Vec<(PathBuf, String)>,
}

impl From<loader::WarmReport> for WarmReport {
    fn from(report: loader::WarmReport) -> Self {
        let named = |sample: &Quarantined| (sample.path.clone(), sample.reason.clone());
        let undecodable = report.failed.iter().filter(|sample| sample.is_undecodable).map(named).collect();
        let loader::WarmReport { present, added, not_kept, failed } = report;
        Self { present, added, not_kept, failed: failed.iter().map(named).collect(), undecodable }
    }
}

#[pymethods]
impl WarmReport {
    fn __repr__(&self) -> String {
        let Self { present, added, not_kept, failed, .. } = self;
        format!("WarmReport({present} present, {added} added, {not_kept} not kept, {} failed)", failed.len())
    }
}

#[pymethods]
impl SampleCacheReport {
    fn __repr__(&self) -> String {
        let (records, gigabytes) = (self.records, self.bytes as f64 / GIGABYTE);
        let Self { hits, misses, .. } = self;
        format!("SampleCacheReport({records} records, {gigabytes:.2} GB; {hits} hits, {misses} misses)")
    }
}
