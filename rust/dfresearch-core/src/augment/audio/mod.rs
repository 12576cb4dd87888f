//! Augmentation of waveforms: the traces of another room, microphone or transmission.
//!
//! ```text
//!  AudioTable ─┐
//!  level ──────┼─► plan ─► one or two operations in random order ─► apply_plan ─► samples
//!  RandomKey ──┘
//! ```
//!
//! A waveform is mono, `f32`, full scale ±1, changed in place and of the same length afterwards. Nothing is clipped:
//! what is louder than full scale stays so.

mod additive_noise;
mod codec_round_trip;
mod convolution;
mod gain;
mod kind;
mod low_pass;
mod plan;
mod reverberation;

pub use additive_noise::additive_noise;
pub use codec_round_trip::{AudioCodec, CodecScratch, codec_round_trip};
pub use convolution::ConvolutionScratch;
pub use gain::gain;
pub use kind::{AudioAugmentTable, AudioOperation, AudioOperationKind, CustomAudioOperation};
pub use low_pass::low_pass;
pub use plan::{AudioPlan, PlannedAudioOperation, apply_audio_plan, plan_audio, plan_audio_with_limit};
pub use reverberation::{impulse_response, reverberation};

/// What the operations keep between waveforms so that they need not allocate; one per thread.
#[derive(Default)]
pub struct AudioAugmentScratch {
    /// Spectra of low-pass and reverberation.
    pub convolution: ConvolutionScratch,
    /// The impulse response of the last filter or room.
    pub response: Vec<f32>,
    /// Samples on their way through an encoder.
    pub codec: CodecScratch,
}
