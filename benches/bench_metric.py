#!/usr/bin/env python3
"""One score of a million samples: scikit-learn's five functions against `sn34_score`, same arrays, same values."""

import statistics
import time

import numpy as np
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, log_loss, matthews_corrcoef

from dfresearch_rs import sn34_score

SAMPLES = 1_000_000
ROUNDS = 7


def baseline(labels, probs):
    predictions = (probs >= 0.5).astype(int)
    confusion_matrix(labels, predictions)
    return {
        "mcc": matthews_corrcoef(labels, predictions),
        "brier": brier_score_loss(labels, probs),
        "accuracy": accuracy_score(labels, predictions),
        "cross_entropy": log_loss(labels, probs),
    }


def main():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, SAMPLES)
    probs = np.clip(0.3 * labels + 0.35 + rng.normal(0, 0.25, SAMPLES), 0, 1)
    seconds = {"scikit-learn": [], "sn34_score": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        expected = baseline(labels, probs)
        middle = time.perf_counter()
        score = sn34_score(labels, probs)
        seconds["scikit-learn"].append(middle - start)
        seconds["sn34_score"].append(time.perf_counter() - middle)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(score, name), value, atol=1e-12)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:>14}: {median * 1e3:8.2f} ms for {SAMPLES:,} samples")
    print(f"         ratio: {medians['scikit-learn'] / medians['sn34_score']:8.1f}x (values equal within 1e-12)")


if __name__ == "__main__":
    main()
