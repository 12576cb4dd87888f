//! Low-pass: a telephone, a cheap loudspeaker, a lower sampling rate on the way.

use std::f64::consts::PI;

use super::convolution::convolve;
use super::kind::AudioOperationKind;
use super::{AudioAugmentScratch, ConvolutionScratch};
use crate::augment::check_parameter;
use crate::error::Result;

/// Taps of the filter: its transition is about 3.3 / 513 of the sampling rate wide, 103 Hz at 16 kHz.
const TAPS: usize = 513;

/// Takes away what lies above `cutoff_hertz`, where the response is down to a half (-6 dB).
///
/// A finite impulse response of 513 taps, `sin(x) / x` under a Hamming window, scaled so that a constant passes
/// unchanged (as `scipy.signal.firwin(513, cutoff_hertz, fs=sample_rate)`). Its delay of 256 samples is taken out
/// again. A cut-off from half the sampling rate on changes nothing.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a cut-off outside of 100 to 192,000 Hz.
pub fn low_pass(
    waveform: &mut [f32],
    sample_rate: u32,
    cutoff_hertz: f64,
    scratch: &mut AudioAugmentScratch,
) -> Result<()> {
    check_parameter(AudioOperationKind::LowPass, cutoff_hertz)?;
    if cutoff_hertz * 2.0 >= f64::from(sample_rate) {
        return Ok(());
    }
    let AudioAugmentScratch { convolution, response, .. } = scratch;
    write_taps(2.0 * cutoff_hertz / f64::from(sample_rate), response);
    filter(waveform, response, convolution)
}

fn filter(waveform: &mut [f32], taps: &[f32], scratch: &mut ConvolutionScratch) -> Result<()> {
    convolve(waveform, taps, TAPS / 2, scratch)
}

/// The taps for a cut-off at this share of half the sampling rate.
fn write_taps(cutoff: f64, taps: &mut Vec<f32>) {
    let tap = |n: usize| {
        let distance = n as f64 - (TAPS / 2) as f64;
        let x = PI * cutoff * distance;
        let sinc = if distance == 0.0 { 1.0 } else { x.sin() / x };
        let hamming = 0.54 - 0.46 * (2.0 * PI * n as f64 / (TAPS - 1) as f64).cos();
        sinc * hamming
    };
    let sum: f64 = (0..TAPS).map(tap).sum();
    taps.clear();
    taps.extend((0..TAPS).map(|n| (tap(n) / sum) as f32));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;

    /// The amplitude of a tone after the filter, away from the ends.
    fn amplitude(tone_hertz: f64, cutoff_hertz: f64) -> f32 {
        let step = 2.0 * PI * tone_hertz / f64::from(RATE);
        let mut waveform: Vec<f32> = (0..8000).map(|n| (step * n as f64).sin() as f32).collect();
        low_pass(&mut waveform, RATE, cutoff_hertz, &mut AudioAugmentScratch::default()).unwrap();
        waveform[1000..7000].iter().fold(0.0f32, |most, it| most.max(it.abs()))
    }

    #[test]
    fn tones_below_pass_and_tones_above_are_gone() {
        for cutoff in [500.0, 1000.0, 3400.0, 7000.0] {
            assert!((amplitude(cutoff - 100.0, cutoff) - 1.0).abs() < 5e-3);
            assert!((amplitude(cutoff + 3.0, cutoff) - 0.5).abs() < 0.1);
            assert!(amplitude(cutoff + 100.0, cutoff) < 5e-3);
        }
        assert_eq!(amplitude(7123.0, 8000.0).to_bits(), amplitude(7123.0, 20_000.0).to_bits());
    }

    #[test]
    fn a_constant_keeps_its_value_and_place() {
        let mut waveform = vec![0.25f32; 2000];
        low_pass(&mut waveform, RATE, 1234.0, &mut AudioAugmentScratch::default()).unwrap();
        assert!(waveform[TAPS..2000 - TAPS].iter().all(|it| (it - 0.25).abs() < 1e-6));
        let mut impulse = vec![0.0f32; 1001];
        impulse[500] = 1.0;
        low_pass(&mut impulse, RATE, 1234.0, &mut AudioAugmentScratch::default()).unwrap();
        let peak = (0..1001).max_by(|&a, &b| impulse[a].total_cmp(&impulse[b]));
        assert_eq!(peak, Some(500));
        assert!(low_pass(&mut impulse, RATE, 99.0, &mut AudioAugmentScratch::default()).is_err());
    }
}
