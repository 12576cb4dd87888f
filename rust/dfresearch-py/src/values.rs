//! One dimension of real numbers out of a tensor, an array or a sequence.

use dfresearch_core::metric::Values;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::errors::argument_error;
use crate::tensors::is_tensor;

/// One dimension of real numbers, in the element types that need no conversion.
pub enum RealValues<'py> {
    Byte(PyReadonlyArray1<'py, u8>),
    Whole(PyReadonlyArray1<'py, i64>),
    Single(PyReadonlyArray1<'py, f32>),
    Double(PyReadonlyArray1<'py, f64>),
}

impl RealValues<'_> {
    /// The numbers' memory, as the core takes it.
    pub fn as_values(&self) -> PyResult<Values<'_>> {
        Ok(match self {
            Self::Byte(values) => values.as_slice()?.into(),
            Self::Whole(values) => values.as_slice()?.into(),
            Self::Single(values) => values.as_slice()?.into(),
            Self::Double(values) => values.as_slice()?.into(),
        })
    }
}

/// The numbers in a tensor of any device and real dtype, an array or a sequence.
pub fn real_values<'py>(argument: &'static str, object: &Bound<'py, PyAny>) -> PyResult<RealValues<'py>> {
    let array = vector(argument, object)?;
    if let Ok(values) = array.extract() {
        return Ok(RealValues::Whole(values));
    }
    if let Ok(values) = array.extract() {
        return Ok(RealValues::Single(values));
    }
    if let Ok(values) = array.extract() {
        return Ok(RealValues::Byte(values));
    }
    as_double(&array).map(RealValues::Double)
}

/// [`real_values`], converted to float64.
pub fn double_values<'py>(
    argument: &'static str,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray1<'py, f64>> {
    as_double(&vector(argument, object)?)
}

fn as_double<'py>(array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray1<'py, f64>> {
    let array = array.py().import("numpy")?.call_method1("ascontiguousarray", (array, "float64"))?;
    array.extract()
}

/// A contiguous NumPy array of one dimension with numbers or booleans in it.
fn vector<'py>(argument: &'static str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let numpy = py.import("numpy")?;
    let array = if is_tensor(object)? {
        let tensor = object.call_method0("detach")?.call_method0("cpu")?.call_method0("resolve_neg")?;
        // NumPy has no bfloat16.
        let is_wide = !tensor.call_method0("is_floating_point")?.extract::<bool>()?
            || tensor.getattr("itemsize")?.extract::<usize>()? >= 4;
        let tensor = if is_wide { tensor } else { tensor.call_method0("float")? };
        tensor.call_method0("numpy")?
    } else {
        numpy.call_method1("asarray", (object,))?
    };
    let kind: char = array.getattr("dtype")?.getattr("kind")?.extract()?;
    if !"biuf".contains(kind) {
        return Err(argument_error(
            py,
            argument,
            format!("real numbers are expected, not {}", array.getattr("dtype")?),
        ));
    }
    if array.getattr("ndim")?.extract::<usize>()? != 1 {
        return Err(argument_error(
            py,
            argument,
            format!("one dimension is expected, not shape {}", array.getattr("shape")?),
        ));
    }
    let array = if kind == 'b' { array.call_method1("astype", ("uint8",))? } else { array };
    numpy.call_method1("ascontiguousarray", (array,))
}
