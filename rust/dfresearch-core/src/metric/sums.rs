//! One pass over labels and probabilities, in a fixed order and with compensated totals.

use super::{Confusion, DECISION_THRESHOLD, Exponents, Score, Values, documented_score, gasbench_score};
use crate::error::{Error, Result};

/// The live benchmark keeps probabilities this far from 0 and 1 before the Brier score.
const GASBENCH_CLIP: f64 = 1e-7;

/// Cross-entropy keeps probabilities this far from 0 and 1, as scikit-learn does for float64.
const CROSS_ENTROPY_CLIP: f64 = f64::EPSILON;

/// Accumulators that run side by side, so that the loop vectorises.
const LANES: usize = 8;

/// Probabilities multiplied before one logarithm is taken of the product: sixteen factors of at
/// least 2.2e-16 stay far above the smallest float64.
const FACTORS_PER_LOGARITHM: usize = 16;

/// Samples summed before the sums join the compensated totals.
const BLOCK: usize = LANES * FACTORS_PER_LOGARITHM;

/// A sum whose rounding error is carried along (A. Neumaier, ZAMM 54 (1974), 39-51).
#[derive(Debug, Clone, Copy, Default)]
struct CompensatedSum {
    sum: f64,
    correction: f64,
}

impl CompensatedSum {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let lost =
            if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.correction += lost;
        self.sum = sum;
    }

    fn value(self) -> f64 {
        self.sum + self.correction
    }
}

/// Sums over all samples; cells are indexed by `2 * (label is 1) + (called synthetic)`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    cells: [CompensatedSum; 4],
    gasbench_cells: [CompensatedSum; 4],
    squared_error: CompensatedSum,
    clipped_squared_error: CompensatedSum,
    cross_entropy: CompensatedSum,
}

impl Totals {
    fn add_sample(&mut self, label: f64, probability: f64, weight: f64) {
        let row = if label == 1.0 { 2 } else { 0 };
        self.cells[row + usize::from(probability >= DECISION_THRESHOLD)].add(weight);
        self.gasbench_cells[row + usize::from(probability > DECISION_THRESHOLD)].add(weight);
        let error = probability - label;
        self.squared_error.add(weight * error * error);
        let error = probability.clamp(GASBENCH_CLIP, 1.0 - GASBENCH_CLIP) - label;
        self.clipped_squared_error.add(weight * error * error);
        let likelihood = if label == 1.0 { probability } else { 1.0 - probability };
        let likelihood = likelihood.clamp(CROSS_ENTROPY_CLIP, 1.0 - CROSS_ENTROPY_CLIP);
        self.cross_entropy.add(-weight * likelihood.ln());
    }

    pub(super) fn into_score(self, count: usize, weighted: bool, exponents: Exponents) -> Result<Score> {
        let confusion = confusion_of(self.cells);
        let total = confusion.total();
        if !total.is_finite() {
            return Err(Error::argument("weights", "their sum is beyond the range of float64"));
        }
        let mcc = confusion.matthews_correlation();
        // Weights of fractions add up differently sample by sample and cell by cell, by the last bit: an error of
        // all the weight must not pass 1. The clipped one stays clear of it.
        let brier = (self.squared_error.value() / total).min(1.0);
        let gasbench_mcc = confusion_of(self.gasbench_cells).matthews_correlation();
        let gasbench_brier = self.clipped_squared_error.value() / total;
        Ok(Score {
            sn34_score: documented_score(mcc, brier, exponents),
            gasbench_sn34_score: gasbench_score(gasbench_mcc, gasbench_brier),
            mcc,
            mcc_norm: (mcc + 1.0) / 2.0,
            brier,
            brier_norm: 1.0 - brier,
            accuracy: (confusion.true_positives + confusion.true_negatives) / total,
            cross_entropy: self.cross_entropy.value() / total,
            confusion,
            gasbench_mcc,
            gasbench_brier,
            count,
            weighted,
        })
    }
}

fn confusion_of(cells: [CompensatedSum; 4]) -> Confusion {
    let [true_negatives, false_positives, false_negatives, true_positives] = cells.map(CompensatedSum::value);
    Confusion { true_positives, false_positives, true_negatives, false_negatives }
}

/// An element type of labels and probabilities.
pub(super) trait Number: Copy {
    fn to_f64(self) -> f64;
}

macro_rules! number {
    ($($kind:ty),*) => {
        $(impl Number for $kind {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        })*
    };
}
number!(u8, i64, f32, f64);

/// The sums over samples whose lengths were compared already.
pub(super) fn sum<L: Number>(
    labels: &[L],
    probabilities: Values<'_>,
    weights: Option<&[f64]>,
) -> Result<Totals> {
    match probabilities {
        Values::Byte(probabilities) => sum_slices(labels, probabilities, weights),
        Values::Whole(probabilities) => sum_slices(labels, probabilities, weights),
        Values::Single(probabilities) => sum_slices(labels, probabilities, weights),
        Values::Double(probabilities) => sum_slices(labels, probabilities, weights),
    }
}

fn sum_slices<L: Number, P: Number>(
    labels: &[L],
    probabilities: &[P],
    weights: Option<&[f64]>,
) -> Result<Totals> {
    match weights {
        None => sum_unweighted(labels, probabilities),
        Some(weights) => sum_weighted(labels, probabilities, weights),
    }
}

