//! Additive noise: a microphone, an amplifier, a room that is never quite silent.

use multiversion::multiversion;

use super::kind::AudioOperationKind;
use crate::augment::check_parameter;
use crate::error::Result;
use crate::rng::{CounterRng, NORMALS_PER_CALL};

/// Adds white Gaussian noise `snr_decibels` below the waveform's own power, `mean(x²)`.
///
/// The standard deviation is `sqrt(mean(x²) / 10^(snr / 10))`; digital silence has no power and stays silent.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a ratio outside of -60 to 150 dB.
pub fn additive_noise(waveform: &mut [f32], snr_decibels: f64, rng: &mut CounterRng) -> Result<()> {
    check_parameter(AudioOperationKind::AdditiveNoise, snr_decibels)?;
    let energy: f64 = waveform.iter().map(|&sample| f64::from(sample) * f64::from(sample)).sum();
    let power = energy / waveform.len().max(1) as f64;
    let deviation = (power / 10f64.powf(snr_decibels / 10.0)).sqrt() as f32;
    if deviation > 0.0 {
        add_normals(waveform, deviation, rng);
    }
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_normals(waveform: &mut [f32], deviation: f32, rng: &mut CounterRng) {
    for chunk in waveform.chunks_mut(NORMALS_PER_CALL) {
        for (sample, normal) in chunk.iter_mut().zip(&rng.normals()) {
            *sample += normal * deviation;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rng::RandomKey;

    fn noise(amplitude: f32, snr_decibels: f64) -> Vec<f32> {
        let clean: Vec<f32> = (0..100_000).map(|n| amplitude * (n as f32 * 0.1).sin()).collect();
        let mut noisy = clean.clone();
        additive_noise(&mut noisy, snr_decibels, &mut CounterRng::new(RandomKey::default(), 0)).unwrap();
        noisy.iter().zip(&clean).map(|(noisy, clean)| noisy - clean).collect()
    }

    #[test]
    fn noise_is_as_far_below_the_waveform_as_asked_for() {
        for (amplitude, snr) in [(0.5f32, 20.0), (0.01, 0.0), (3.0, 40.0)] {
            let power = noise(amplitude, snr).iter().map(|it| f64::from(it * it)).sum::<f64>() / 1e5;
            let measured = 10.0 * (f64::from(amplitude).powi(2) / 2.0 / power).log10();
            // Five standard errors of a sample variance of 100,000: 2.2 % or 0.1 dB.
            assert!((measured - snr).abs() < 0.1, "{measured} for {snr}");
        }
    }

    #[test]
    fn silence_stays_silent_and_nothing_stays_nothing() {
        let mut silence = vec![0.0; 1000];
        let mut rng = CounterRng::new(RandomKey::default(), 0);
        additive_noise(&mut silence, 0.0, &mut rng).unwrap();
        assert_eq!(silence, [0.0; 1000]);
        additive_noise(&mut [], 0.0, &mut rng).unwrap();
    }
}
