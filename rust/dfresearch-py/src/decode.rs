//! Media files and bytes to NumPy arrays.

use std::path::PathBuf;

use dfresearch_core::decode::audio::AudioDecoder;
use dfresearch_core::decode::video::{FrameSampling, VideoDecoder};
use dfresearch_core::decode::{
    ImageLimits, decode_image_bytes, decode_image_file, recompress_image_bytes, recompress_image_file,
};
use dfresearch_core::ffmpeg::MediaSource;
use numpy::{PyArray1, PyArray3, PyArray4};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::run_detached;
use crate::tensors::{FrameStack, image_to_array};

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

/// Decodes with the interpreter released, and raises what a signal left meanwhile.
///
/// Without that, a Ctrl-C would strike in the first import of NumPy, which arrays do not survive.
fn decode<T: Send>(py: Python<'_>, work: impl FnOnce() -> dfresearch_core::Result<T> + Send) -> PyResult<T> {
    let decoded = run_detached(py, work)?;
    py.check_signals()?;
    Ok(decoded)
}

#[pyfunction]
pub fn decode_image(py: Python<'_>, source: Source) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let limits = ImageLimits::default();
    let image = decode(py, || match &source {
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
    let samples = decode(py, || {
        let mut samples = Vec::new();
        AudioDecoder::default().decode(source.media(), sample_rate, &mut samples).map(|()| samples)
    })?;
    Ok(PyArray1::from_vec(py, samples))
}

#[pyfunction]
#[pyo3(signature = (source, num_frames=16, sampling="first", frame_rate=None))]
pub fn decode_video<'py>(
    py: Python<'py>,
    source: Source,
    num_frames: usize,
    sampling: &str,
    frame_rate: Option<f64>,
) -> PyResult<Bound<'py, PyArray4<u8>>> {
    let frames = decode(py, || {
        let sampling = FrameSampling::parse(sampling, frame_rate)?;
        let mut frames = FrameStack::new(num_frames);
        VideoDecoder::default().decode(source.media(), num_frames, sampling, &mut |_, frame| {
            frames.push(frame.width, frame.height, frame.data)
        })?;
        frames.repeat_last();
        Ok(frames)
    })?;
    frames.into_array(py)
}
