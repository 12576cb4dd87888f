"""What the training scripts do around their loops: the order of a run, the dry run, checkpoint, summary, command line.

```text
 train_{modality}.py          knobs · loaders · model · optimizer · loop · what the checkpoint says of itself
        ▲
        │ calls
 run(): check ─► loaders ─► model ─► train ─► evaluate ─► checkpoint ─► summary
```

A script is passed as its module. Its functions are looked up when they are needed, so that what a person or a test
replaces in it is what runs.
"""

import argparse
import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import nn

import dfresearch_rs
from dfresearch import command_line, data, training
from dfresearch.data import BatchLoader
from dfresearch.experiment import Run, start_run
from dfresearch.models import list_models
from dfresearch.results import checkpoint_directory
from dfresearch.submission import CONFIG_FILE, export_model, generate_model_py
from dfresearch_rs import SubmissionError

__all__ = [
    "DRY_RUN_STEPS",
    "Settings",
    "TrainingScript",
    "count_quarantined",
    "knobs_of",
    "main",
    "parse_arguments",
    "print_sample_cache_notices",
    "quarantined_files",
    "require_scored_classes",
    "require_valid_config",
    "run",
    "shrink_to_dry_run",
    "summarize",
    "write_checkpoint",
]

# What --dry-run trains with at most.
DRY_RUN_STEPS = 2
DRY_RUN_MAX_PER_CLASS = 64
DRY_RUN_CPU_MAX_PER_CLASS = 16
DRY_RUN_CPU_BATCH_SIZE = 2
# One clip is 16 pictures; two of them in a large model take more memory than many a machine has.
DRY_RUN_CPU_CLIPS = 1


class Settings(Protocol):
    """One run: the knobs after the command line."""

    model: str
    learning_rate: float
    batch_size: int
    accumulation: int
    max_per_class: int | None
    pretrained: bool
    seed: int
    dry_run: bool


class TrainingScript(Protocol):
    """What `train_{modality}.py` has, as a module."""

    MODALITY: str
    MODEL: str
    LEARNING_RATE: float
    BATCH_SIZE: int
    MAX_PER_CLASS: int | None
    GRADIENT_ACCUMULATION: int
    SEED: int
    Settings: Callable[..., Any]
    __doc__: str
    __file__: str

    def build_loader(self, split: str, settings: Any) -> BatchLoader:
        """Build the loader of one split."""

    def build_model(self, settings: Any) -> nn.Module:
        """Build the model."""

    def train(
        self, model: nn.Module, loader: BatchLoader, budget: training.Budget, settings: Any, device: torch.device
    ) -> training.TrainingRecord:
        """Train until the budget is spent."""

    def evaluate(self, model: nn.Module, loader: BatchLoader, device: torch.device) -> dict[str, float]:
        """Score the model on the validation split."""

    def checkpoint_config(self, settings: Any) -> dict[str, Any]:
        """Return the `model_config.yaml` of what is trained."""

    def save_checkpoint(self, model: nn.Module, settings: Any, model_source: str, folder: Path) -> None:
        """Write the checkpoint."""

    def report(self, *measured: Any) -> dict[str, object]:
        """Print the summary and return it; the arguments are those of `summarize`."""


# ---------------------------------------------------------------------------------------------------------------------
# Run
# ---------------------------------------------------------------------------------------------------------------------


