//! `augment_image` and the single operations.

use std::sync::Arc;

use dfresearch_core::augment::{
    self, AugmentScratch, AugmentTable, CustomOperation, Operation, apply_plan, plan_with_limit,
};
use dfresearch_core::rng::{CounterRng, RandomKey};
use dfresearch_core::{Result, RgbImage};
use numpy::{PyArray1, PyArray3, PyArrayMethods, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::augment_table::{PythonOperation, describe, extract_levels};
use crate::errors::run_detached;
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

/// A mapping of levels to sequences of operations and callables on images.
pub(crate) fn extract_table(table: &Bound<'_, PyAny>) -> PyResult<AugmentTable> {
    extract_levels(table, |operation| -> Arc<dyn CustomOperation> { Arc::new(operation) })
}

impl CustomOperation for PythonOperation {
    fn apply(&self, image: &mut [u8], width: usize, height: usize, seed: u64) -> Result<()> {
        let shape = [height, width, 3];
        self.run(|py| {
            let pixels = PyArray1::from_slice(py, image).reshape(shape)?;
            let result = self.call(pixels.as_any(), seed)?;
            let Ok(array) = result.extract::<PyReadonlyArray3<'_, u8>>() else {
                let found = describe(&result)?;
                return Ok(Some(format!("must return a uint8 array [height, width, 3], not {found}")));
            };
            if array.shape() != shape {
                let found = array.shape();
                return Ok(Some(format!("returned shape {found:?} for an image of shape {shape:?}")));
            }
            image.iter_mut().zip(array.as_array()).for_each(|(value, &changed)| *value = changed);
            Ok(None)
        })
    }
}
