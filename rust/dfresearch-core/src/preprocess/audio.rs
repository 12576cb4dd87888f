//! A recording to a window of fixed length: what the competition feeds a model, or a random one for training.

use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::rng::{CounterRng, RandomKey};

/// A stream of its own, beside those of the augmentation.
const CROP_STREAM: u64 = 2;

/// The longest window: as many samples as an hour has at 16 kHz.
const MAX_WINDOW_SAMPLES: f64 = 57_600_000.0;

/// Which part of a longer recording is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioCrop {
    /// The middle: `start = (n - N) / 2`, rounded down, as the competition does.
    Center,
    /// Anywhere: every start from 0 to `n - N` is equally likely, drawn from the sample's key.
    Random,
}

impl AudioCrop {
    /// The lower-case name used in configurations and keywords.
    pub fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Random => "random",
        }
    }
}

impl FromStr for AudioCrop {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "center" => Ok(Self::Center),
            "random" => Ok(Self::Random),
            _ => Err(Error::argument("crop", format!("{name:?} is neither center nor random"))),
        }
    }
}

/// The window that is cut out of every recording.
///
/// ```
/// use dfresearch_core::preprocess::{AudioCrop, AudioWindow};
/// use dfresearch_core::rng::RandomKey;
///
/// let window = AudioWindow::new(16_000, 0.000_25, AudioCrop::Center)?;
/// assert_eq!(window.samples(), 4);
/// let mut out = [9.0; 4];
/// window.cut(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], RandomKey::default(), &mut out);
/// assert_eq!(out, [2.0, 3.0, 4.0, 5.0]);
/// window.cut(&[1.0, 2.0], RandomKey::default(), &mut out);
/// assert_eq!(out, [1.0, 2.0, 0.0, 0.0]);
/// # Ok::<(), dfresearch_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioWindow {
    sample_rate: u32,
    samples: usize,
    crop: AudioCrop,
}

impl AudioWindow {
    /// Windows of `duration_seconds` at `sample_rate` Hz, rounded to a whole number of samples.
    ///
    /// # Errors
    /// [`Error::Argument`] for a rate of zero, and for a window of no samples, or of more than an hour's at 16 kHz.
    pub fn new(sample_rate: u32, duration_seconds: f64, crop: AudioCrop) -> Result<Self> {
        if sample_rate == 0 {
            return Err(Error::argument("sample_rate", "0 Hz is no sample rate"));
        }
        let samples = (duration_seconds * f64::from(sample_rate)).round();
        if !(1.0..=MAX_WINDOW_SAMPLES).contains(&samples) {
            let reason = format!(
                "{duration_seconds} seconds at {sample_rate} Hz are not between 1 and {MAX_WINDOW_SAMPLES} samples"
            );
            return Err(Error::argument("duration_seconds", reason));
        }
        Ok(Self { sample_rate, samples: samples as usize, crop })
    }

    /// In Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Samples of a window.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Which samples of a recording of `length` samples are the window's: all of a shorter one.
    pub fn range(&self, length: usize, key: RandomKey) -> Range<usize> {
        let surplus = length.saturating_sub(self.samples);
        let start = match self.crop {
            AudioCrop::Center => surplus / 2,
            AudioCrop::Random => CounterRng::new(key, CROP_STREAM).below(surplus as u64 + 1) as usize,
        };
        start..start + length.min(self.samples)
    }

    /// Writes the window of a recording into `out`, [`Self::samples`] values long. A shorter recording is followed by
    /// zeros. The values are not changed: nothing is scaled, nothing is clipped.
    pub fn cut(&self, recording: &[f32], key: RandomKey, out: &mut [f32]) {
        let kept = &recording[self.range(recording.len(), key)];
        let (window, padding) = out.split_at_mut(kept.len());
        window.copy_from_slice(kept);
        padding.fill(0.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(sample: u64) -> RandomKey {
        RandomKey { seed: 3, epoch: 1, sample }
    }

    proptest! {
        #[test]
        fn a_window_is_a_part_of_the_recording_or_the_recording_and_zeros(
            length in 0usize..200, samples in 1u32..100, number: u64, random: bool,
        ) {
            let crop = if random { AudioCrop::Random } else { AudioCrop::Center };
            let window = AudioWindow::new(1000, f64::from(samples) / 1000.0, crop).unwrap();
            let recording: Vec<f32> = (1..=length).map(|n| n as f32).collect();
            let mut out = vec![-1.0; window.samples()];
            window.cut(&recording, key(number), &mut out);
            let samples = samples as usize;
            if length <= samples {
                prop_assert_eq!(&out[..length], &recording[..]);
                prop_assert!(out[length..].iter().all(|it| *it == 0.0));
            } else {
                let start = out[0] as usize - 1;
                prop_assert_eq!(&out[..], &recording[start..start + samples]);
                prop_assert!(random || start == (length - samples) / 2);
            }
        }
    }

    #[test]
    fn every_start_is_equally_likely() {
        let window = AudioWindow::new(1000, 0.01, AudioCrop::Random).unwrap();
        let recording: Vec<f32> = (0..14u8).map(f32::from).collect();
        let mut counts = [0u32; 5];
        let mut out = [0.0; 10];
        for number in 0..10_000 {
            window.cut(&recording, key(number), &mut out);
            counts[out[0] as usize] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(
            counts.iter().all(|&count| (f64::from(count) - 2000.0).abs() < 5.0 * 1600f64.sqrt()),
            "{counts:?}"
        );
    }

    #[test]
    fn impossible_windows_are_refused() {
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 3600.1] {
            let refused = AudioWindow::new(16_000, seconds, AudioCrop::Center).unwrap_err();
            assert!(refused.to_string().starts_with("duration_seconds: "), "{refused}");
        }
        assert_eq!(AudioWindow::new(16_000, 6.0, AudioCrop::Center).unwrap().samples(), 96_000);
        assert!("middle".parse::<AudioCrop>().is_err());
        assert_eq!("random".parse::<AudioCrop>().unwrap().name(), "random");
    }
}
