//! Media files and bytes to NumPy arrays.

use std::path::PathBuf;

use dfresearch_core::decode::audio::AudioDecoder;
use dfresearch_core::decode::{
    ImageLimits, decode_image_bytes, decode_image_file, recompress_image_bytes, recompress_image_file,
};
use dfresearch_core::ffmpeg::MediaSource;
use numpy::{PyArray1, PyArray3};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::run_detached;
use crate::tensors::image_to_array;

/// Where encoded media come from.
pub enum Source {
    /// The content of a file.
    Bytes(PyBackedBytes),
    /// A file.
    Path(PathBuf),
}

impl Source {
    /// The same, for what FFmpeg reads.
    fn media(&self) -> MediaSource<'_> {
        match self {
            Self::Bytes(bytes) => MediaSource::Bytes(bytes),
            Self::Path(path) => MediaSource::Path(path),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Source {
    type Error = PyErr;

    fn extract(source: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = source.extract() {
            return Ok(Self::Bytes(bytes));
        }
        let refused = || {
            let found = source.get_type().name().map_or_else(|_| "this".into(), |name| name.to_string());
            PyTypeError::new_err(format!("source: a path or bytes is expected, not {found}"))
        };
        source.extract().map(Self::Path).map_err(|_| refused())
    }
}

#[pyfunction]
pub fn decode_image(py: Python<'_>, source: Source) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let limits = ImageLimits::default();
    let image = run_detached(py, || match &source {
        Source::Bytes(bytes) => decode_image_bytes(bytes, &limits),
        Source::Path(path) => decode_image_file(path, &limits),
    })?;
    image_to_array(py, image)
}

#[pyfunction]
pub fn recompress_image(py: Python<'_>, source: Source) -> PyResult<Vec<u8>> {
    let limits = ImageLimits::default();
    run_detached(py, || match &source {
        Source::Bytes(bytes) => recompress_image_bytes(bytes, &limits),
        Source::Path(path) => recompress_image_file(path, &limits),
    })
}

#[pyfunction]
#[pyo3(signature = (source, sample_rate = 16_000))]
pub fn decode_audio(py: Python<'_>, source: Source, sample_rate: u32) -> PyResult<Bound<'_, PyArray1<f32>>> {
    let samples = run_detached(py, || {
        let mut samples = Vec::new();
        AudioDecoder::default().decode(source.media(), sample_rate, &mut samples).map(|()| samples)
    })?;
    Ok(PyArray1::from_vec(py, samples))
}
