//! `preprocess_image` and `preprocess_audio`.

use dfresearch_core::preprocess::{
    AudioCrop, AudioWindow, ImagePreprocess, PreprocessMode, ResizeScratch, resize_image,
};
use dfresearch_core::rng::RandomKey;
use dfresearch_core::{Error, RgbImage};
use numpy::{PyArray1, PyArray3};
use pyo3::prelude::*;

use crate::errors::run_detached;
use crate::tensors::{image_from_array, image_to_array, waveform_from_array};

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

#[pyfunction]
#[pyo3(signature = (waveform, sample_rate = 16_000, duration_seconds = 6.0, crop = "center", seed = 0, epoch = 0,
    sample = 0))]
#[allow(clippy::too_many_arguments, reason = "Python passes them by name")]
pub fn preprocess_audio<'py>(
    py: Python<'py>,
    waveform: &Bound<'py, PyAny>,
    sample_rate: u32,
    duration_seconds: f64,
    crop: &str,
    seed: u64,
    epoch: u64,
    sample: u64,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let recording = waveform_from_array(waveform)?;
    let cut = run_detached(py, || {
        let window = AudioWindow::new(sample_rate, duration_seconds, crop.parse::<AudioCrop>()?)?;
        let mut out = vec![0.0; window.samples()];
        window.cut(&recording, RandomKey { seed, epoch, sample }, &mut out);
        Ok(out)
    })?;
    Ok(PyArray1::from_vec(py, cut))
}
