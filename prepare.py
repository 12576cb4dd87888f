"""The rules of the research: constants, data commands and the evaluation. READ-ONLY for agents.

    uv run prepare.py --demo --modality image     # build the demonstration data in .demo/
    uv run prepare.py --verify                    # what the cache holds, dataset by dataset

`--verify` looks at the bytes of a file, for duplicates, and at its header. Pixels are checked when they are decoded: a
file that fails then is quarantined by the run that found it.

A score is comparable with another one because this file, the validation split and the budget stay what they are.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import dfresearch_rs
from dfresearch import data
from dfresearch.training import TrainingError, run_to_exit_code

TIME_BUDGET = 600
"""Seconds of training that every experiment gets; start-up and evaluation do not count."""

TARGET_IMAGE_SIZE = (224, 224)
TARGET_VIDEO_SIZE = (224, 224)
NUM_VIDEO_FRAMES = 16
AUDIO_SAMPLE_RATE = 16000
AUDIO_DURATION = 6.0
AUDIO_SAMPLES = 96000

DEFAULT_IMAGE_BATCH_SIZE = 32
DEFAULT_VIDEO_BATCH_SIZE = 4
DEFAULT_AUDIO_BATCH_SIZE = 16

LABEL_REAL = 0
LABEL_SYNTHETIC = 1

MODALITIES = ("image", "video", "audio")

# The exponents of MCC and Brier score in the documented formula.
SN34_ALPHA = 1.2
SN34_BETA = 1.8

DEMO_CACHE = Path(".demo")


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


def compute_sn34_score(
    y_true: Sequence[int] | NDArray[np.generic] | Tensor,
    y_prob: Sequence[float] | NDArray[np.generic] | Tensor,
    alpha: float = SN34_ALPHA,
    beta: float = SN34_BETA,
) -> dict[str, float]:
    """Score probabilities of being synthetic against labels (0 real, 1 synthetic); a sample is positive at p >= .5.

    `sn34_score` is `sqrt(mcc_norm ** alpha * brier_norm ** beta)`, `gasbench_sn34_score` the competition's formula.
    """
    return dfresearch_rs.sn34_score(y_true, y_prob, alpha=alpha, beta=beta).as_dict()


def evaluate_model(
    model: nn.Module, dataloader: Iterable[tuple[Tensor, Tensor]], device: str = "cuda"
) -> dict[str, float]:
    """Score `model` on every batch of `dataloader`, in float32 and evaluation mode, as the competition runs it.

    The model gives logits [B, 2] (softmax) or one logit a sample (sigmoid), as a tensor or as the attribute `logits` of
    its output. It is moved to `device`, the CPU where CUDA
    is asked for and missing; the training mode of each of its modules is what it was before.

    Raises:
        TrainingError: a logit is NaN or infinite.
        ValueError: the output is no tensor, or has another shape.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        warnings.warn("no CUDA device: evaluating on the CPU", stacklevel=2)
        device = "cpu"
    training_modes = [(module, module.training) for module in model.modules()]
    labels: list[Tensor] = []
    probabilities: list[Tensor] = []
    model.to(device).eval()
    try:
        with torch.inference_mode():
            for inputs, batch_labels in dataloader:
                output = model(inputs.to(device, non_blocking=True))
                logits = getattr(output, "logits", output)
                probabilities.append(_synthetic_probability(logits, len(batch_labels)).cpu())
                labels.append(batch_labels)
    finally:
        for module, was_training in training_modes:
            module.training = was_training
    if not labels:
        return compute_sn34_score([], [])
    return compute_sn34_score(torch.cat(labels), torch.cat(probabilities))


def _synthetic_probability(logits: object, batch_size: int) -> Tensor:
    """Turn logits [B, 2], [B, 1] or [B] into the probability of being synthetic, float32 [B]."""
    if not isinstance(logits, Tensor):
        raise ValueError(f"the model gave a {type(logits).__name__}: logits are a tensor, [B, 2], [B, 1] or [B]")
    if not torch.isfinite(logits).all():
        count = int((~torch.isfinite(logits)).sum())
        raise TrainingError(f"the model gave {count} logits that are NaN or infinite: there is no score for it")
    if logits.shape == (batch_size, 2):
        return torch.softmax(logits.float(), dim=1)[:, LABEL_SYNTHETIC]
    if logits.shape in ((batch_size, 1), (batch_size,)):
        return torch.sigmoid(logits.float().reshape(batch_size))
    raise ValueError(f"the model gave {tuple(logits.shape)} for {batch_size} samples: logits are [B, 2], [B, 1] or [B]")


# ---------------------------------------------------------------------------------------------------------------------
# Data commands
# ---------------------------------------------------------------------------------------------------------------------


def verify_cache(modality: str) -> int:
    """Print what the cache holds of a modality, dataset by dataset, and return the number of usable samples."""
    report = data.survey_cache(modality)
    print(report.table())
    return report.num_samples


def build_demo(modality: str) -> None:
    """Build the demonstration data in `.demo/`, a cache of its own that real training never sees."""
    from dfresearch import demo

    build = {"image": demo.build_image_demo, "video": demo.build_video_demo, "audio": demo.build_audio_demo}[modality]
    try:
        build(DEMO_CACHE)
    except (ValueError, demo.ToolError) as error:
        raise TrainingError(f"no demonstration data for {modality}: {error}") from error


def refuse_download(modality: str) -> None:
    """Say that this version downloads nothing, and how to fill the cache by hand."""
    raise TrainingError(
        f"this version does not download datasets. To fill the cache by hand:\n"
        f"  1. put the media files of each dataset into a folder of its own: "
        f"{data.CACHE_DIR / 'datasets' / modality / 'NAME'}/\n"
        f"  2. say in datasets/{modality}.yaml what they are (datasets/{modality}.yaml.example shows how):\n"
        f"       datasets:\n"
        f"         - name: NAME\n"
        f"           path: local/NAME\n"
        f"           modality: {modality}\n"
        f"           media_type: real    # or synthetic, semisynthetic\n"
        f"  3. look at the result: uv run prepare.py --verify --modality {modality}\n"
        f"A cache that was filled elsewhere is used as it is, with its definitions in "
        f"{data.CACHE_DIR / 'gasbench_configs'}/.\n"
        f"To try the whole pipeline on demonstration data (`--demo` builds them), which leaves results/ alone: "
        f"make demo-{modality}"
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modality", choices=MODALITIES, help="default: image; all of them with --verify")
    commands = parser.add_mutually_exclusive_group()
    commands.add_argument("--demo", action="store_true", help=f"build the demonstration data in {DEMO_CACHE}/")
    commands.add_argument("--verify", action="store_true", help="print what the cache holds; only headers are read")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Run the command that the command line names."""
    if arguments.verify:
        modalities = MODALITIES if arguments.modality is None else (arguments.modality,)
        if sum(verify_cache(modality) for modality in modalities) == 0:
            raise TrainingError(f"there is no usable sample in {data.CACHE_DIR}")
    elif arguments.demo:
        build_demo(arguments.modality or "image")
    else:
        refuse_download(arguments.modality or "image")


def main() -> int:
    """Run the script and return its exit code."""
    arguments = parse_arguments()
    return run_to_exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