fn is_valid(label: f64, probability: f64) -> bool {
    (label == 0.0 || label == 1.0) && (0.0..=1.0).contains(&probability)
}

/// The error for the sample at `index`, which [`is_valid`] refused.
fn invalid_sample(index: usize, label: f64, probability: f64) -> Error {
    if label != 0.0 && label != 1.0 {
        return Error::argument("labels", format!("{label} at index {index} is neither 0 nor 1"));
    }
    Error::argument("probs", format!("{probability} at index {index} is not a probability from 0 to 1"))
}

fn sum_weighted<L: Number, P: Number>(labels: &[L], probabilities: &[P], weights: &[f64]) -> Result<Totals> {
    let mut totals = Totals::default();
    for (index, ((label, probability), &weight)) in labels.iter().zip(probabilities).zip(weights).enumerate()
    {
        let (label, probability) = (label.to_f64(), probability.to_f64());
        if !is_valid(label, probability) {
            return Err(invalid_sample(index, label, probability));
        }
        totals.add_sample(label, probability, weight);
    }
    Ok(totals)
}

fn sum_unweighted<L: Number, P: Number>(labels: &[L], probabilities: &[P]) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut start = 0;
    let blocks = labels.chunks_exact(BLOCK).zip(probabilities.chunks_exact(BLOCK));
    for (labels, probabilities) in blocks {
        let sums = BlockSums::of(labels, probabilities);
        if sums.invalid > 0.0 {
            // The slow path names the sample.
            break;
        }
        sums.add_to(&mut totals);
        start += BLOCK;
    }
    for (index, (label, probability)) in labels.iter().zip(probabilities).enumerate().skip(start) {
        let (label, probability) = (label.to_f64(), probability.to_f64());
        if !is_valid(label, probability) {
            return Err(invalid_sample(index, label, probability));
        }
        totals.add_sample(label, probability, 1.0);
    }
    Ok(totals)
}

/// Sums over [`BLOCK`] samples of weight 1.
struct BlockSums {
    positives: f64,
    called: f64,
    hits: f64,
    gasbench_called: f64,
    gasbench_hits: f64,
    squared_error: f64,
    clipped_squared_error: f64,
    cross_entropy: f64,
    invalid: f64,
}

impl BlockSums {
    /// One pass without branches: every lane sums each eighth sample.
    fn of<L: Number, P: Number>(labels: &[L], probabilities: &[P]) -> Self {
        let mut positives = [0.0; LANES];
        let mut called = [0.0; LANES];
        let mut hits = [0.0; LANES];
        let mut gasbench_called = [0.0; LANES];
        let mut gasbench_hits = [0.0; LANES];
        let mut squared_error = [0.0; LANES];
        let mut clipped_squared_error = [0.0; LANES];
        let mut likelihood = [1.0_f64; LANES];
        let mut invalid = [0.0; LANES];
        for (labels, probabilities) in labels.chunks_exact(LANES).zip(probabilities.chunks_exact(LANES)) {
            for lane in 0..LANES {
                let label = labels[lane].to_f64();
                let probability = probabilities[lane].to_f64();
                let is_one = label == 1.0;
                let ok = (is_one | (label == 0.0)) & (0.0..=1.0).contains(&probability);
                invalid[lane] += if ok { 0.0 } else { 1.0 };
                let is_called = if probability >= DECISION_THRESHOLD { 1.0 } else { 0.0 };
                let is_gasbench_called = if probability > DECISION_THRESHOLD { 1.0 } else { 0.0 };
                positives[lane] += label;
                called[lane] += is_called;
                hits[lane] += is_called * label;
                gasbench_called[lane] += is_gasbench_called;
                gasbench_hits[lane] += is_gasbench_called * label;
                let error = probability - label;
                squared_error[lane] += error * error;
                let error = probability.clamp(GASBENCH_CLIP, 1.0 - GASBENCH_CLIP) - label;
                clipped_squared_error[lane] += error * error;
                let factor = if is_one { probability } else { 1.0 - probability };
                likelihood[lane] *= factor.clamp(CROSS_ENTROPY_CLIP, 1.0 - CROSS_ENTROPY_CLIP);
            }
        }
        let sum = |lanes: [f64; LANES]| lanes.iter().sum::<f64>();
        Self {
            positives: sum(positives),
            called: sum(called),
            hits: sum(hits),
            gasbench_called: sum(gasbench_called),
            gasbench_hits: sum(gasbench_hits),
            squared_error: sum(squared_error),
            clipped_squared_error: sum(clipped_squared_error),
            cross_entropy: -sum(likelihood.map(f64::ln)),
            invalid: sum(invalid),
        }
    }

    fn add_to(&self, totals: &mut Totals) {
        let cells = |called: f64, hits: f64| {
            let false_negatives = self.positives - hits;
            let false_positives = called - hits;
            let true_negatives = BLOCK as f64 - self.positives - false_positives;
            [true_negatives, false_positives, false_negatives, hits]
        };
        let both = [
            (&mut totals.cells, cells(self.called, self.hits)),
            (&mut totals.gasbench_cells, cells(self.gasbench_called, self.gasbench_hits)),
        ];
        for (sums, counts) in both {
            for (sum, count) in sums.iter_mut().zip(counts) {
                sum.add(count);
            }
        }
        totals.squared_error.add(self.squared_error);
        totals.clipped_squared_error.add(self.clipped_squared_error);
        totals.cross_entropy.add(self.cross_entropy);
    }
}
