//! Which operations a waveform gets, with which parameters, in which order.

use std::sync::Arc;

use smallvec::SmallVec;

use super::codec_round_trip::{AudioCodec, codec_round_trip};
use super::kind::{AudioAugmentTable, AudioOperation, AudioOperationKind, CustomAudioOperation};
use super::{AudioAugmentScratch, additive_noise, gain, low_pass, reverberation};
use crate::augment::selection::{MAX_OPERATIONS, draw_whole, noise_rng, parameter_rng, select};
use crate::error::Result;
use crate::rng::{CounterRng, RandomKey};

/// What happens to one waveform.
#[derive(Clone, Default)]
pub struct AudioPlan {
    /// The operations, in the order in which they are applied.
    pub operations: SmallVec<[PlannedAudioOperation; MAX_OPERATIONS]>,
    /// Where noise comes from.
    key: RandomKey,
}

/// An operation with its parameter drawn.
#[derive(Clone)]
pub enum PlannedAudioOperation {
    /// Louder or quieter.
    Gain {
        /// Of amplitude.
        decibels: f64,
    },
    /// White noise.
    AdditiveNoise {
        /// How far below the waveform's power.
        snr_decibels: f64,
    },
    /// High frequencies taken away.
    LowPass {
        /// Where the response is down to a half.
        cutoff_hertz: f64,
    },
    /// A room.
    Reverberation {
        /// The time in which its sound falls by 60 dB.
        rt60_seconds: f64,
    },
    /// A lossy codec, there and back.
    CodecRoundTrip {
        /// Which one.
        codec: AudioCodec,
        /// Of the encoder.
        kilobits_per_second: u32,
    },
    /// An operation of the caller's own.
    Custom {
        /// The operation.
        operation: Arc<dyn CustomAudioOperation>,
        /// What it draws its parameters from.
        seed: u64,
    },
}

/// Draws what happens to the waveform that `key` names: one or two distinct operations of `level`, uniformly, in
/// random order. Level 0 changes nothing.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a level that the table does not have.
pub fn plan_audio(table: &AudioAugmentTable, level: u32, key: RandomKey) -> Result<AudioPlan> {
    plan_audio_with_limit(table, level, MAX_OPERATIONS, key)
}

/// Like [`plan_audio`], with between one and `max_operations` operations, as far as the level has so many.
///
/// # Errors
/// As [`plan_audio`].
pub fn plan_audio_with_limit(
    table: &AudioAugmentTable,
    level: u32,
    max_operations: usize,
    key: RandomKey,
) -> Result<AudioPlan> {
    let operations = select(table.operations(level)?, max_operations, key).into_iter().enumerate();
    let operations = operations.map(|(place, it)| draw_parameter(it, &mut parameter_rng(key, place)));
    Ok(AudioPlan { operations: operations.collect(), key })
}

fn draw_parameter(operation: &AudioOperation, rng: &mut CounterRng) -> PlannedAudioOperation {
    let (kind, low, high) = match operation {
        AudioOperation::BuiltIn { kind, low, high } => (*kind, *low, *high),
        AudioOperation::Custom(operation) => {
            return PlannedAudioOperation::Custom { operation: Arc::clone(operation), seed: rng.next_u64() };
        }
    };
    let mut round_trip = |codec| PlannedAudioOperation::CodecRoundTrip {
        codec,
        kilobits_per_second: draw_whole(low, high, rng) as u32,
    };
    match kind {
        AudioOperationKind::Mp3Compress => round_trip(AudioCodec::Mp3),
        AudioOperationKind::OpusCompress => round_trip(AudioCodec::Opus),
        AudioOperationKind::Gain => PlannedAudioOperation::Gain { decibels: rng.range(low, high) },
        AudioOperationKind::AdditiveNoise => {
            PlannedAudioOperation::AdditiveNoise { snr_decibels: rng.range(low, high) }
        }
        AudioOperationKind::LowPass => PlannedAudioOperation::LowPass { cutoff_hertz: rng.range(low, high) },
        AudioOperationKind::Reverberation => {
            PlannedAudioOperation::Reverberation { rt60_seconds: rng.range(low, high) }
        }
    }
}

