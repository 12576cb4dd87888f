//! Scores of a binary detector: Matthews correlation, Brier score and the two `sn34_score` formulas.
//!
//! Two formulas carry the same name, and they order models differently:
//!
//! | | positive when | Brier score of | formula |
//! |---|---|---|---|
//! | [`Score::sn34_score`], the documented one | `p >= 0.5` | `p` | `sqrt(((MCC + 1) / 2)^alpha * (1 - brier)^beta)` |
//! | [`Score::gasbench_sn34_score`], the live one | `p > 0.5` | `clip(p, 1e-7, 1 - 1e-7)` | `sqrt(max(1e-12, ((MCC + 1) / 2)^1.2 * max(0, (0.25 - brier) / 0.25)^1.8))` |
//!
//! The live benchmark takes the argmax of two logits, where a tie is real, so `p == 0.5` counts
//! as real there and as synthetic in the documented score. The clip belongs to the live score
//! alone: the documented one is the plain mean square, as everybody else computes it.

mod provenance;
mod sums;

use std::f64::consts::LN_2;

use crate::error::{Error, Result};
use sums::sum;

pub use provenance::{
    BASE_SHARE, Provenance, ProvenanceShares, ROBUST_SHARE, blend_robustness, provenance_weights,
};

/// From this probability on, the documented score calls a sample synthetic; the live one, above it.
pub const DECISION_THRESHOLD: f64 = 0.5;

/// Default exponent of the normalised Matthews correlation.
pub const DEFAULT_ALPHA: f64 = 1.2;

/// Default exponent of the normalised Brier score.
pub const DEFAULT_BETA: f64 = 1.8;

/// Brier score of a detector that always answers 0.5: the live formula gives nothing beyond it.
const CHANCE_BRIER: f64 = 0.25;

/// The live formula's radicand is never below this.
const GASBENCH_FLOOR: f64 = 1e-12;

/// Labels or probabilities `[n]` in the element type that they came in.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// Bytes and booleans.
    Byte(&'a [u8]),
    /// 64-bit integers.
    Whole(&'a [i64]),
    /// Single-precision numbers.
    Single(&'a [f32]),
    /// Double-precision numbers.
    Double(&'a [f64]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Byte(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Single(values) => values.len(),
            Self::Double(values) => values.len(),
        }
    }
}

macro_rules! values_from {
    ($($kind:ty => $variant:ident),*) => {
        $(
            impl<'a> From<&'a [$kind]> for Values<'a> {
                fn from(values: &'a [$kind]) -> Self {
                    Self::$variant(values)
                }
            }

            impl<'a, const N: usize> From<&'a [$kind; N]> for Values<'a> {
                fn from(values: &'a [$kind; N]) -> Self {
                    Self::$variant(values)
                }
            }

            impl<'a> From<&'a Vec<$kind>> for Values<'a> {
                fn from(values: &'a Vec<$kind>) -> Self {
                    Self::$variant(values)
                }
            }
        )*
    };
}
values_from!(u8 => Byte, i64 => Whole, f32 => Single, f64 => Double);

/// Exponents of the documented formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponents {
    /// Exponent of the normalised Matthews correlation.
    pub alpha: f64,
    /// Exponent of the normalised Brier score.
    pub beta: f64,
}

impl Default for Exponents {
    fn default() -> Self {
        Self { alpha: DEFAULT_ALPHA, beta: DEFAULT_BETA }
    }
}

/// Confusion counts; a sample counts as much as its weight, synthetic is the positive class.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Confusion {
    /// Synthetic, called synthetic.
    pub true_positives: f64,
    /// Real, called synthetic.
    pub false_positives: f64,
    /// Real, called real.
    pub true_negatives: f64,
    /// Synthetic, called real.
    pub false_negatives: f64,
}

impl Confusion {
    /// The weight of all samples.
    pub fn total(&self) -> f64 {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Matthews correlation coefficient in `[-1, 1]`; 0 where it is undefined, which is when
    /// there is one class only, or one prediction only.
    ///
    /// Source: B. W. Matthews, Biochimica et Biophysica Acta 405 (1975), 442-451.
    pub fn matthews_correlation(&self) -> f64 {
        let total = self.total();
        if total == 0.0 {
            return 0.0;
        }
        // Shares instead of counts: no product overflows, however large the weights are.
        let [tp, fp, tn, fn_] =
            [self.true_positives, self.false_positives, self.true_negatives, self.false_negatives]
                .map(|count| count / total);
        let denominator = ((tp + fp) * (tn + fn_)).sqrt() * ((tp + fn_) * (tn + fp)).sqrt();
        if denominator == 0.0 { 0.0 } else { ((tp * tn - fp * fn_) / denominator).clamp(-1.0, 1.0) }
    }
}

/// What a detector's probabilities are worth.
///
/// Of no samples at all: the scores, `mcc` and `accuracy` are 0 and the losses those of a
/// detector that always answers 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The documented formula, in `[0, 1]`.
    pub sn34_score: f64,
    /// The formula that the live benchmark computes, in `[0, 1]`.
    pub gasbench_sn34_score: f64,
    /// Matthews correlation at `p >= 0.5`, in `[-1, 1]`.
    pub mcc: f64,
    /// `(mcc + 1) / 2`.
    pub mcc_norm: f64,
    /// Mean of `(p - label)^2`.
    pub brier: f64,
    /// `1 - brier`.
    pub brier_norm: f64,
    /// Share of the samples on the right side of `p >= 0.5`.
    pub accuracy: f64,
    /// Mean negative logarithm of the label's probability, in nats.
    pub cross_entropy: f64,
    /// Confusion counts at `p >= 0.5`.
    pub confusion: Confusion,
    /// Matthews correlation at `p > 0.5`, as the live score takes it.
    pub gasbench_mcc: f64,
    /// Mean of `(clip(p, 1e-7, 1 - 1e-7) - label)^2`, as the live score takes it.
    pub gasbench_brier: f64,
    /// Number of samples.
    pub count: usize,
    /// Whether weights were given: without them the confusion counts are whole numbers.
    pub weighted: bool,
}

