//! One sound file to one slot: decode ─► record, all of it as native `f32` ─► cut a window, augment.

use std::path::Path;

use super::{Medium, SamplePipeline, check_bytes};
use crate::augment::audio::{
    AudioAugmentScratch, AudioAugmentTable, AudioOperation, apply_audio_plan, plan_audio,
};
use crate::decode::audio::{AudioDecoder, AudioLimits, check_sample_rate};
use crate::error::{DecodeError, Error, Result};
use crate::ffmpeg::MediaSource;
use crate::modality::Modality;
use crate::preprocess::AudioWindow;
use crate::rng::RandomKey;

/// Recordings of up to this many samples leave their memory to the next one (16 million: 64 MiB).
const MAX_KEPT_SAMPLES: usize = 16 << 20;

/// Longer recordings are decoded anew every time: a window is all that is wanted of them.
const MAX_RECORD_SECONDS: usize = 60;

/// Full scale is 1; what is louder than this is no sound, and two operations in a row might make infinity of it.
const LOUDEST_AUGMENTED: f32 = 1e9;

/// Loads sound files as `[samples]` of native `f32`.
pub struct AudioPipeline {
    window: AudioWindow,
    limits: AudioLimits,
    augment: Option<(AudioAugmentTable, u32)>,
}

/// What one worker keeps between recordings.
#[derive(Default)]
pub struct AudioPipelineScratch {
    decoder: AudioDecoder,
    recording: Vec<f32>,
    /// The window, in memory that is aligned for numbers; slots need not be.
    window: Vec<f32>,
    augment: AudioAugmentScratch,
}

impl AudioPipeline {
    /// Cuts a window out of every recording, then augments it by a level of a table, if one is given.
    ///
    /// # Errors
    /// [`Error::Argument`] when the table has no such level, or when recordings cannot be resampled to the window's
    /// rate; [`Error::Augment`] for an operation of the level that does not work at it.
    pub fn new(window: AudioWindow, augment: Option<(AudioAugmentTable, u32)>) -> Result<Self> {
        check_sample_rate(window.sample_rate())?;
        if let Some((table, level)) = &augment {
            for operation in table.operations(*level)? {
                if let AudioOperation::BuiltIn { kind, .. } = operation {
                    kind.check_sample_rate(window.sample_rate())?;
                }
            }
        }
        Ok(Self { window, limits: AudioLimits::default(), augment })
    }
}

/// Writes the window of a record into `out`: both are bytes, which need not be aligned for numbers.
fn cut_window(window: &AudioWindow, record: &[u8], key: RandomKey, out: &mut [u8]) -> Result<()> {
    const SAMPLE: usize = size_of::<f32>();
    check_bytes("record", record.len() % SAMPLE, 0)?;
    check_bytes("slot", out.len(), window.samples() * SAMPLE)?;
    let range = window.range(record.len() / SAMPLE, key);
    let kept = &record[range.start * SAMPLE..range.end * SAMPLE];
    let (samples, padding) = out.split_at_mut(kept.len());
    samples.copy_from_slice(kept);
    // The bytes of 0.0.
    padding.fill(0);
    Ok(())
}

fn check_loudness(window: &[f32]) -> Result<(), DecodeError> {
    let peak = window.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    if peak <= LOUDEST_AUGMENTED {
        return Ok(());
    }
    let reason = format!("its samples reach {peak:e}, which is too loud to be augmented; full scale is 1");
    Err(DecodeError::Corrupt { format: "recording", reason })
}

impl SamplePipeline for AudioPipeline {
    type Scratch = AudioPipelineScratch;

    fn scratch(&self) -> Self::Scratch {
        AudioPipelineScratch { decoder: AudioDecoder::new(self.limits), ..AudioPipelineScratch::default() }
    }

    fn slot_bytes(&self) -> usize {
        self.window.samples() * size_of::<f32>()
    }

    fn modality(&self) -> Modality {
        Modality::Audio
    }

