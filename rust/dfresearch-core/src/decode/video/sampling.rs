//! Which frames of a clip are wanted.

use crate::error::{Error, Result};

/// The frame rate of clips that do not tell theirs.
const UNKNOWN_FRAME_RATE: f64 = 30.0;

/// Which frames of a clip are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FrameSampling {
    /// The first ones, one after the other, as the competition does by default.
    First,
    /// Every `step`-th frame from the first on, `step = max(1, round(clip's rate / this rate))`, ties to even.
    Rate {
        /// The wanted frames per second.
        frames_per_second: f64,
    },
    /// Evenly spread over the whole clip, both ends included: `linspace(0, packets - 1, num_frames)`, truncated.
    Uniform,
}

impl FrameSampling {
    /// A sampling by its name: `first`, `rate` (which takes `frame_rate` and nothing else does) or `uniform`.
    ///
    /// # Errors
    /// [`Error::Argument`] for another name, or a frame rate that is missing, not wanted or not positive.
    ///
    /// ```
    /// use dfresearch_core::decode::video::FrameSampling;
    /// assert_eq!(FrameSampling::parse("first", None)?, FrameSampling::First);
    /// assert_eq!(FrameSampling::parse("rate", Some(8.0))?, FrameSampling::Rate { frames_per_second: 8.0 });
    /// assert!(FrameSampling::parse("rate", None).is_err());
    /// # Ok::<(), dfresearch_core::Error>(())
    /// ```
    pub fn parse(name: &str, frame_rate: Option<f64>) -> Result<Self> {
        let sampling = match (name, frame_rate) {
            ("first", None) => Self::First,
            ("uniform", None) => Self::Uniform,
            ("rate", Some(frames_per_second)) => Self::Rate { frames_per_second },
            ("rate", None) => {
                let reason = "must be given in frames per second with sampling \"rate\"";
                return Err(Error::argument("frame_rate", reason));
            }
            ("first" | "uniform", Some(_)) => {
                let reason = format!("has no meaning with sampling {name:?}; use sampling \"rate\"");
                return Err(Error::argument("frame_rate", reason));
            }
            _ => {
                let reason = format!("must be \"first\", \"rate\" or \"uniform\", not {name:?}");
                return Err(Error::argument("sampling", reason));
            }
        };
        sampling.check()?;
        Ok(sampling)
    }

    /// Checks the rate.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Rate { frames_per_second }
                if !(frames_per_second > 0.0 && frames_per_second.is_finite()) =>
            {
                let reason =
                    format!("must be a positive number of frames per second, not {frames_per_second}");
                Err(Error::argument("frame_rate", reason))
            }
            _ => Ok(()),
        }
    }

    /// The frames that are wanted where that does not depend on the clip's length.
    pub(super) fn steps(self, num_frames: usize, clip_rate: f64) -> Option<Vec<u64>> {
        let step = match self {
            Self::First => 1,
            Self::Rate { frames_per_second } => step(clip_rate, frames_per_second),
            Self::Uniform => return None,
        };
        Some((0..num_frames as u64).map(|position| position.saturating_mul(step)).collect())
    }
}

fn step(clip_rate: f64, frames_per_second: f64) -> u64 {
    let known = clip_rate.is_finite() && clip_rate > 0.0;
    let clip_rate = if known { clip_rate } else { UNKNOWN_FRAME_RATE };
    // As in Python, a half goes to the even number; the cast saturates.
    (clip_rate / frames_per_second).round_ties_even().max(1.0) as u64
}

/// The frames of a clip of `total` that [`FrameSampling::Uniform`] takes, as NumPy computes them:
/// `np.linspace(0, total - 1, num_frames).astype(int)`.
pub(super) fn spread(num_frames: usize, total: usize) -> Vec<u64> {
    let last = total.saturating_sub(1) as u64;
    let intervals = num_frames.saturating_sub(1);
    let step = last as f64 / intervals.max(1) as f64;
    let mut wanted: Vec<u64> = (0..num_frames).map(|position| (position as f64 * step) as u64).collect();
    // NumPy sets the end itself, which arithmetic might miss.
    if let (Some(end), true) = (wanted.last_mut(), intervals > 0) {
        *end = last;
    }
    wanted
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_round_as_python_does() {
        for (clip_rate, rate, expected) in
            [(25.0, 10.0, 2), (35.0, 10.0, 4), (30.0, 60.0, 1), (f64::NAN, 10.0, 3), (0.0, 15.0, 2)]
        {
            assert_eq!(step(clip_rate, rate), expected, "{clip_rate} / {rate}");
        }
        assert_eq!(FrameSampling::First.steps(3, 25.0).unwrap(), [0, 1, 2]);
        assert_eq!(FrameSampling::Rate { frames_per_second: 8.0 }.steps(3, 25.0).unwrap(), [0, 3, 6]);
    }

    #[test]
    fn arguments_are_checked() {
        for (name, rate) in
            [("first", Some(8.0)), ("rate", Some(0.0)), ("rate", Some(f64::NAN)), ("last", None)]
        {
            assert!(matches!(FrameSampling::parse(name, rate), Err(Error::Argument { .. })), "{name}");
        }
    }

    proptest! {
        #[test]
        fn spread_frames_are_of_the_clip_and_in_order(num_frames in 1usize..200, total in 1usize..10_000) {
            let wanted = spread(num_frames, total);
            prop_assert_eq!(wanted.len(), num_frames);
            prop_assert_eq!(wanted[0], 0);
            prop_assert!(wanted.is_sorted());
            prop_assert!(num_frames == 1 || *wanted.last().unwrap() == total as u64 - 1);
        }
    }
}