/// Scores probabilities against labels.
///
/// `labels` are 0 (real) or 1 (synthetic), `[n]`; `probabilities` are those of synthetic, in
/// `[0, 1]`, `[n]`; a weight of w counts as w copies of its sample, `[n]`. The sums are taken in
/// a fixed order: the same input gives the same bits on any number of threads.
///
/// ```
/// use dfresearch_core::metric::{Exponents, sn34_score};
///
/// let score = sn34_score(&[0_i64, 0, 1, 1], &[0.1_f64, 0.4, 0.35, 0.8], None, Exponents::default())?;
/// assert_eq!(score.accuracy, 0.75);
/// assert_eq!(score.confusion.false_negatives, 1.0);
/// # Ok::<(), dfresearch_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] naming the argument and the index when the lengths differ, a label is
/// neither 0 nor 1, a probability is NaN or outside of `[0, 1]`, a weight is negative or not
/// finite, all weights are 0, or an exponent is negative or not finite.
pub fn sn34_score<'a>(
    labels: impl Into<Values<'a>>,
    probabilities: impl Into<Values<'a>>,
    weights: Option<&[f64]>,
    exponents: Exponents,
) -> Result<Score> {
    score_values(labels.into(), probabilities.into(), weights, exponents)
}

fn score_values(
    labels: Values<'_>,
    probabilities: Values<'_>,
    weights: Option<&[f64]>,
    exponents: Exponents,
) -> Result<Score> {
    let count = labels.len();
    check_arguments(count, probabilities.len(), weights, exponents)?;
    if count == 0 {
        return Ok(score_of_nothing(weights.is_some()));
    }
    let totals = match labels {
        Values::Byte(labels) => sum(labels, probabilities, weights),
        Values::Whole(labels) => sum(labels, probabilities, weights),
        Values::Single(labels) => sum(labels, probabilities, weights),
        Values::Double(labels) => sum(labels, probabilities, weights),
    }?;
    totals.into_score(count, weights.is_some(), exponents)
}

/// The documented formula: `sqrt(((mcc + 1) / 2)^alpha * (1 - brier)^beta)`.
///
/// Deliberately without a floor under its factors: an MCC of -1 scores 0.
pub fn documented_score(mcc: f64, brier: f64, exponents: Exponents) -> f64 {
    (((mcc + 1.0) / 2.0).powf(exponents.alpha) * (1.0 - brier).max(0.0).powf(exponents.beta)).sqrt()
}

/// The live formula: `sqrt(max(1e-12, ((mcc + 1) / 2)^1.2 * max(0, (0.25 - brier) / 0.25)^1.8))`,
/// clipped to `[0, 1]`.
pub fn gasbench_score(mcc: f64, brier: f64) -> f64 {
    let skill = ((CHANCE_BRIER - brier) / CHANCE_BRIER).max(0.0);
    let radicand = ((mcc + 1.0) / 2.0).powf(DEFAULT_ALPHA) * skill.powf(DEFAULT_BETA);
    radicand.max(GASBENCH_FLOOR).sqrt().clamp(0.0, 1.0)
}

fn check_arguments(
    labels: usize,
    probabilities: usize,
    weights: Option<&[f64]>,
    exponents: Exponents,
) -> Result<()> {
    if probabilities != labels {
        return Err(Error::argument("probs", format!("{probabilities} values for {labels} labels")));
    }
    for (argument, exponent) in [("alpha", exponents.alpha), ("beta", exponents.beta)] {
        if !exponent.is_finite() || exponent < 0.0 {
            return Err(Error::argument(
                argument,
                format!("{exponent} is not a finite number of at least 0"),
            ));
        }
    }
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != labels {
        return Err(Error::argument("weights", format!("{} values for {labels} labels", weights.len())));
    }
    let bad = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0);
    if let Some(index) = bad {
        let reason = format!("{} at index {index} is not a finite number of at least 0", weights[index]);
        return Err(Error::argument("weights", reason));
    }
    if labels > 0 && weights.iter().all(|&weight| weight == 0.0) {
        return Err(Error::argument("weights", "all of them are 0"));
    }
    Ok(())
}

fn score_of_nothing(weighted: bool) -> Score {
    Score {
        sn34_score: 0.0,
        gasbench_sn34_score: 0.0,
        mcc: 0.0,
        mcc_norm: 0.5,
        brier: CHANCE_BRIER,
        brier_norm: 1.0 - CHANCE_BRIER,
        accuracy: 0.0,
        cross_entropy: LN_2,
        confusion: Confusion::default(),
        gasbench_mcc: 0.0,
        gasbench_brier: CHANCE_BRIER,
        count: 0,
        weighted,
    }
}

#[cfg(test)]
mod tests;
