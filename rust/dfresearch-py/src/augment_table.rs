//! The way of an augmentation table out of Python: entries that are data, and callables.

use std::collections::BTreeMap;
use std::sync::Arc;

use dfresearch_core::augment::{BuiltIn, LevelTable, NamedOperation, TableOperation};
use dfresearch_core::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

use crate::errors::{argument_error, run_detached};

/// A mapping of levels to sequences of operations and callables.
pub fn extract_levels<Kind: BuiltIn>(
    table: &Bound<'_, PyAny>,
    custom: fn(PythonOperation) -> Arc<Kind::Custom>,
) -> PyResult<LevelTable<Kind>> {
    let py = table.py();
    let refused = |reason: String| argument_error(py, "augment_table", reason);
    let Ok(mapping) = table.cast::<PyMapping>() else {
        return Err(refused(format!(
            "a mapping of levels to operations is expected, not {}",
            table.get_type()
        )));
    };
    let mut levels = BTreeMap::new();
    for item in mapping.items()? {
        let (level, entries): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let Ok(number) = level.extract::<u32>() else {
            return Err(refused(format!("level {} is not a whole number from 0", level.repr()?)));
        };
        let Ok(entries) = entries.try_iter() else {
            return Err(refused(format!("level {number} is not a sequence of operations")));
        };
        let operations =
            entries.map(|entry| extract_operation(number, &entry?, custom)).collect::<PyResult<Vec<_>>>()?;
        levels.insert(number, operations);
    }
    run_detached(py, || LevelTable::new(levels))
}

/// An entry of the table: anything with `operation` and `range`, or else a callable.
fn extract_operation<Kind: BuiltIn>(
    level: u32,
    entry: &Bound<'_, PyAny>,
    custom: fn(PythonOperation) -> Arc<Kind::Custom>,
) -> PyResult<TableOperation<Kind>> {
    let py = entry.py();
    if let Some(operation) = entry.getattr_opt("operation")? {
        let range = entry.getattr("range").and_then(|range| range.extract::<(f64, f64)>());
        let (Ok(name), Ok((low, high))) = (operation.extract::<String>(), range) else {
            let reason = format!(
                "{} in level {level} needs an operation's name and a range of two numbers",
                entry.repr()?
            );
            return Err(argument_error(py, "augment_table", reason));
        };
        return run_detached(py, || TableOperation::built_in(&name, low, high));
    }
    if entry.is_callable() && !entry.is_instance_of::<PyString>() {
        return PythonOperation::new(entry).map(|operation| TableOperation::Custom(custom(operation)));
    }
    let reason = format!("{} in level {level} is neither an operation nor a callable", entry.repr()?);
    Err(argument_error(py, "augment_table", reason))
}

/// A Python callable `f(array)` or `f(array, rng)` in the table.
pub struct PythonOperation {
    name: String,
    callable: Py<PyAny>,
    accepts_rng: bool,
}

impl PythonOperation {
    fn new(callable: &Bound<'_, PyAny>) -> PyResult<Self> {
        let name = match callable.getattr_opt("__qualname__")? {
            Some(name) => name.extract()?,
            None => callable.get_type().qualname()?.to_string(),
        };
        let accepts_rng = accepts_rng(callable)?;
        Ok(Self { name, callable: callable.clone().unbind(), accepts_rng })
    }

    /// Calls the callable with an array of its own to change.
    pub fn call<'py>(&self, array: &Bound<'py, PyAny>, seed: u64) -> PyResult<Bound<'py, PyAny>> {
        let py = array.py();
        let keywords = PyDict::new(py);
        if self.accepts_rng {
            let rng = py.import("numpy")?.getattr("random")?.call_method1("default_rng", (seed,))?;
            keywords.set_item("rng", rng)?;
        }
        self.callable.bind(py).call((array,), Some(&keywords))
    }

    /// Runs `work` with the interpreter; what it raises, and what it says is wrong, is an error of this operation.
    pub fn run(&self, work: impl FnOnce(Python<'_>) -> PyResult<Option<String>>) -> Result<()> {
        let attached = Python::try_attach(|py| {
            work(py).map_err(|error| {
                let kind = error
                    .get_type(py)
                    .name()
                    .map_or_else(|_| "exception".to_owned(), |name| name.to_string());
                format!("{kind}: {}", error.value(py))
            })
        });
        let reason = match attached {
            Some(Ok(None)) => return Ok(()),
            Some(Ok(Some(reason)) | Err(reason)) => reason,
            None => "the interpreter is shutting down".to_owned(),
        };
        Err(Error::augment(&self.name, reason))
    }
}

impl NamedOperation for PythonOperation {
    fn name(&self) -> &str {
        &self.name
    }
}

/// What an object is, for an error: its type, and for an array its element type and shape.
pub fn describe(object: &Bound<'_, PyAny>) -> PyResult<String> {
    match (object.getattr_opt("dtype")?, object.getattr_opt("shape")?) {
        (Some(dtype), Some(shape)) => Ok(format!("{dtype} {shape}")),
        _ => Ok(object.get_type().name()?.to_string()),
    }
}

/// Whether a callable can be called with `rng=`. Some built-in ones do not tell; they get no `rng`.
fn accepts_rng(callable: &Bound<'_, PyAny>) -> PyResult<bool> {
    let inspect = callable.py().import("inspect")?;
    let Ok(signature) = inspect.call_method1("signature", (callable,)) else {
        return Ok(false);
    };
    for parameter in signature.getattr("parameters")?.call_method0("values")?.try_iter()? {
        let parameter = parameter?;
        let kind: String = parameter.getattr("kind")?.getattr("name")?.extract()?;
        let is_rng =
            parameter.getattr("name")?.eq("rng")? && kind != "POSITIONAL_ONLY" && kind != "VAR_POSITIONAL";
        if is_rng || kind == "VAR_KEYWORD" {
            return Ok(true);
        }
    }
    Ok(false)
}