def run(script: TrainingScript, settings: Settings, budget: training.Budget) -> None:
    """Train within `budget`, evaluate, write the checkpoint and print the summary.

    Raises:
        TrainingError: there is nothing to train on, the checkpoint could not be kept, or the training diverged.
        DfresearchError: a setting, the data or the configuration is not valid.
    """
    modality = script.MODALITY
    started_at = time.perf_counter()
    training.seed_everything(settings.seed)
    device = training.select_device()
    # What would keep the checkpoint from being written is found now, not after the training.
    model_source = generate_model_py(modality, settings.model)
    require_valid_config(script.checkpoint_config(settings))
    if settings.dry_run:
        shrink_to_dry_run(modality, settings, device)
    else:
        training.require_writable(checkpoint_directory(modality))

    train_loader = script.build_loader("train", settings)
    val_loader = script.build_loader("val", settings)
    known_quarantined = quarantined_files(modality)
    model = script.build_model(settings).to(device)
    training.require_registered_architecture(model, modality, settings.model)
    print(
        f"{settings.model} on {device}: {len(train_loader.dataset)} samples to train on, "
        f"{len(val_loader.dataset)} to validate on",
        flush=True,
    )

    # What could not even begin leaves no record of a run.
    with _record_of(script, settings, budget) as run_record:
        record = script.train(model, train_loader, budget, settings, device)
        scores = script.evaluate(model, val_loader, device)

        if settings.dry_run:
            with tempfile.TemporaryDirectory(prefix="dfresearch-dry-run-") as folder:
                script.save_checkpoint(model, settings, model_source, Path(folder) / "checkpoint")
                export_model(modality, settings.model, Path(folder) / "checkpoint", Path(folder) / "exports")
            print("dry run: every stage ran; nothing was kept, and the score means nothing")
        else:
            script.save_checkpoint(model, settings, model_source, checkpoint_directory(modality))

        total_seconds = time.perf_counter() - started_at
        quarantined = count_quarantined(known_quarantined, [train_loader, val_loader])
        print_sample_cache_notices([train_loader, val_loader])
        seconds = budget.training_seconds
        summary = script.report(
            scores, settings, record, model, train_loader, quarantined, seconds, total_seconds, device
        )
        if run_record is not None:
            run_record.finish(summary)


def _record_of(
    script: TrainingScript, settings: Settings, budget: training.Budget
) -> contextlib.AbstractContextManager[Run | None]:
    """Begin the record of a run; a dry run has none."""
    if settings.dry_run:
        return contextlib.nullcontext()
    return start_run(script.MODALITY, script.__file__, knobs_of(script, settings) | {"time_budget": budget.seconds})


def knobs_of(script: TrainingScript, settings: Settings) -> dict[str, Any]:
    """Return every knob of `script` by its name in lower case, with the run's own `settings` in place of theirs."""
    knobs = {
        name.lower(): value
        for name, value in vars(script).items()
        if name.isupper() and isinstance(value, str | int | float | tuple | list | None)
    }
    return knobs | asdict(settings)


def shrink_to_dry_run(modality: str, settings: Settings, device: torch.device) -> None:
    """Lower batch size and number of samples to what shows that every stage runs."""
    limit = min(settings.max_per_class or DRY_RUN_MAX_PER_CLASS, DRY_RUN_MAX_PER_CLASS)
    settings.max_per_class = limit
    if device.type == "cpu":
        most = DRY_RUN_CPU_CLIPS if modality == "video" else DRY_RUN_CPU_BATCH_SIZE
        settings.batch_size = min(settings.batch_size, most)
        # So few samples may leave the validation split without a class.
        settings.max_per_class = min(limit, DRY_RUN_CPU_MAX_PER_CLASS)
        while settings.max_per_class < limit and not _holds_both_classes(modality, "val", settings.max_per_class):
            settings.max_per_class = min(limit, 2 * settings.max_per_class)


def _holds_both_classes(modality: str, split: str, max_per_class: int) -> bool:
    """Tell whether a split of so many samples of each class has both."""
    return len({label for _, label in data.gather_samples(modality, split, max_per_class)}) == 2


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation, checkpoint, summary
# ---------------------------------------------------------------------------------------------------------------------


def require_scored_classes(scores: Mapping[str, float], modality: str) -> None:
    """Refuse the score of a validation split of which only one class could be decoded.

    Raises:
        TrainingError: names the class that is missing.
    """
    positives = scores["true_positives"] + scores["false_negatives"]
    negatives = scores["true_negatives"] + scores["false_positives"]
    # Samples that could not be decoded left the score: what was loaded is what counts.
    training.require_both_classes([1] * bool(positives) + [0] * bool(negatives), "val", modality)


