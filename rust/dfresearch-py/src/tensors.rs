//! Every crossing between Rust memory, libtorch and NumPy; the only file of the binding with unsafe code.

use dfresearch_core::Error;
use pyo3::prelude::*;
use tch::Tensor;

use crate::errors::to_exception;

/// A `torch.Tensor` that owns the same storage as `tensor`.
pub fn wrap_tensor<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let pointer = tensor.pyobject_wrap().map_err(|error| to_exception(py, torch_error(&error)))?;
    // SAFETY: libtorch hands out a new reference to a live Python object, and the interpreter is attached.
    unsafe { Bound::from_owned_ptr_or_err(py, pointer.cast()) }
}

fn torch_error(error: &tch::TchError) -> Error {
    Error::Loader { reason: format!("libtorch: {error}") }
}
