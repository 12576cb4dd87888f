//! Reverberation: the same voice in another room.

use super::AudioAugmentScratch;
use super::convolution::convolve;
use super::kind::AudioOperationKind;
use crate::augment::{BuiltIn, check_parameter};
use crate::error::{Error, Result};
use crate::rng::CounterRng;

/// The highest rate that recordings are resampled to; a response is as long as it is high.
const MAX_SAMPLE_RATE: u32 = 384_000;

/// Puts the waveform into a room whose sound falls by 60 dB in `rt60_seconds`; see [`impulse_response`]. What rings on
/// after the waveform's end is cut off.
///
/// # Errors
/// [`Error::Augment`] for a time outside of 0.01 to 5 s, or a rate above 384,000 Hz.
pub fn reverberation(
    waveform: &mut [f32],
    sample_rate: u32,
    rt60_seconds: f64,
    rng: &mut CounterRng,
    scratch: &mut AudioAugmentScratch,
) -> Result<()> {
    let AudioAugmentScratch { convolution, response, .. } = scratch;
    impulse_response(sample_rate, rt60_seconds, rng, response)?;
    convolve(waveform, response, 0, convolution)
}

/// Writes a synthetic room: the direct sound, and a tail of white Gaussian noise that decays exponentially (Moorer,
/// *About this reverberation business*, 1979), cut off where it is 60 dB down.
///
/// ```text
///  h[0] = 1 / sqrt 2,   h[n] = g normal(n) 10^(-3 n / (RT60 rate)),   sum of h[1..]² = 1/2
/// ```
///
/// Direct sound and tail have the same energy, and both together 1: white noise keeps its loudness.
///
/// # Errors
/// [`Error::Augment`] for a time outside of 0.01 to 5 s, or a rate above 384,000 Hz.
pub fn impulse_response(
    sample_rate: u32,
    rt60_seconds: f64,
    rng: &mut CounterRng,
    response: &mut Vec<f32>,
) -> Result<()> {
    check_parameter(AudioOperationKind::Reverberation, rt60_seconds)?;
    if sample_rate > MAX_SAMPLE_RATE {
        let reason = format!("a sampling rate of {sample_rate} Hz is above {MAX_SAMPLE_RATE} Hz");
        return Err(Error::augment(AudioOperationKind::Reverberation.name(), reason));
    }
    let decay_samples = rt60_seconds * f64::from(sample_rate);
    let tail = (decay_samples.round() as usize).max(1);
    response.clear();
    response.resize(tail + 1, 0.0);
    rng.fill_standard_normals(&mut response[1..]);
    let step = 10f64.powf(-3.0 / decay_samples);
    let (mut envelope, mut energy) = (1.0, 0.0);
    for sample in &mut response[1..] {
        envelope *= step;
        *sample *= envelope as f32;
        energy += f64::from(*sample) * f64::from(*sample);
    }
    let factor = if energy > 0.0 { (0.5 / energy).sqrt() as f32 } else { 0.0 };
    response[1..].iter_mut().for_each(|sample| *sample *= factor);
    response[0] = std::f32::consts::FRAC_1_SQRT_2;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rng::RandomKey;

    fn room(rt60_seconds: f64) -> Vec<f32> {
        let mut response = Vec::new();
        let mut rng = CounterRng::new(RandomKey::default(), 0);
        impulse_response(16_000, rt60_seconds, &mut rng, &mut response).unwrap();
        response
    }

    fn energy(samples: &[f32]) -> f64 {
        samples.iter().map(|&it| f64::from(it) * f64::from(it)).sum()
    }

    #[test]
    fn the_tail_falls_by_60_decibels() {
        for rt60 in [0.2, 0.5, 1.5] {
            let response = room(rt60);
            assert_eq!(response.len(), (rt60 * 16_000.0) as usize + 1);
            assert!((energy(&response) - 1.0).abs() < 1e-5);
            assert!((energy(&response[1..]) - 0.5).abs() < 1e-5);
            // Two stretches half the time apart: 30 dB between them.
            let half = response.len() / 2;
            let stretch = half / 3;
            let fall = energy(&response[1..stretch]) / energy(&response[half..half + stretch - 1]);
            assert!((10.0 * fall.log10() - 30.0).abs() < 1.0, "{}", 10.0 * fall.log10());
        }
    }

    #[test]
    fn an_impulse_becomes_the_response() {
        let mut waveform = vec![0.0f32; 9000];
        waveform[100] = 1.0;
        let mut scratch = AudioAugmentScratch::default();
        let mut rng = CounterRng::new(RandomKey::default(), 0);
        reverberation(&mut waveform, 16_000, 0.5, &mut rng, &mut scratch).unwrap();
        let response = room(0.5);
        let expected = [&[0.0; 100][..], &response].concat();
        assert!(waveform.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() < 1e-6));
        assert!(impulse_response(16_000, 5.1, &mut rng, &mut Vec::new()).is_err());
    }
}
