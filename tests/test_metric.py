import math

import numpy as np
import pytest
import torch

import dfresearch_rs
from dfresearch_rs import ArgumentError, provenance_weights, sn34_score

LABELS = [0, 0, 1, 1, 1]
PROBS = [0.125, 0.75, 0.5, 0.25, 1.0]


def test_known_values():
    score = sn34_score(LABELS, PROBS)
    assert (score.true_positives, score.false_positives) == (2, 1)
    assert (score.true_negatives, score.false_negatives) == (1, 1)
    assert isinstance(score.true_positives, int)
    assert score.accuracy == 0.6
    mcc = (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2)
    brier = (0.125**2 + 0.75**2 + 0.5**2 + 0.75**2) / 5
    assert score.mcc == pytest.approx(mcc, abs=1e-15)
    assert score.brier == pytest.approx(brier, abs=1e-15)
    assert score.mcc_norm == pytest.approx((mcc + 1) / 2)
    assert score.brier_norm == pytest.approx(1 - brier)
    assert score.sn34_score == pytest.approx(math.sqrt(((mcc + 1) / 2) ** 1.2 * (1 - brier) ** 1.8), abs=1e-15)
    # The live benchmark calls the tie real.
    live_mcc = (1 * 1 - 1 * 2) / math.sqrt(2 * 3 * 2 * 3)
    assert score.gasbench_mcc == pytest.approx(live_mcc, abs=1e-15)
    assert score.gasbench_sn34_score == pytest.approx(1e-6)  # the Brier score is worse than chance
    assert score.count == 5


def test_exponents_belong_to_the_documented_formula_alone():
    plain, other = sn34_score(LABELS, PROBS), sn34_score(LABELS, PROBS, alpha=2.0, beta=0.0)
    assert other.sn34_score == pytest.approx(plain.mcc_norm)
    assert other.gasbench_sn34_score == plain.gasbench_sn34_score


@pytest.mark.parametrize(
    ("labels", "probs"),
    [
        (np.array(LABELS), np.array(PROBS)),
        (np.array(LABELS, dtype=bool), np.array(PROBS, dtype=np.float16)),
        (np.array(LABELS, dtype=np.uint16), np.array(PROBS, dtype=">f4")),
        (np.array(LABELS, dtype=np.int8)[::1], np.repeat(np.array(PROBS), 2)[::2]),
        (torch.tensor(LABELS), torch.tensor(PROBS)),
        (torch.tensor(LABELS, dtype=torch.bool), torch.tensor(PROBS, dtype=torch.bfloat16)),
        (torch.tensor(LABELS, dtype=torch.int32), torch.tensor(PROBS, dtype=torch.float16)),
        (torch.tensor(LABELS, dtype=torch.float64), torch.tensor(PROBS, requires_grad=True)),
        (torch.tensor(LABELS).repeat_interleave(3)[::3], torch.tensor(PROBS, dtype=torch.float64)),
        (tuple(LABELS), torch.tensor(PROBS).neg()._neg_view()),
    ],
)
def test_every_kind_of_input_is_read_alike(labels, probs):
    assert sn34_score(labels, probs).as_dict() == sn34_score(LABELS, PROBS).as_dict()


def test_integer_probabilities_are_read():
    assert sn34_score([0, 1], np.array([0, 1])).sn34_score == 1.0


def test_empty():
    score = sn34_score([], np.array([], dtype=np.float32))
    assert [score.sn34_score, score.mcc, score.mcc_norm, score.brier, score.brier_norm, score.accuracy] == [
        0.0,
        0.0,
        0.5,
        0.25,
        0.75,
        0.0,
    ]
    assert score.gasbench_sn34_score == 0.0
    assert score.count == 0


@pytest.mark.parametrize(("labels", "probs"), [([1, 1], [0.2, 0.9]), ([0, 1], [0.9, 0.9]), ([0], [0.1])])
def test_undefined_correlation_is_zero(labels, probs):
    assert sn34_score(labels, probs).mcc == 0.0


def test_weights_make_counts_fractional():
    score = sn34_score([0, 1], [0.2, 0.9], weights=[0.5, 1.25])
    assert (score.true_negatives, score.true_positives) == (0.5, 1.25)
    assert isinstance(score.false_positives, float)


def test_as_dict_has_every_attribute():
    score = sn34_score(LABELS, PROBS)
    attributes = [name for name in dir(type(score)) if not name.startswith("_") and name != "as_dict"]
    assert sorted(score.as_dict()) == sorted(attributes)
    assert score.as_dict()["mcc"] == score.mcc
    assert repr(score).startswith("Score(sn34_score=0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.5]), "probs: 1 values for 2 labels"),
        (([0, 1], [0.5, math.nan]), "probs: NaN at index 1"),
        (([0, 1], [1.0000001, 0.5]), "probs: 1.0000001 at index 0"),
        (([0, 2], [0.5, 0.5]), "labels: 2 at index 1"),
        (([0, 0.5], [0.5, 0.5]), "labels: 0.5 at index 1"),
        (([0, 1], [0.5, 0.5], [1.0, -1.0]), "weights: -1 at index 1"),
        (([0, 1], [0.5, 0.5], [math.nan, 1.0]), "weights: NaN at index 0"),
        (([0, 1], [0.5, 0.5], [math.inf, 1.0]), "weights: inf at index 0"),
        (([0, 1], [0.5, 0.5], [0.0, 0.0]), "weights: all of them are 0"),
        (([0, 1], [0.5, 0.5], [1.0]), "weights: 1 values for 2 labels"),
        (([0, 1], [[0.5, 0.5]]), "probs: one dimension is expected, not shape (1, 2)"),
        ((["real"], [0.5]), "labels: real numbers are expected"),
        (([0], [0.5j]), "probs: real numbers are expected"),
        (([0], [0.5], None, -1.0), "alpha: -1"),
        (([0], [0.5], None, 1.0, math.inf), "beta: inf"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        sn34_score(*arguments)
    assert str(caught.value).startswith(message)


def test_provenances_get_their_shares():
    datasets = ["a", "b", "c", "faces-holdout-3", "gasstation-images"]
    weights = provenance_weights(datasets, public=0.2, holdout=0.3, gasstation=0.5)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 1 / 3, 1.5, 2.5])
    with pytest.raises(ArgumentError, match="shares"):
        provenance_weights(datasets, public=-1, holdout=0, gasstation=0)


def test_robustness_blend():
    assert dfresearch_rs.blend_robustness(0.9, 0.4) == pytest.approx(0.8)