/// Applies the operations of `plan` to a mono waveform in place.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) from an operation that failed.
pub fn apply_audio_plan(
    plan: &AudioPlan,
    waveform: &mut [f32],
    sample_rate: u32,
    scratch: &mut AudioAugmentScratch,
) -> Result<()> {
    // A waveform is one piece: the stream that a clip's first frame has.
    const ONLY_FRAME: u32 = 0;
    for (place, operation) in plan.operations.iter().enumerate() {
        let mut noise = noise_rng(plan.key, place, ONLY_FRAME);
        match operation {
            PlannedAudioOperation::Gain { decibels } => gain(waveform, *decibels)?,
            PlannedAudioOperation::AdditiveNoise { snr_decibels } => {
                additive_noise(waveform, *snr_decibels, &mut noise)?;
            }
            PlannedAudioOperation::LowPass { cutoff_hertz } => {
                low_pass(waveform, sample_rate, *cutoff_hertz, scratch)?;
            }
            PlannedAudioOperation::Reverberation { rt60_seconds } => {
                reverberation(waveform, sample_rate, *rt60_seconds, &mut noise, scratch)?;
            }
            PlannedAudioOperation::CodecRoundTrip { codec, kilobits_per_second } => {
                codec_round_trip(waveform, sample_rate, *codec, *kilobits_per_second, &mut scratch.codec)?;
            }
            PlannedAudioOperation::Custom { operation, seed } => operation.apply(waveform, *seed)?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table() -> AudioAugmentTable {
        let ranges = [
            ("gain", -6.0, 6.0),
            ("additive_noise", 10.0, 30.0),
            ("low_pass", 2000.0, 7000.0),
            ("reverberation", 0.1, 0.4),
        ];
        let operations = ranges.map(|(name, low, high)| AudioOperation::built_in(name, low, high).unwrap());
        AudioAugmentTable::new([(1, operations.to_vec()), (2, vec![])].into()).unwrap()
    }

    fn applied(level: u32, sample: u64) -> Vec<f32> {
        let mut waveform: Vec<f32> = (0..3000).map(|n| (n as f32 * 0.3).sin()).collect();
        let plan = plan_audio(&table(), level, RandomKey { seed: 1, epoch: 2, sample }).unwrap();
        apply_audio_plan(&plan, &mut waveform, 16_000, &mut AudioAugmentScratch::default()).unwrap();
        waveform
    }

    #[test]
    fn a_sample_gets_the_same_waveform_again_and_others_get_others() {
        for sample in 0..30 {
            assert_eq!(applied(1, sample), applied(1, sample));
            assert_ne!(applied(1, sample), applied(1, sample + 1));
        }
        assert_eq!(applied(0, 3), applied(0, 4));
        assert_eq!(applied(2, 3), applied(0, 3));
        assert!(plan_audio(&table(), 4, RandomKey::default()).is_err());
    }

    #[test]
    fn bad_entries_are_named_with_their_unit() {
        let refusal = |name, low, high| AudioOperation::built_in(name, low, high).unwrap_err().to_string();
        assert_eq!(
            refusal("gaussian_blur", 1.0, 2.0),
            "augmentation gaussian_blur: no such operation; there are gain, additive_noise, low_pass, \
             reverberation, mp3_compress, opus_compress"
        );
        assert_eq!(
            refusal("low_pass", 50.0, 2000.0),
            "augmentation low_pass: cutoff_hertz 50 is not between 100 and 192000"
        );
        assert_eq!(
            refusal("mp3_compress", 32.5, 64.0),
            "augmentation mp3_compress: kilobits_per_second 32.5 is not a whole number"
        );
        let gain = AudioOperation::built_in("gain", -1.0, 1.0).unwrap();
        let error = AudioAugmentTable::new([(0, vec![gain])].into()).unwrap_err();
        assert!(
            error.to_string().contains("level 0 leaves waveforms unchanged, so gain needs another level")
        );
    }
}
