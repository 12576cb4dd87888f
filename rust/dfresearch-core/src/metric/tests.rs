#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn score(labels: &[i64], probabilities: &[f64]) -> Score {
    sn34_score(labels, probabilities, None, Exponents::default()).unwrap()
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() <= 1e-12
}

/// Deterministic samples with a signal: `(label, probability)`.
fn samples(count: usize) -> (Vec<i64>, Vec<f64>) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count)
        .map(|_| {
            let label = i64::from(uniform() < 0.4);
            (label, 0.7 * uniform() + 0.3 * label as f64)
        })
        .unzip()
}

#[test]
fn nothing_scores_nothing_and_loses_as_chance_does() {
    let empty = score(&[], &[]);
    assert_eq!(
        (empty.sn34_score, empty.mcc, empty.mcc_norm, empty.brier, empty.brier_norm, empty.accuracy),
        (0.0, 0.0, 0.5, 0.25, 0.75, 0.0)
    );
    assert_eq!((empty.gasbench_sn34_score, empty.count, empty.cross_entropy), (0.0, 0, LN_2));
}

#[test]
fn a_perfect_detector_scores_one() {
    let perfect = score(&[0, 1, 1], &[0.0, 1.0, 1.0]);
    assert_eq!((perfect.sn34_score, perfect.mcc, perfect.brier), (1.0, 1.0, 0.0));
    assert!(close(perfect.gasbench_sn34_score, 1.0));
}

#[test]
fn a_detector_that_is_always_wrong_scores_nothing() {
    let wrong = score(&[0, 1], &[1.0, 0.0]);
    assert_eq!((wrong.sn34_score, wrong.mcc, wrong.brier, wrong.accuracy), (0.0, -1.0, 1.0, 0.0));
    assert_eq!(wrong.gasbench_sn34_score, 1e-6);
}

#[test]
fn always_wrong_scores_nothing_whatever_the_weights_round_to() {
    // Added up in the order of the samples these weights make 1 ulp more than class by class.
    let weights = [0.1, 0.1, 0.4];
    let labels = [0_i64, 1, 1];
    let wrong = sn34_score(&labels, &[1.0, 0.0, 0.0], Some(&weights), Exponents::default()).unwrap();
    assert_eq!((wrong.sn34_score, wrong.brier, wrong.brier_norm, wrong.accuracy), (0.0, 1.0, 0.0, 0.0));
    assert_eq!(documented_score(0.5, 1.0 + f64::EPSILON, Exponents::default()), 0.0);
}

#[test]
fn the_two_formulas_order_these_models_differently() {
    let documented = |mcc, brier| documented_score(mcc, brier, Exponents::default());
    assert!((documented(0.70, 0.12) - 0.809).abs() < 5e-4);
    assert!((documented(0.80, 0.14) - 0.820).abs() < 5e-4);
    assert!((gasbench_score(0.70, 0.12) - 0.504).abs() < 5e-4);
    assert!((gasbench_score(0.80, 0.14) - 0.448).abs() < 5e-4);
}

#[test]
fn correlation_is_zero_where_it_is_undefined() {
    assert_eq!(score(&[1, 1, 1], &[0.9, 0.2, 0.7]).mcc, 0.0);
    assert_eq!(score(&[0, 1, 1], &[0.9, 0.9, 0.9]).mcc, 0.0);
    assert_eq!(score(&[0, 1], &[0.2, 0.3]).mcc, 0.0);
}

#[test]
fn a_tie_is_synthetic_in_the_documented_score_and_real_in_the_live_one() {
    let tie = score(&[0, 1, 1], &[0.1, 0.5, 0.9]);
    assert_eq!(tie.confusion.true_positives, 2.0);
    assert_eq!(tie.mcc, 1.0);
    assert!(close(tie.gasbench_mcc, 0.5));
}

#[test]
fn only_the_live_brier_is_clipped() {
    let certain = score(&[0, 1], &[0.0, 1.0]);
    assert_eq!(certain.brier, 0.0);
    assert!((certain.gasbench_brier - 1e-14).abs() < 1e-20);
}

#[test]
fn blocks_and_single_samples_give_the_same_sums() {
    let (labels, probabilities) = samples(5_003);
    let blocks = score(&labels, &probabilities);
    let ones = vec![1.0; labels.len()];
    let single = sn34_score(&labels, &probabilities, Some(&ones), Exponents::default()).unwrap();
    assert_eq!(blocks.confusion, single.confusion);
    assert_eq!(blocks.gasbench_mcc, single.gasbench_mcc);
    for (left, right) in [
        (blocks.brier, single.brier),
        (blocks.gasbench_brier, single.gasbench_brier),
        (blocks.cross_entropy, single.cross_entropy),
    ] {
        assert!(close(left, right), "{left} {right}");
    }
}

