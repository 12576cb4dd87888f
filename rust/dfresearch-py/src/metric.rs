//! `sn34_score` and the competition's weighting.

use dfresearch_core::metric::{self, Exponents, Provenance, ProvenanceShares};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::run_detached;
use crate::values::{double_values, real_values};

/// A confusion count: a whole number without weights.
#[derive(Clone, Copy, IntoPyObject)]
enum Count {
    Whole(u64),
    Weighted(f64),
}

impl Count {
    fn of(value: f64, weighted: bool) -> Self {
        if weighted { Self::Weighted(value) } else { Self::Whole(value as u64) }
    }
}

/// The attributes of `Score` in their order.
const FIELDS: [&str; 15] = [
    "sn34_score",
    "gasbench_sn34_score",
    "mcc",
    "mcc_norm",
    "brier",
    "brier_norm",
    "accuracy",
    "cross_entropy",
    "true_positives",
    "false_positives",
    "true_negatives",
    "false_negatives",
    "gasbench_mcc",
    "gasbench_brier",
    "count",
];

#[pyclass(name = "Score", module = "dfresearch_rs", frozen, get_all)]
pub struct PyScore {
    sn34_score: f64,
    gasbench_sn34_score: f64,
    mcc: f64,
    mcc_norm: f64,
    brier: f64,
    brier_norm: f64,
    accuracy: f64,
    cross_entropy: f64,
    true_positives: Count,
    false_positives: Count,
    true_negatives: Count,
    false_negatives: Count,
    gasbench_mcc: f64,
    gasbench_brier: f64,
    count: usize,
}

impl From<metric::Score> for PyScore {
    fn from(score: metric::Score) -> Self {
        let count = |value| Count::of(value, score.weighted);
        Self {
            sn34_score: score.sn34_score,
            gasbench_sn34_score: score.gasbench_sn34_score,
            mcc: score.mcc,
            mcc_norm: score.mcc_norm,
            brier: score.brier,
            brier_norm: score.brier_norm,
            accuracy: score.accuracy,
            cross_entropy: score.cross_entropy,
            true_positives: count(score.confusion.true_positives),
            false_positives: count(score.confusion.false_positives),
            true_negatives: count(score.confusion.true_negatives),
            false_negatives: count(score.confusion.false_negatives),
            gasbench_mcc: score.gasbench_mcc,
            gasbench_brier: score.gasbench_brier,
            count: score.count,
        }
    }
}

#[pymethods]
impl PyScore {
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(slf.py());
        for field in FIELDS {
            dict.set_item(field, slf.getattr(field)?)?;
        }
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!(
            "Score(sn34_score={:.6}, gasbench_sn34_score={:.6}, mcc={:.6}, brier={:.6}, accuracy={:.6}, count={})",
            self.sn34_score, self.gasbench_sn34_score, self.mcc, self.brier, self.accuracy, self.count
        )
    }
}

#[pyfunction]
#[pyo3(signature = (labels, probs, weights = None, alpha = metric::DEFAULT_ALPHA, beta = metric::DEFAULT_BETA),
    text_signature = "(labels, probs, weights=None, alpha=1.2, beta=1.8)")]
pub fn sn34_score(
    labels: &Bound<'_, PyAny>,
    probs: &Bound<'_, PyAny>,
    weights: Option<&Bound<'_, PyAny>>,
    alpha: f64,
    beta: f64,
) -> PyResult<PyScore> {
    let py = labels.py();
    let (labels, probs) = (real_values("labels", labels)?, real_values("probs", probs)?);
    let (labels, probs) = (labels.as_values()?, probs.as_values()?);
    let weights = weights.map(|weights| double_values("weights", weights)).transpose()?;
    let weights = weights.as_ref().map(PyReadonlyArray1::as_slice).transpose()?;
    run_detached(py, || metric::sn34_score(labels, probs, weights, Exponents { alpha, beta }))
        .map(PyScore::from)
}

#[pyfunction]
#[pyo3(signature = (datasets, *, public, holdout, gasstation))]
pub fn provenance_weights<'py>(
    py: Python<'py>,
    datasets: Vec<String>,
    public: f64,
    holdout: f64,
    gasstation: f64,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let shares = ProvenanceShares { public, holdout, gasstation };
    let weights = run_detached(py, || {
        let provenances: Vec<_> = datasets.iter().map(|name| Provenance::of_dataset(name)).collect();
        metric::provenance_weights(&provenances, shares)
    })?;
    Ok(PyArray1::from_vec(py, weights))
}

#[pyfunction]
pub fn blend_robustness(base: f64, robust: f64) -> f64 {
    metric::blend_robustness(base, robust)
}
