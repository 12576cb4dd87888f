//! The Python face of `dfresearch-core`: extracts arguments, releases the interpreter, wraps results.
//!
//! No algorithm lives here. Python prose lives in `python/dfresearch_rs/_native.pyi`.

use pyo3::prelude::*;

mod errors;
mod metric;
mod state_dict;
mod submission;
mod tensors;
mod values;

/// The extension module `dfresearch_rs._native`.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use crate::metric::{PyScore, blend_robustness, provenance_weights, sn34_score};
    #[pymodule_export]
    use crate::submission::{PyModelConfig, PySubmissionMember, PySubmissionReport};
    #[pymodule_export]
    use crate::submission::{check_model_source, read_model_config, save_safetensors};
    #[pymodule_export]
    use crate::submission::{write_checkpoint, write_submission};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
