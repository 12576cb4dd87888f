//! `preprocess_image`.

use dfresearch_core::preprocess::{ImagePreprocess, PreprocessMode, ResizeScratch, resize_image};
use dfresearch_core::{Error, RgbImage};
use numpy::PyArray3;
use pyo3::prelude::*;

use crate::errors::run_detached;
use crate::tensors::{image_from_array, image_to_array};

#[pyfunction]
#[pyo3(signature = (image, size = [224, 224], mode = "competition"),
    text_signature = "(image, size=(224, 224), mode='competition')")]
pub fn preprocess_image<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
    size: [usize; 2],
    mode: &str,
) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let (image, size) = (image_from_array(image)?, size.into());
    let resized = run_detached(py, || {
        let settings = ImagePreprocess::new(size, mode.parse::<PreprocessMode>()?, false)?;
        let mut data = vec![0; settings.output_bytes()];
        resize_image(image.view(), size, settings.mode, &mut ResizeScratch::default(), &mut data)
            .map_err(|reason| Error::argument("image", reason.to_string()))?;
        Ok(RgbImage { width: settings.size.1, height: settings.size.0, data })
    })?;
    image_to_array(py, resized)
}
