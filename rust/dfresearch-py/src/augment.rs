//! `augment_image`, the single operations, and the way of an augmentation table out of Python.

use std::collections::BTreeMap;
use std::sync::Arc;

use dfresearch_core::augment::{
    self, AugmentScratch, AugmentTable, CustomOperation, Operation, apply_plan, plan_with_limit,
};
use dfresearch_core::rng::{CounterRng, RandomKey};
use dfresearch_core::{Error, Result, RgbImage};
use numpy::{PyArray1, PyArray3, PyArrayMethods, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

use crate::errors::{argument_error, run_detached};
use crate::tensors::{image_from_array, image_to_array};

/// The only frame of a still image.
const STILL_FRAME: u32 = 0;

type ImageArray<'py> = PyResult<Bound<'py, PyArray3<u8>>>;

#[pyfunction]
#[pyo3(signature = (image, level = 2, seed = 0, table = None, epoch = 0, sample = 0, *,
    max_operations = augment::MAX_OPERATIONS, flip = true),
    text_signature = "(image, level=2, seed=0, table=None, epoch=0, sample=0, *, max_operations=2, flip=True)")]
#[allow(clippy::too_many_arguments, reason = "Python passes them by name")]
pub fn augment_image<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
    level: u32,
    seed: u64,
    table: Option<&Bound<'py, PyAny>>,
    epoch: u64,
    sample: u64,
    max_operations: usize,
    flip: bool,
) -> ImageArray<'py> {
    let table = table.map_or_else(|| extract_table(&default_table(py)?), extract_table)?;
    change_image(image, |RgbImage { width, height, data }| {
        let plan = plan_with_limit(&table, level, max_operations, RandomKey { seed, epoch, sample })?;
        apply_plan(&plan, STILL_FRAME, data, *width, *height, &mut AugmentScratch::default())?;
        if flip && plan.flip { augment::horizontal_flip(data, *width, *height) } else { Ok(()) }
    })
}

#[pyfunction]
pub fn jpeg_compress<'py>(image: &Bound<'py, PyAny>, quality: i64) -> ImageArray<'py> {
    change_image(image, |RgbImage { width, height, data }| {
        // Outside of a byte is outside of the domain as well.
        let quality = u8::try_from(quality).unwrap_or(0);
        augment::jpeg_compress(data, *width, *height, quality, &mut AugmentScratch::default().jpeg)
    })
}

#[pyfunction]
pub fn gaussian_blur<'py>(image: &Bound<'py, PyAny>, sigma: f64) -> ImageArray<'py> {
    change_image(image, |RgbImage { width, height, data }| {
        augment::gaussian_blur(data, *width, *height, sigma, &mut AugmentScratch::default().blur)
    })
}

#[pyfunction]
#[pyo3(signature = (image, sigma, seed = 0))]
pub fn gaussian_noise<'py>(image: &Bound<'py, PyAny>, sigma: f64, seed: u64) -> ImageArray<'py> {
    let mut rng = CounterRng::new(RandomKey { seed, ..RandomKey::default() }, 0);
    change_image(image, |image| augment::gaussian_noise(&mut image.data, sigma, &mut rng))
}

#[pyfunction]
pub fn color_shift<'py>(image: &Bound<'py, PyAny>, shifts: [f32; 3]) -> ImageArray<'py> {
    change_image(image, |image| {
        augment::color_shift(&mut image.data, shifts);
        Ok(())
    })
}

#[pyfunction]
pub fn color_contrast<'py>(image: &Bound<'py, PyAny>, factor: f64) -> ImageArray<'py> {
    change_image(image, |image| augment::color_contrast(&mut image.data, factor))
}

#[pyfunction]
pub fn horizontal_flip<'py>(image: &Bound<'py, PyAny>) -> ImageArray<'py> {
    change_image(image, |RgbImage { width, height, data }| augment::horizontal_flip(data, *width, *height))
}