    fn max_record_bytes(&self) -> usize {
        MAX_RECORD_SECONDS * self.window.sample_rate() as usize * size_of::<f32>()
    }

    fn describe(&self) -> String {
        let operations = self.augment.as_ref().and_then(|(table, level)| table.operations(*level).ok());
        format!("{}, {:?}, augmented by {operations:?}", self.describe_preprocessing(), self.window)
    }

    /// Windows of any length, taken from anywhere, come from the same records.
    fn describe_preprocessing(&self) -> String {
        format!("mono at {} Hz, {:?}", self.window.sample_rate(), self.limits)
    }

    fn preprocess(
        &self,
        medium: Medium<'_>,
        scratch: &mut Self::Scratch,
        record: &mut Vec<u8>,
    ) -> Result<()> {
        let AudioPipelineScratch { decoder, recording, .. } = scratch;
        decoder.decode(MediaSource::Path(medium.path), self.window.sample_rate(), recording)?;
        record.clear();
        record.extend_from_slice(bytemuck::cast_slice(recording));
        if recording.capacity() > MAX_KEPT_SAMPLES {
            *recording = Vec::new();
        }
        Ok(())
    }

    fn finish(
        &self,
        path: &Path,
        record: &[u8],
        key: RandomKey,
        scratch: &mut Self::Scratch,
        slot: &mut [u8],
    ) -> Result<()> {
        let AudioPipelineScratch { window, augment, .. } = scratch;
        let Some((table, level)) = &self.augment else {
            return cut_window(&self.window, record, key, slot);
        };
        window.resize(self.window.samples(), 0.0);
        cut_window(&self.window, record, key, bytemuck::cast_slice_mut(window))?;
        check_loudness(window).map_err(|reason| Error::decode(path, reason))?;
        let plan = plan_audio(table, *level, key)?;
        apply_audio_plan(&plan, window, self.window.sample_rate(), augment)?;
        check_bytes("slot", slot.len(), self.slot_bytes())?;
        slot.copy_from_slice(bytemuck::cast_slice(window));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::decode::audio::tests::float_wave;
    use crate::preprocess::AudioCrop;

    fn load(pipeline: &AudioPipeline, path: &Path, sample: u64) -> Vec<f32> {
        let mut slot = vec![0xFF; pipeline.slot_bytes()];
        let key = RandomKey { seed: 1, epoch: 0, sample };
        let (mut scratch, mut record) = (pipeline.scratch(), Vec::new());
        pipeline.preprocess(Medium { path, bytes: None }, &mut scratch, &mut record).unwrap();
        pipeline.finish(path, &record, key, &mut scratch, &mut slot).unwrap();
        slot.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
    }

    #[test]
    fn windows_are_parts_of_the_recording_and_augmented_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording.wav");
        let samples: Vec<f32> = (0..20_000u16).map(|n| f32::from(n) / 10_000.0).collect();
        std::fs::write(&path, float_wave(16_000, 1, &samples)).unwrap();
        let pipeline = |crop, augment| {
            AudioPipeline::new(AudioWindow::new(16_000, 0.5, crop).unwrap(), augment).unwrap()
        };
        assert_eq!(load(&pipeline(AudioCrop::Center, None), &path, 0), samples[6000..14_000]);
        let random = pipeline(AudioCrop::Random, None);
        assert_ne!(load(&random, &path, 0), load(&random, &path, 1));
        assert_eq!(load(&random, &path, 5), load(&random, &path, 5));

        let gain = AudioOperation::built_in("gain", 20.0, 20.0).unwrap();
        let table = AudioAugmentTable::new([(1, vec![gain])].into()).unwrap();
        let louder = pipeline(AudioCrop::Center, Some((table.clone(), 1)));
        let expected: Vec<f32> = samples[6000..14_000].iter().map(|sample| sample * 10.0).collect();
        assert_eq!(load(&louder, &path, 0), expected);
        assert!(louder.describe().contains("gain(decibels=20..20)"), "{}", louder.describe());
        assert!(AudioPipeline::new(louder.window, Some((table, 7))).is_err());
    }
}
