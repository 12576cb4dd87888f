//! The Python face of `dfresearch-core`: extracts arguments, releases the interpreter, wraps results.
//!
//! No algorithm lives here. Python prose lives in `python/dfresearch_rs/_native.pyi`.

use pyo3::prelude::*;

mod augment;
mod errors;
mod tensors;

/// The extension module `dfresearch_rs._native`.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use crate::augment::{
        augment_image, check_operation, color_contrast, color_shift, gaussian_blur, gaussian_noise,
        horizontal_flip, jpeg_compress,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