def require_valid_config(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that the competition would refuse.

    Raises:
        SubmissionError: names the key and what it may be.
    """
    with tempfile.TemporaryDirectory(prefix="dfresearch-config-") as folder:
        path = Path(folder) / CONFIG_FILE
        path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        try:
            dfresearch_rs.read_model_config(path)
        except SubmissionError as error:
            # The file is gone when the message is read; where its content comes from is what helps.
            message = str(error).replace(str(path), "the knobs give a configuration that the competition refuses")
            raise SubmissionError(message) from None


def write_checkpoint(model: nn.Module, config: dict[str, Any], model_source: str, folder: Path) -> None:
    """Replace the checkpoint's three files together: weights, config of what was trained, model source.

    Raises:
        TrainingError: the folder cannot be written.
        SubmissionError: the files are not what the competition takes.
    """
    try:
        dfresearch_rs.write_checkpoint(folder, config, model_source, model.state_dict())
    except OSError as error:
        raise training.TrainingError(f"the checkpoint could not be written to {folder}: {error}") from error


def quarantined_files(modality: str) -> set[Path]:
    """Find the files of the cache that are known not to be decodable."""
    return {path for path, _ in data.survey_cache(modality).report.quarantined}


def count_quarantined(known: Iterable[Path], loaders: Sequence[BatchLoader]) -> int:
    """Count the files that cannot be decoded, whether `known` before or found by `loaders`."""
    return len({*known}.union(path for loader in loaders for path, _ in loader.quarantined))


def print_sample_cache_notices(loaders: Sequence[BatchLoader]) -> None:
    """Tell why samples are decoded in every epoch, and what was damaged, on standard error."""
    reports = [report for loader in loaders if (report := loader.sample_cache_report()) is not None]
    for notice in dict.fromkeys(notice for report in reports for notice in report.notices):
        print(f"sample cache: {notice}", file=sys.stderr)


def summarize(
    scores: Mapping[str, float],
    settings: Settings,
    record: training.TrainingRecord,
    model: nn.Module,
    train_loader: BatchLoader,
    quarantined: int,
    training_seconds: float,
    total_seconds: float,
    device: torch.device,
) -> dict[str, object]:
    """Return what the summary of every modality holds, by its keys."""
    return {
        "model": settings.model,
        "sn34_score": scores["sn34_score"],
        "gasbench_sn34_score": scores["gasbench_sn34_score"],
        "accuracy": scores["accuracy"],
        "mcc": scores["mcc"],
        "brier": scores["brier"],
        "training_seconds": round(training_seconds, 1),
        "total_seconds": round(total_seconds, 1),
        "peak_vram_mb": round(training.peak_memory_mebibytes(device), 1),
        "num_steps": record.steps,
        "num_params_M": round(training.count_parameters(model) / 1e6, 3),
        "num_epochs": record.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "data_wait_seconds": round(train_loader.data_wait_seconds, 1),
        "samples_per_second": round(record.samples / training_seconds, 1),
        "quarantined": quarantined,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------


def parse_arguments(
    script: TrainingScript, time_budget: float, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line of `script`; what is not given is the knob's value, or `time_budget` seconds."""
    parser = argparse.ArgumentParser(description=script.__doc__.splitlines()[0])
    number, count, seed = command_line.positive_number, command_line.positive_integer, command_line.seed
    parser.add_argument("--model", default=script.MODEL, choices=list_models(script.MODALITY))
    parser.add_argument(
        "--lr", type=number, default=script.LEARNING_RATE, help="peak learning rate (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size", type=count, default=script.BATCH_SIZE, help="samples per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--accumulation",
        type=count,
        default=script.GRADIENT_ACCUMULATION,
        help="batches per optimizer step (default: %(default)s)",
    )
    parser.add_argument(
        "--time-budget", type=number, default=time_budget, help="seconds of training (default: %(default)s)"
    )
    parser.add_argument(
        "--max-per-class", type=count, default=script.MAX_PER_CLASS, help="samples of each class (default: %(default)s)"
    )
    parser.add_argument("--no-pretrained", action="store_true", help="start from random weights; needs no network")
    parser.add_argument(
        "--seed", type=seed, default=script.SEED, help="of weights, order, augmentation (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="run every stage for a few steps and keep nothing")
    return parser.parse_args(arguments)


def main(script: TrainingScript, time_budget: float, arguments: Sequence[str] | None = None) -> int:
    """Run `script` as a command and return its exit code; `time_budget` is the rules' number of seconds."""
    parsed = parse_arguments(script, time_budget, arguments)
    settings = script.Settings(
        model=parsed.model,
        learning_rate=parsed.lr,
        batch_size=parsed.batch_size,
        accumulation=parsed.accumulation,
        max_per_class=parsed.max_per_class,
        pretrained=not parsed.no_pretrained,
        seed=parsed.seed,
        dry_run=parsed.dry_run,
    )
    steps = DRY_RUN_STEPS if settings.dry_run else math.inf
    return training.run_to_exit_code(lambda: run(script, settings, training.Budget(parsed.time_budget, steps)))