#[test]
fn certain_mistakes_do_not_underflow_the_cross_entropy() {
    let wrong = score(&vec![1; 4 * 128], &vec![0.0; 4 * 128]);
    assert!(close(wrong.cross_entropy, -f64::EPSILON.ln()));
}

#[test]
fn a_weight_counts_as_copies() {
    let (labels, probabilities) = samples(300);
    let weights: Vec<f64> = (0..300).map(|index| (index % 4) as f64).collect();
    let repeat = |index: usize| std::iter::repeat_n(index, index % 4);
    let copied_labels: Vec<i64> = (0..300).flat_map(repeat).map(|index| labels[index]).collect();
    let copied: Vec<f64> = (0..300).flat_map(repeat).map(|index| probabilities[index]).collect();
    let weighted = sn34_score(&labels, &probabilities, Some(&weights), Exponents::default()).unwrap();
    let copies = score(&copied_labels, &copied);
    assert_eq!(weighted.confusion, copies.confusion);
    assert!(close(weighted.sn34_score, copies.sn34_score));
    assert!(close(weighted.gasbench_sn34_score, copies.gasbench_sn34_score));
    assert!(close(weighted.cross_entropy, copies.cross_entropy));
}

#[test]
fn huge_counts_do_not_overflow_the_correlation() {
    let huge = Confusion {
        true_positives: 9e300,
        false_positives: 1e300,
        true_negatives: 9e300,
        false_negatives: 1e300,
    };
    assert!(close(huge.matthews_correlation(), 0.8));
}

#[test]
fn single_precision_and_byte_labels_are_read_as_they_are() {
    let score = sn34_score(&[0_u8, 1], &[0.25_f32, 0.75], None, Exponents::default()).unwrap();
    assert_eq!((score.brier, score.mcc), (0.0625, 1.0));
}

#[test]
fn bad_arguments_are_named_with_their_index() {
    let refuse = |labels: &[f64], probabilities: &[f64], weights: Option<&[f64]>| {
        sn34_score(labels, probabilities, weights, Exponents::default()).unwrap_err().to_string()
    };
    assert_eq!(refuse(&[0.0], &[], None), "probs: 0 values for 1 labels");
    assert!(refuse(&[0.0, 2.0], &[0.1, 0.1], None).starts_with("labels: 2 at index 1"));
    assert!(refuse(&[0.0, f64::NAN], &[0.1, 0.1], None).starts_with("labels: NaN at index 1"));
    assert!(refuse(&[0.0], &[1.5], None).starts_with("probs: 1.5 at index 0"));
    assert!(refuse(&[0.0, 1.0], &[0.5, f64::NAN], None).starts_with("probs: NaN at index 1"));
    assert!(refuse(&[0.0], &[0.5], Some(&[])).starts_with("weights: 0 values"));
    assert!(refuse(&[0.0, 1.0], &[0.5, 0.5], Some(&[1.0, -1.0])).starts_with("weights: -1 at index 1"));
    assert!(refuse(&[0.0], &[0.5], Some(&[f64::NAN])).starts_with("weights: NaN at index 0"));
    assert_eq!(refuse(&[0.0], &[0.5], Some(&[0.0])), "weights: all of them are 0");
    assert!(refuse(&[0.0, 1.0], &[0.5, 0.5], Some(&[f64::MAX, f64::MAX])).starts_with("weights: their sum"));
    let exponents = Exponents { alpha: f64::NAN, ..Exponents::default() };
    assert!(sn34_score(&[0_i64], &[0.5_f64], None, exponents).is_err());
}

#[test]
fn a_bad_sample_inside_a_block_is_named_too() {
    let (labels, mut probabilities) = samples(1_000);
    probabilities[777] = -0.001;
    let error = sn34_score(&labels, &probabilities, None, Exponents::default()).unwrap_err();
    assert!(error.to_string().starts_with("probs: -0.001 at index 777"), "{error}");
}

#[test]
fn provenances_get_their_shares() {
    use Provenance::{Gasstation, Holdout, Public};
    assert_eq!(Provenance::of_dataset("gasstation-images"), Gasstation);
    assert_eq!(Provenance::of_dataset("faces-holdout-v2"), Holdout);
    assert_eq!(Provenance::of_dataset("faces"), Public);
    let classes = [Public, Public, Public, Holdout];
    let shares = ProvenanceShares { public: 0.2, holdout: 0.3, gasstation: 0.5 };
    let weights = provenance_weights(&classes, shares).unwrap();
    assert!(close(weights.iter().sum(), 4.0));
    assert!(close(weights[3] / 4.0, 0.6));
    assert!(provenance_weights(&[], shares).unwrap().is_empty());
    let none = ProvenanceShares { public: 0.0, holdout: 0.0, gasstation: 1.0 };
    assert!(provenance_weights(&classes, none).is_err());
}

#[test]
fn the_robustness_pass_is_a_fifth_of_the_score() {
    assert!(close(blend_robustness(0.9, 0.4), 0.8));
}
