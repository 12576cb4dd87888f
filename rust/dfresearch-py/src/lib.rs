//! The Python face of `dfresearch-core`: extracts arguments, releases the interpreter, wraps results.
//!
//! No algorithm lives here. Python prose lives in `python/dfresearch_rs/_native.pyi`.

use pyo3::prelude::*;
use pyo3::types::PySequence;

mod catalog;
mod errors;
mod store;
mod tensors;

/// The extension module `dfresearch_rs._native`.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::catalog::load_catalog;
    #[pymodule_export]
    use super::store::{DatasetReport, Samples, StoreReport, gather_samples, quarantine, survey_cache};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        PySequence::register::<store::Samples>(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