#[pyfunction]
pub fn check_operation(py: Python<'_>, operation: &str, low: f64, high: f64) -> PyResult<()> {
    run_detached(py, || Operation::built_in(operation, low, high).map(drop))
}

/// Runs `change` on a copy of `image`.
fn change_image<'py>(
    image: &Bound<'py, PyAny>,
    change: impl FnOnce(&mut RgbImage) -> Result<()> + Send,
) -> ImageArray<'py> {
    let mut copy = image_from_array(image)?;
    let changed = run_detached(image.py(), || change(&mut copy).map(|()| copy))?;
    image_to_array(image.py(), changed)
}

/// The table that researchers edit.
pub(crate) fn default_table(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("dfresearch.transforms")?.getattr("AUGMENTATION_LEVELS")
}

/// A level of the default table, or `(table, level)`.
pub(crate) fn extract_augment(augment: &Bound<'_, PyAny>) -> PyResult<(AugmentTable, u32)> {
    if let Ok(level) = augment.extract::<u32>() {
        return Ok((extract_table(&default_table(augment.py())?)?, level));
    }
    let (table, level): (Bound<'_, PyAny>, u32) = augment.extract()?;
    Ok((extract_table(&table)?, level))
}

/// A mapping of levels to sequences of operations and callables.
pub(crate) fn extract_table(table: &Bound<'_, PyAny>) -> PyResult<AugmentTable> {
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
            entries.map(|entry| extract_operation(number, &entry?)).collect::<PyResult<Vec<_>>>()?;
        levels.insert(number, operations);
    }
    run_detached(py, || AugmentTable::new(levels))
}

/// An entry of the table: anything with `operation` and `range`, or else a callable.
fn extract_operation(level: u32, entry: &Bound<'_, PyAny>) -> PyResult<Operation> {
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
        return run_detached(py, || Operation::built_in(&name, low, high));
    }
    if entry.is_callable() && !entry.is_instance_of::<PyString>() {
        return PythonOperation::new(entry).map(|operation| Operation::Custom(Arc::new(operation)));
    }
    let reason = format!("{} in level {level} is neither an operation nor a callable", entry.repr()?);
    Err(argument_error(py, "augment_table", reason))
}

/// A Python callable `f(image)` or `f(image, rng)` in the table.
struct PythonOperation {
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

    /// Calls the callable with a copy of the pixels, and copies what it returns back.
    fn call(
        &self,
        py: Python<'_>,
        image: &mut [u8],
        shape: [usize; 3],
        seed: u64,
    ) -> PyResult<Option<String>> {
        let keywords = PyDict::new(py);
        if self.accepts_rng {
            let rng = py.import("numpy")?.getattr("random")?.call_method1("default_rng", (seed,))?;
            keywords.set_item("rng", rng)?;
        }
        let pixels = PyArray1::from_slice(py, image).reshape(shape)?;
        let result = self.callable.bind(py).call((pixels,), Some(&keywords))?;
        let Ok(array) = result.extract::<PyReadonlyArray3<'_, u8>>() else {
            return Ok(Some(format!(
                "must return a uint8 array [height, width, 3], not {}",
                describe(&result)?
            )));
        };
        if array.shape() != shape {
            return Ok(Some(format!("returned shape {:?} for an image of shape {shape:?}", array.shape())));
        }
        image.iter_mut().zip(array.as_array()).for_each(|(value, &changed)| *value = changed);
        Ok(None)
    }
}

impl CustomOperation for PythonOperation {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&self, image: &mut [u8], width: usize, height: usize, seed: u64) -> Result<()> {
        let attached = Python::try_attach(|py| {
            self.call(py, image, [height, width, 3], seed).map_err(|error| {
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

/// What an object is, for an error: its type, and for an array its element type and shape.
fn describe(object: &Bound<'_, PyAny>) -> PyResult<String> {
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
