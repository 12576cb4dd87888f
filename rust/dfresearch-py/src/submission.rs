//! Weights, checkpoints and submission archives.

use std::path::PathBuf;

use dfresearch_core::submission::{self, Preprocessing, TensorData};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::run_detached;
use crate::state_dict::{TensorMemory, state_dict_memory};

#[pyclass(name = "SubmissionMember", module = "dfresearch_rs", frozen, get_all)]
#[derive(Clone)]
pub struct PySubmissionMember {
    name: String,
    size: u64,
    sha256: String,
}

#[pymethods]
impl PySubmissionMember {
    fn __repr__(&self) -> String {
        format!("SubmissionMember(name={:?}, size={}, sha256={:?})", self.name, self.size, self.sha256)
    }
}

#[pyclass(name = "SubmissionReport", module = "dfresearch_rs", frozen, get_all)]
pub struct PySubmissionReport {
    path: PathBuf,
    size: u64,
    members: Vec<PySubmissionMember>,
    warnings: Vec<String>,
}

#[pymethods]
impl PySubmissionReport {
    fn __repr__(&self) -> String {
        let path = self.path.display().to_string();
        format!("SubmissionReport(path={path:?}, size={}, members={})", self.size, self.members.len())
    }
}

impl From<submission::Report> for PySubmissionReport {
    fn from(report: submission::Report) -> Self {
        let member = |member: submission::Member| PySubmissionMember {
            name: member.name,
            size: member.size,
            sha256: member.sha256,
        };
        Self {
            path: report.path,
            size: report.size,
            members: report.members.into_iter().map(member).collect(),
            warnings: report.warnings,
        }
    }
}

#[pyclass(name = "ModelConfig", module = "dfresearch_rs", frozen, get_all)]
pub struct PyModelConfig {
    name: String,
    modality: &'static str,
    size: Option<(usize, usize)>,
    num_frames: Option<usize>,
    frame_rate: Option<f64>,
    dtype: String,
}

#[pymethods]
impl PyModelConfig {
    fn __repr__(&self) -> String {
        format!("ModelConfig(name={:?}, modality={:?})", self.name, self.modality)
    }
}

impl From<submission::ModelConfig> for PyModelConfig {
    fn from(config: submission::ModelConfig) -> Self {
        let (size, num_frames, frame_rate) = match config.preprocessing {
            Preprocessing::Image { size } => (Some(size), None, None),
            Preprocessing::Video { size, num_frames, frame_rate } => {
                (Some(size), Some(num_frames), frame_rate)
            }
            Preprocessing::Audio => (None, None, None),
        };
        let modality = config.modality.name();
        Self { name: config.name, modality, size, num_frames, frame_rate, dtype: config.dtype }
    }
}

#[pyfunction]
pub fn save_safetensors(state_dict: &Bound<'_, PyAny>, path: PathBuf) -> PyResult<()> {
    let memory = state_dict_memory(state_dict)?;
    let tensors = tensor_data(&memory)?;
    run_detached(state_dict.py(), || submission::write_safetensors(&path, &tensors))
}

#[pyfunction]
pub fn write_checkpoint(
    checkpoint_dir: PathBuf,
    config: &Bound<'_, PyAny>,
    model_source: &str,
    state_dict: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let config = config_text(config)?;
    let memory = state_dict_memory(state_dict)?;
    let tensors = tensor_data(&memory)?;
    run_detached(state_dict.py(), || {
        submission::replace_checkpoint(&checkpoint_dir, &config, model_source, &tensors)
    })
}

#[pyfunction]
#[pyo3(signature = (checkpoint_dir, zip_path, verify = None))]
pub fn write_submission(
    py: Python<'_>,
    checkpoint_dir: PathBuf,
    zip_path: PathBuf,
    verify: Option<&Bound<'_, PyAny>>,
) -> PyResult<PySubmissionReport> {
    let staged = run_detached(py, || submission::stage_submission(&checkpoint_dir, &zip_path))?;
    if let Some(verify) = verify {
        verify.call1((staged.path(),))?;
    }
    run_detached(py, || staged.commit()).map(PySubmissionReport::from)
}

#[pyfunction]
pub fn read_model_config(py: Python<'_>, path: PathBuf) -> PyResult<PyModelConfig> {
    run_detached(py, || submission::read_config(&path)).map(PyModelConfig::from)
}

#[pyfunction]
#[pyo3(signature = (source, path = PathBuf::from(submission::SOURCE_FILE)),
    text_signature = "(source, path='model.py')")]
pub fn check_model_source(py: Python<'_>, source: &str, path: PathBuf) -> PyResult<Vec<String>> {
    run_detached(py, || submission::check_model_source(&path, source, &[])).map(|checked| checked.warnings)
}

/// YAML text as it is, a dict written out.
fn config_text(config: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = config.cast::<PyString>() {
        return text.extract();
    }
    let json: String = config.py().import("json")?.call_method1("dumps", (config,))?.extract()?;
    run_detached(config.py(), || submission::yaml_of_json(&json))
}

fn tensor_data<'a>(memory: &'a [TensorMemory<'_>]) -> PyResult<Vec<TensorData<'a>>> {
    memory
        .iter()
        .map(|tensor| {
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            Ok(TensorData { name, dtype: tensor.dtype, shape, bytes: tensor.bytes()? })
        })
        .collect()
}
