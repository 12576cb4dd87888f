"""The extension module behind ``dfresearch_rs``."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

RealVector: TypeAlias = torch.Tensor | NDArray[np.generic] | Sequence[float]
"""One dimension of real numbers."""

__version__: str

@final
class Score:
    """What a detector's probabilities are worth; synthetic is the positive class.

    Of no samples at all the scores, `mcc` and `accuracy` are 0, and the losses are those of a detector that
    always answers 0.5.
    """

    @property
    def sn34_score(self) -> float:
        """The documented formula, `sqrt(((mcc + 1) / 2)^alpha * (1 - brier)^beta)`."""
    @property
    def gasbench_sn34_score(self) -> float:
        """The live benchmark's formula, `sqrt(max(1e-12, ((mcc + 1) / 2)^1.2 * max(0, (0.25 - brier) / 0.25)^1.8))`.

        It takes `gasbench_mcc` and `gasbench_brier`.
        """
    @property
    def mcc(self) -> float:
        """Matthews correlation at `p >= 0.5`; 0 where it is undefined."""
    @property
    def mcc_norm(self) -> float:
        """`(mcc + 1) / 2`."""
    @property
    def brier(self) -> float:
        """Mean of `(p - label)^2`."""
    @property
    def brier_norm(self) -> float:
        """`1 - brier`."""
    @property
    def accuracy(self) -> float:
        """Share of the samples on the right side of `p >= 0.5`."""
    @property
    def cross_entropy(self) -> float:
        """Mean negative logarithm of the label's probability, in nats; probabilities are kept 2.2e-16 from 0 and 1."""
    @property
    def true_positives(self) -> int | float:
        """Synthetic, called synthetic; like all counts a sum of weights where weights were given."""
    @property
    def false_positives(self) -> int | float:
        """Real, called synthetic."""
    @property
    def true_negatives(self) -> int | float:
        """Real, called real."""
    @property
    def false_negatives(self) -> int | float:
        """Synthetic, called real."""
    @property
    def gasbench_mcc(self) -> float:
        """Matthews correlation at `p > 0.5`: the live benchmark calls a tie real."""
    @property
    def gasbench_brier(self) -> float:
        """Mean of `(clip(p, 1e-7, 1 - 1e-7) - label)^2`."""
    @property
    def count(self) -> int:
        """Number of samples."""
    def as_dict(self) -> dict[str, int | float]:
        """All attributes by name."""

@final
class SubmissionMember:
    """One file of a submission."""

    @property
    def name(self) -> str:
        """Its name in the archive."""
    @property
    def size(self) -> int:
        """Its size in bytes."""
    @property
    def sha256(self) -> str:
        """SHA-256 of its content, in hexadecimal digits."""

@final
class SubmissionReport:
    """What was packed."""

    @property
    def path(self) -> Path:
        """Where the archive is."""
    @property
    def size(self) -> int:
        """The archive's size in bytes."""
    @property
    def members(self) -> list[SubmissionMember]:
        """The three files in their order."""
    @property
    def warnings(self) -> list[str]:
        """What does not stop a submission but may spoil it."""

@final
class ModelConfig:
    """The parts of a `model_config.yaml` that the evaluator acts on."""

    @property
    def name(self) -> str:
        """The model's name; empty when there is none."""
    @property
    def modality(self) -> str:
        """image, video or audio."""
    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels; None for audio."""
    @property
    def num_frames(self) -> int | None:
        """Frames of a clip; None unless it is video."""
    @property
    def frame_rate(self) -> float | None:
        """Frames a second; None takes the first consecutive frames."""
    @property
    def dtype(self) -> str:
        """The dtype that the evaluator casts the model to."""

def sn34_score(
    labels: RealVector,
    probs: RealVector,
    weights: RealVector | None = None,
    alpha: float = 1.2,
    beta: float = 1.8,
) -> Score:
    """Score probabilities of synthetic against labels.

    Args:
        labels: [n], 0 (real) or 1 (synthetic). Tensors of any device and real dtype, arrays and sequences are taken.
        probs: [n], from 0 to 1.
        weights: [n], at least 0; a weight of w counts as w copies of its sample.
        alpha: exponent of the normalised Matthews correlation in the documented formula.
        beta: exponent of the normalised Brier score in the documented formula.

    Raises:
        ArgumentError: naming the argument and the index.

    >>> dfresearch_rs.sn34_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).accuracy
    0.75
    """

def provenance_weights(
    datasets: Sequence[str], *, public: float, holdout: float, gasstation: float
) -> NDArray[np.float64]:
    """Weights for `sn34_score` that give each provenance its share of the score, one a sample.

    The provenance of a sample stands in its dataset's name: `gasstation`, `-holdout-`, or neither for public. The
    shares are renormalised over the provenances that are present; the weights add up to the number of samples.

    Raises:
        ArgumentError: a share is negative or not finite, or no provenance that is present has one.
    """

def blend_robustness(base: float, robust: float) -> float:
    """The score with a robustness pass blended in: `0.8 * base + 0.2 * robust`."""

def save_safetensors(state_dict: Mapping[str, torch.Tensor], path: str | PathLike[str]) -> None:
    """Write a state dict as a safetensors file, whole or not at all; the same tensors give the same bytes.

    Tensors of any device and layout in memory are taken, and go straight from CPU memory to the file when they are
    contiguous there. Tensors that share memory are written under each of their names. `_orig_mod.` (torch.compile)
    leaves the names wherever it stands, a leading `module.` (data parallel) when every name carries it.

    Raises:
        ArgumentError: a value is no dense tensor, its dtype is not one of safetensors, or two names become one.
    """

def write_checkpoint(
    checkpoint_dir: str | PathLike[str],
    config: Mapping[str, object] | str,
    model_source: str,
    state_dict: Mapping[str, torch.Tensor],
) -> None:
    """Replace `model_config.yaml`, `model.py` and `model.safetensors` of a folder together.

    Whoever looks, a crash included, finds the old three files or the new three. Other files in the folder stay.

    Args:
        checkpoint_dir: the folder; it is made where it is missing.
        config: the configuration as a dict or as YAML text.
        model_source: the text of `model.py`.
        state_dict: as in `save_safetensors`.

    Raises:
        SubmissionError: the configuration or the source is not one that the competition would accept.
        ArgumentError: as in `save_safetensors`.
    """

def write_submission(
    checkpoint_dir: str | PathLike[str],
    zip_path: str | PathLike[str],
    verify: Callable[[Path], object] | None = None,
) -> SubmissionReport:
    """Check a checkpoint folder, pack it into a ZIP and read it back; the same files give the same bytes.

    Args:
        checkpoint_dir: the folder with the three files.
        zip_path: where the archive goes, in place of what is there.
        verify: called with the path of the finished archive before it gets its name; an exception stops it.
            `dfresearch.submission.check_archive_loads` loads and runs the model.

    Raises:
        FileNotFoundError: one of the three files is missing.
        SubmissionError: a file is not one that the competition would accept, or the archive reads back differently.
    """

def read_model_config(path: str | PathLike[str]) -> ModelConfig:
    """Read and validate a `model_config.yaml`.

    Raises:
        SubmissionError: naming the key, or the line where the file is no YAML.
    """

def check_model_source(source: str, path: str | PathLike[str] = "model.py") -> list[str]:
    """Check the text of a `model.py` against the competition's rules; the result is what may be refused.

    Raises:
        SubmissionError: naming `path`, the line, the construct and what is allowed.
    """
