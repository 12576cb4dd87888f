//! Convolution by the fast Fourier transform, for responses of hundreds and thousands of samples.

use std::fmt;

use realfft::num_complex::Complex;
use realfft::{FftError, RealFftPlanner};

use crate::error::{Error, Result};

/// Plans and spectra that are kept from one convolution to the next.
pub struct ConvolutionScratch {
    planner: RealFftPlanner<f32>,
    time: Vec<f32>,
    signal: Vec<Complex<f32>>,
    response: Vec<Complex<f32>>,
    work: Vec<Complex<f32>>,
}

impl Default for ConvolutionScratch {
    fn default() -> Self {
        let [signal, response, work] = [const { Vec::new() }; 3];
        Self { planner: RealFftPlanner::new(), time: Vec::new(), signal, response, work }
    }
}

impl fmt::Debug for ConvolutionScratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ConvolutionScratch({} samples)", self.time.len())
    }
}

/// Replaces `waveform` by `waveform * response`, of which the first `delay` samples are left out and then as many are
/// kept as the waveform has. Before and after it there is silence.
///
/// Lengths are rounded up to a power of two, so that few plans are made.
pub(super) fn convolve(
    waveform: &mut [f32],
    response: &[f32],
    delay: usize,
    scratch: &mut ConvolutionScratch,
) -> Result<()> {
    if waveform.is_empty() || response.is_empty() {
        return Ok(());
    }
    let length = (waveform.len() + response.len() - 1).next_power_of_two().max(2);
    let ConvolutionScratch { planner, time, signal, response: filter, work } = scratch;
    let forward = planner.plan_fft_forward(length);
    let inverse = planner.plan_fft_inverse(length);
    let bins = length / 2 + 1;
    signal.resize(bins, Complex::default());
    filter.resize(bins, Complex::default());
    work.resize(forward.get_scratch_len().max(inverse.get_scratch_len()), Complex::default());

    for (samples, spectrum) in [(&*waveform, &mut *signal), (response, &mut *filter)] {
        time.clear();
        time.extend_from_slice(samples);
        time.resize(length, 0.0);
        forward.process_with_scratch(time, spectrum, work).map_err(failed)?;
    }
    let scale = 1.0 / length as f32;
    for (bin, factor) in signal.iter_mut().zip(&*filter) {
        *bin = *bin * factor * scale;
    }
    // A product of real spectra is real at both ends; rounding must not say otherwise.
    signal[0].im = 0.0;
    signal[bins - 1].im = 0.0;
    inverse.process_with_scratch(signal, time, work).map_err(failed)?;

    let kept = waveform.len();
    waveform.copy_from_slice(&time[delay..delay + kept]);
    Ok(())
}

fn failed(error: FftError) -> Error {
    Error::augment("convolution", error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn directly(waveform: &[f32], response: &[f32], delay: usize) -> Vec<f32> {
        let tap = |n: usize, k: usize| {
            let sample = n.checked_sub(k).and_then(|it| waveform.get(it)).copied().unwrap_or(0.0);
            f64::from(sample) * f64::from(response[k])
        };
        let sample = |n: usize| (0..response.len()).map(|k| tap(n + delay, k)).sum::<f64>() as f32;
        (0..waveform.len()).map(sample).collect()
    }

    proptest! {
        #[test]
        fn the_sum_of_products_comes_out(
            waveform in prop::collection::vec(-2.0f32..2.0, 0..300),
            response in prop::collection::vec(-1.0f32..1.0, 1..200),
            delay in 0usize..100,
        ) {
            let delay = delay.min(response.len() - 1);
            let expected = directly(&waveform, &response, delay);
            let mut convolved = waveform;
            convolve(&mut convolved, &response, delay, &mut ConvolutionScratch::default()).unwrap();
            for (got, expected) in convolved.iter().zip(&expected) {
                prop_assert!((got - expected).abs() < 1e-4, "{got} {expected}");
            }
        }
    }
}
