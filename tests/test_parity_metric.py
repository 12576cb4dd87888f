"""The metric against scikit-learn and exact fractions, and both formulas written out again with NumPy."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, log_loss, matthews_corrcoef

from dfresearch_rs import sn34_score

TOLERANCE = 1e-12

probability = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0, np.nextafter(0.5, 0), np.nextafter(0.5, 1)])
# scikit-learn's weighted correlation loses digits when weights differ by more.
sample = st.tuples(st.integers(0, 1), probability, st.floats(0.1, 10) | st.integers(1, 5).map(float))
samples = st.lists(sample, min_size=1, max_size=400)


def compare(labels, probs, weights=None):
    score = sn34_score(labels, probs, weights)
    predictions = (probs >= 0.5).astype(int)
    kwargs = {"sample_weight": weights}

    def mcc(predicted):
        both = len(set(labels.tolist())) == 2 and len(set(predicted.tolist())) == 2
        return matthews_corrcoef(labels, predicted, **kwargs) if both else 0.0

    expected = {
        "mcc": mcc(predictions),
        "gasbench_mcc": mcc((probs > 0.5).astype(int)),
        "brier": np.average((probs - labels) ** 2, weights=weights),
        "gasbench_brier": np.average((np.clip(probs, 1e-7, 1 - 1e-7) - labels) ** 2, weights=weights),
        "accuracy": accuracy_score(labels, predictions, **kwargs),
        "cross_entropy": log_loss(labels, np.stack([1 - probs, probs], axis=1), labels=[0, 1], **kwargs),
    }
    if len(set(labels.tolist())) == 2:
        np.testing.assert_allclose(expected["brier"], brier_score_loss(labels, probs, **kwargs), atol=TOLERANCE)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(score, name), value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    tn, fp, fn, tp = confusion_matrix(labels, predictions, labels=[0, 1], **kwargs).ravel()
    counts = [score.true_negatives, score.false_positives, score.false_negatives, score.true_positives]
    np.testing.assert_allclose(counts, [tn, fp, fn, tp], rtol=TOLERANCE, atol=TOLERANCE)

    documented = np.sqrt(((score.mcc + 1) / 2) ** 1.2 * (1 - score.brier) ** 1.8)
    np.testing.assert_allclose(score.sn34_score, documented, rtol=TOLERANCE)
    skill = max(0.0, (0.25 - score.gasbench_brier) / 0.25)
    live = np.clip(np.sqrt(max(1e-12, ((score.gasbench_mcc + 1) / 2) ** 1.2 * skill**1.8)), 0, 1)
    np.testing.assert_allclose(score.gasbench_sn34_score, live, rtol=TOLERANCE)


@given(samples)
@settings(deadline=None, max_examples=200)
def test_unweighted(rows):
    labels, probs, _ = (np.array(column) for column in zip(*rows, strict=True))
    compare(labels, probs)


@given(samples)
@settings(deadline=None, max_examples=200)
def test_weighted(rows):
    labels, probs, weights = (np.array(column) for column in zip(*rows, strict=True))
    compare(labels, probs, weights)


def test_a_million_samples():
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 1_000_003)
    probs = np.clip(0.3 * labels + 0.35 + rng.normal(0, 0.25, labels.size), 0, 1)
    compare(labels, probs)
    compare(labels, probs, rng.random(labels.size))


def test_single_precision_is_scored_as_it_is():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 2, 10_000)
    probs = rng.random(labels.size, dtype=np.float32)
    assert sn34_score(labels, probs).as_dict() == sn34_score(labels, probs.astype(np.float64)).as_dict()


@given(st.lists(st.floats(1e-9, 1e9), min_size=4, max_size=4))
@settings(deadline=None)
def test_correlation_of_very_different_weights(weights):
    score = sn34_score([1, 0, 0, 1], [0.9, 0.9, 0.1, 0.1], weights)
    tp, fp, tn, fn = (Fraction(weight) for weight in weights)
    square = (tp * tn - fp * fn) ** 2 / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    np.testing.assert_allclose(abs(score.mcc), float(square) ** 0.5, rtol=1e-9, atol=TOLERANCE)
