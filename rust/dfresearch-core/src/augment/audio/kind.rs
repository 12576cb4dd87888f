//! The operations for waveforms, and the levels made of them.

use super::codec_round_trip::AudioCodec;
use crate::augment::table::{BuiltIn, LevelTable, NamedOperation, TableOperation};
use crate::error::Result;

/// Augmentation levels for waveforms.
pub type AudioAugmentTable = LevelTable<AudioOperationKind>;

/// One entry of an [`AudioAugmentTable`].
pub type AudioOperation = TableOperation<AudioOperationKind>;

/// An operation of the caller's own on waveforms, for experiments.
pub trait CustomAudioOperation: NamedOperation {
    /// Changes the samples of `waveform` in place; `seed` is the sample's own.
    ///
    /// # Errors
    /// Whatever the operation refuses; [`Error::Augment`](crate::Error::Augment) names it.
    fn apply(&self, waveform: &mut [f32], seed: u64) -> Result<()>;
}

/// The operations that are built in for waveforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioOperationKind {
    /// Louder or quieter, see [`gain`](super::gain).
    Gain,
    /// White noise at a signal-to-noise ratio, see [`additive_noise`](super::additive_noise).
    AdditiveNoise,
    /// High frequencies taken away, see [`low_pass`](super::low_pass).
    LowPass,
    /// A room, see [`reverberation`](super::reverberation).
    Reverberation,
    /// MP3 round trip, see [`codec_round_trip`](super::codec_round_trip).
    Mp3Compress,
    /// Opus round trip, see [`codec_round_trip`](super::codec_round_trip).
    OpusCompress,
}

impl AudioOperationKind {
    /// Refuses a sampling rate at which the operation would fail.
    ///
    /// # Errors
    /// [`Error::Augment`](crate::Error::Augment), naming the rates that it has.
    pub fn check_sample_rate(self, sample_rate: u32) -> Result<()> {
        match self {
            Self::Mp3Compress => AudioCodec::Mp3.check_sample_rate(sample_rate),
            Self::OpusCompress => AudioCodec::Opus.check_sample_rate(sample_rate),
            _ => Ok(()),
        }
    }
}

impl BuiltIn for AudioOperationKind {
    type Custom = dyn CustomAudioOperation;

    const SUBJECT: &'static str = "waveforms";

    const ALL: &'static [Self] = &[
        Self::Gain,
        Self::AdditiveNoise,
        Self::LowPass,
        Self::Reverberation,
        Self::Mp3Compress,
        Self::OpusCompress,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Gain => "gain",
            Self::AdditiveNoise => "additive_noise",
            Self::LowPass => "low_pass",
            Self::Reverberation => "reverberation",
            Self::Mp3Compress => "mp3_compress",
            Self::OpusCompress => "opus_compress",
        }
    }

    fn parameter(self) -> &'static str {
        match self {
            Self::Gain => "decibels",
            Self::AdditiveNoise => "snr_decibels",
            Self::LowPass => "cutoff_hertz",
            Self::Reverberation => "rt60_seconds",
            Self::Mp3Compress | Self::OpusCompress => "kilobits_per_second",
        }
    }

    fn domain(self) -> (f64, f64) {
        match self {
            // Far beyond what 24 bits can tell apart.
            Self::Gain => (-150.0, 150.0),
            Self::AdditiveNoise => (-60.0, 150.0),
            // Below, the filter's transition would begin under 0 Hz; above, no sampling rate has anything to lose.
            Self::LowPass => (100.0, 192_000.0),
            Self::Reverberation => (0.01, 5.0),
            // All that MPEG-2 Layer III offers at 16 kHz; what libopus accepts for one channel.
            Self::Mp3Compress => (8.0, 160.0),
            Self::OpusCompress => (6.0, 256.0),
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Mp3Compress | Self::OpusCompress)
    }

    fn check_available(self) -> Result<()> {
        match self {
            Self::Mp3Compress => AudioCodec::Mp3.check_available(),
            Self::OpusCompress => AudioCodec::Opus.check_available(),
            _ => Ok(()),
        }
    }
}
