//! Gain: another distance to the microphone, another recording level.

use super::kind::AudioOperationKind;
use crate::augment::check_parameter;
use crate::error::Result;

/// Multiplies every sample by `10^(decibels / 20)`.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for a gain outside of -150 to 150 dB.
pub fn gain(waveform: &mut [f32], decibels: f64) -> Result<()> {
    check_parameter(AudioOperationKind::Gain, decibels)?;
    let factor = 10f64.powf(decibels / 20.0) as f32;
    waveform.iter_mut().for_each(|sample| *sample *= factor);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_of_amplitude_and_nothing_is_clipped() {
        let mut waveform = [0.5f32, -1.0, 0.0];
        gain(&mut waveform, 20.0).unwrap();
        assert_eq!(waveform, [5.0, -10.0, 0.0]);
        gain(&mut waveform, -20.0).unwrap();
        assert_eq!(waveform, [0.5, -1.0, 0.0]);
        assert!(gain(&mut waveform, f64::NAN).is_err());
        assert!(gain(&mut waveform, 151.0).is_err());
    }
}
