//! `augment_audio` and the single operations on waveforms.

use std::sync::Arc;

use dfresearch_core::Result;
use dfresearch_core::augment::MAX_OPERATIONS;
use dfresearch_core::augment::audio::{
    self, AudioAugmentScratch, AudioAugmentTable, AudioCodec, AudioOperation, CustomAudioOperation,
    apply_audio_plan, codec_round_trip, plan_audio_with_limit,
};
use dfresearch_core::rng::{CounterRng, RandomKey};
use numpy::{PyArray1, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::augment_table::{PythonOperation, describe, extract_levels};
use crate::errors::run_detached;
use crate::tensors::waveform_from_array;

type WaveformArray<'py> = PyResult<Bound<'py, PyArray1<f32>>>;

#[pyfunction]
#[pyo3(signature = (waveform, level = 1, seed = 0, table = None, epoch = 0, sample = 0, *,
    sample_rate = 16_000, max_operations = MAX_OPERATIONS),
    text_signature = "(waveform, level=1, seed=0, table=None, epoch=0, sample=0, *, sample_rate=16000, \
        max_operations=2)")]
#[allow(clippy::too_many_arguments, reason = "Python passes them by name")]
pub fn augment_audio<'py>(
    py: Python<'py>,
    waveform: &Bound<'py, PyAny>,
    level: u32,
    seed: u64,
    table: Option<&Bound<'py, PyAny>>,
    epoch: u64,
    sample: u64,
    sample_rate: u32,
    max_operations: usize,
) -> WaveformArray<'py> {
    let table = table.map_or_else(|| extract_audio_table(&default_audio_table(py)?), extract_audio_table)?;
    change_waveform(waveform, |samples| {
        let plan = plan_audio_with_limit(&table, level, max_operations, RandomKey { seed, epoch, sample })?;
        apply_audio_plan(&plan, samples, sample_rate, &mut AudioAugmentScratch::default())
    })
}

#[pyfunction]
pub fn gain<'py>(waveform: &Bound<'py, PyAny>, decibels: f64) -> WaveformArray<'py> {
    change_waveform(waveform, |samples| audio::gain(samples, decibels))
}

#[pyfunction]
#[pyo3(signature = (waveform, snr_decibels, seed = 0))]
pub fn additive_noise<'py>(waveform: &Bound<'py, PyAny>, snr_decibels: f64, seed: u64) -> WaveformArray<'py> {
    change_waveform(waveform, |samples| audio::additive_noise(samples, snr_decibels, &mut noise(seed)))
}

#[pyfunction]
#[pyo3(signature = (waveform, cutoff_hertz, sample_rate = 16_000))]
pub fn low_pass<'py>(
    waveform: &Bound<'py, PyAny>,
    cutoff_hertz: f64,
    sample_rate: u32,
) -> WaveformArray<'py> {
    change_waveform(waveform, |samples| {
        audio::low_pass(samples, sample_rate, cutoff_hertz, &mut AudioAugmentScratch::default())
    })
}

#[pyfunction]
#[pyo3(signature = (waveform, rt60_seconds, seed = 0, sample_rate = 16_000))]
pub fn reverberation<'py>(
    waveform: &Bound<'py, PyAny>,
    rt60_seconds: f64,
    seed: u64,
    sample_rate: u32,
) -> WaveformArray<'py> {
    change_waveform(waveform, |samples| {
        let mut scratch = AudioAugmentScratch::default();
        audio::reverberation(samples, sample_rate, rt60_seconds, &mut noise(seed), &mut scratch)
    })
}

#[pyfunction]
#[pyo3(signature = (waveform, kilobits_per_second, sample_rate = 16_000))]
pub fn mp3_compress<'py>(
    waveform: &Bound<'py, PyAny>,
    kilobits_per_second: i64,
    sample_rate: u32,
) -> WaveformArray<'py> {
    compress(waveform, AudioCodec::Mp3, kilobits_per_second, sample_rate)
}

#[pyfunction]
#[pyo3(signature = (waveform, kilobits_per_second, sample_rate = 16_000))]
pub fn opus_compress<'py>(
    waveform: &Bound<'py, PyAny>,
    kilobits_per_second: i64,
    sample_rate: u32,
) -> WaveformArray<'py> {
    compress(waveform, AudioCodec::Opus, kilobits_per_second, sample_rate)
}

#[pyfunction]
pub fn check_audio_operation(py: Python<'_>, operation: &str, low: f64, high: f64) -> PyResult<()> {
    run_detached(py, || AudioOperation::built_in(operation, low, high).map(drop))
}

fn compress<'py>(
    waveform: &Bound<'py, PyAny>,
    codec: AudioCodec,
    kilobits_per_second: i64,
    sample_rate: u32,
) -> WaveformArray<'py> {
    // Outside of 32 bits is outside of the domain as well.
    let rate = u32::try_from(kilobits_per_second).unwrap_or(0);
    change_waveform(waveform, |samples| {
        codec_round_trip(samples, sample_rate, codec, rate, &mut AudioAugmentScratch::default().codec)
    })
}

fn noise(seed: u64) -> CounterRng {
    CounterRng::new(RandomKey { seed, ..RandomKey::default() }, 0)
}

/// Runs `change` on a copy of `waveform`.
fn change_waveform<'py>(
    waveform: &Bound<'py, PyAny>,
    change: impl FnOnce(&mut [f32]) -> Result<()> + Send,
) -> WaveformArray<'py> {
    let mut copy = waveform_from_array(waveform)?;
    let changed = run_detached(waveform.py(), || change(&mut copy).map(|()| copy))?;
    Ok(PyArray1::from_vec(waveform.py(), changed))
}

/// The table that researchers edit.
pub(crate) fn default_audio_table(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("dfresearch.audio_transforms")?.getattr("AUDIO_AUGMENTATION_LEVELS")
}

/// A level of the default table, or `(table, level)`.
pub(crate) fn extract_audio_augment(augment: &Bound<'_, PyAny>) -> PyResult<(AudioAugmentTable, u32)> {
    if let Ok(level) = augment.extract::<u32>() {
        return Ok((extract_audio_table(&default_audio_table(augment.py())?)?, level));
    }
    let (table, level): (Bound<'_, PyAny>, u32) = augment.extract()?;
    Ok((extract_audio_table(&table)?, level))
}

/// A mapping of levels to sequences of operations and callables on waveforms.
pub(crate) fn extract_audio_table(table: &Bound<'_, PyAny>) -> PyResult<AudioAugmentTable> {
    extract_levels(table, |operation| -> Arc<dyn CustomAudioOperation> { Arc::new(operation) })
}

impl CustomAudioOperation for PythonOperation {
    fn apply(&self, waveform: &mut [f32], seed: u64) -> Result<()> {
        self.run(|py| {
            let samples = PyArray1::from_slice(py, waveform);
            let result = self.call(samples.as_any(), seed)?;
            let Ok(array) = result.extract::<PyReadonlyArray1<'_, f32>>() else {
                return Ok(Some(format!("must return a float32 array [n], not {}", describe(&result)?)));
            };
            if array.len() != waveform.len() {
                let (found, expected) = (array.len(), waveform.len());
                return Ok(Some(format!("returned {found} samples for a waveform of {expected}")));
            }
            if !array.as_array().iter().all(|sample| sample.is_finite()) {
                return Ok(Some("returned samples that are not finite".to_owned()));
            }
            waveform.iter_mut().zip(array.as_array()).for_each(|(sample, &changed)| *sample = changed);
            Ok(None)
        })
    }
}
