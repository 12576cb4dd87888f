//! The tensors of a state dict as named memory.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::argument_error;
use crate::tensors::{contiguous_bytes, is_tensor};

/// The memory of one named tensor of a state dict: contiguous, on the CPU, and kept alive.
pub struct TensorMemory<'py> {
    pub name: String,
    /// The element type in the words of safetensors, for example `BF16`.
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    tensor: Bound<'py, PyAny>,
}

impl TensorMemory<'_> {
    /// The elements, row-major.
    pub fn bytes(&self) -> PyResult<&[u8]> {
        contiguous_bytes(&self.tensor)
    }
}

/// The tensors of a state dict, copied only where they are not on the CPU or not contiguous.
pub fn state_dict_memory<'py>(state_dict: &Bound<'py, PyAny>) -> PyResult<Vec<TensorMemory<'py>>> {
    let mut tensors = Vec::new();
    for item in state_dict.call_method0("items")?.try_iter()? {
        let (name, value): (String, Bound<'py, PyAny>) = item?.extract()?;
        tensors.push(tensor_memory(name, &value)?);
    }
    Ok(tensors)
}

fn tensor_memory<'py>(name: String, value: &Bound<'py, PyAny>) -> PyResult<TensorMemory<'py>> {
    let refuse = |reason: String| Err(argument_error(value.py(), "state_dict", format!("{name:?} {reason}")));
    if !is_tensor(value)? {
        return refuse(format!("is a {}, only tensors can be stored", value.get_type().name()?));
    }
    let dtype: Bound<'py, PyString> = value.getattr("dtype")?.str()?;
    let Some(dtype) = safetensors_dtype(dtype.to_str()?) else {
        return refuse(format!("has dtype {dtype}, which safetensors does not have"));
    };
    let layout = value.getattr("layout")?.str()?;
    if value.getattr("is_meta")?.extract()? || layout.to_str()? != "torch.strided" {
        return refuse("has no memory of its own (meta or sparse): materialise it first".to_owned());
    }
    let mut tensor = value.call_method0("detach")?.call_method0("cpu")?;
    for method in ["resolve_conj", "resolve_neg", "contiguous"] {
        tensor = tensor.call_method0(method)?;
    }
    let shape = tensor.getattr("shape")?.extract()?;
    Ok(TensorMemory { name, dtype, shape, tensor })
}

/// The word of safetensors for a torch dtype.
fn safetensors_dtype(dtype: &str) -> Option<&'static str> {
    Some(match dtype {
        "torch.bool" => "BOOL",
        "torch.uint8" => "U8",
        "torch.int8" => "I8",
        "torch.float8_e5m2" => "F8_E5M2",
        "torch.float8_e4m3fn" => "F8_E4M3",
        "torch.int16" => "I16",
        "torch.uint16" => "U16",
        "torch.float16" => "F16",
        "torch.bfloat16" => "BF16",
        "torch.int32" => "I32",
        "torch.uint32" => "U32",
        "torch.float32" => "F32",
        "torch.complex64" => "C64",
        "torch.float64" => "F64",
        "torch.int64" => "I64",
        "torch.uint64" => "U64",
        _ => return None,
    })
}
