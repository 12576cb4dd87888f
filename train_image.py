"""Train an image detector for a fixed time and print its score on the validation split.

    uv run train_image.py                                    # the knobs below
    uv run train_image.py --model clip-vit-l14 --lr 1e-5     # some of them from the command line
    uv run train_image.py --dry-run                          # every stage, a few steps each, nothing kept

This is the file to edit: knobs, data, choice of the model, optimizer, loop. An architecture is edited in its own file
in `python/dfresearch/models/image/`, which the checkpoint carries: a model that was changed in here could not be loaded
again, and is refused. `prepare.py` keeps the rules: the budget, the validation split and the score. The summary after
the line `---` is what programs read; its keys stay.

A dry run takes seconds on a GPU or with a small model, up to some minutes with a large one on a CPU.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

import dfresearch_rs
from dfresearch import command_line, data, training
from dfresearch.data import BatchLoader, make_dataloader
from dfresearch.models import get_model, list_models
from dfresearch.results import checkpoint_directory
from export import export_model, generate_model_config, generate_model_py
from prepare import DEFAULT_IMAGE_BATCH_SIZE, TARGET_IMAGE_SIZE, TIME_BUDGET, evaluate_model

MODALITY = "image"

# ---------------------------------------------------------------------------------------------------------------------
# Knobs
# ---------------------------------------------------------------------------------------------------------------------

MODEL = "efficientnet-b4"
LEARNING_RATE = 1e-4
BATCH_SIZE = DEFAULT_IMAGE_BATCH_SIZE
AUGMENT_LEVEL = 2  # 0 none, 1 light, 2 medium, 3 heavy: dfresearch/transforms.py
MAX_PER_CLASS = 5000  # samples of each class, before the split
WARMUP_STEPS = 100  # optimizer steps until the learning rate is whole
GRADIENT_ACCUMULATION = 1  # batches per optimizer step
DROPOUT = 0.3
WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 1.0
TARGET_SIZE = TARGET_IMAGE_SIZE  # (height, width) that the model sees, here and in the competition
PREPROCESSING = "competition"  # or "stretch"; the competition itself always feeds "competition"
NUM_WORKERS = 4  # decoding threads
SEED = 42  # weights, order and augmentation; never the split

# What --dry-run trains with at most.
DRY_RUN_STEPS = 2
DRY_RUN_MAX_PER_CLASS = 64
DRY_RUN_CPU_MAX_PER_CLASS = 16
DRY_RUN_CPU_BATCH_SIZE = 2


@dataclass
class Settings:
    """One run: the knobs after the command line."""

    model: str = MODEL
    learning_rate: float = LEARNING_RATE
    batch_size: int = BATCH_SIZE
    max_per_class: int | None = MAX_PER_CLASS
    pretrained: bool = True
    seed: int = SEED
    dry_run: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


def build_loader(split: str, settings: Settings) -> BatchLoader:
    """Build the loader of one split; only `train` is shuffled and augmented."""
    loader = make_dataloader(
        MODALITY,
        split=split,
        batch_size=settings.batch_size,
        target_size=TARGET_SIZE,
        augment_level=AUGMENT_LEVEL,
        max_per_class=settings.max_per_class,
        num_workers=NUM_WORKERS,
        mode=PREPROCESSING if split == "train" else "competition",
        seed=settings.seed,
    )
    training.require_both_classes((label for _, label in loader.dataset), split, MODALITY)
    return loader


# ---------------------------------------------------------------------------------------------------------------------
# Model and optimizer
# ---------------------------------------------------------------------------------------------------------------------


def build_model(settings: Settings) -> nn.Module:
    """Build the model: u8 images [B, 3, H, W] to logits [B, 2]; it normalises its input itself."""
    return get_model(MODALITY, settings.model, num_classes=2, pretrained=settings.pretrained, dropout=DROPOUT)


def build_optimizer(model: nn.Module, settings: Settings) -> Optimizer:
    """Build AdamW over the parameters that are trained."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)


# ---------------------------------------------------------------------------------------------------------------------
# Training loop
# ---------------------------------------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    loader: BatchLoader,
    budget: training.Budget,
    settings: Settings,
    device: torch.device,
    after_epoch: Callable[[int], None] | None = None,
) -> training.TrainingRecord:
    """Train until the budget is spent; `after_epoch(epoch)` runs outside of the budget's clock."""
    optimizer = build_optimizer(model, settings)
    precision = training.MixedPrecision(device)
    progress = training.Progress(budget)
    record = training.TrainingRecord()
    batches = 0
    learning_rate = 0.0

    try:
        while not budget.spent:
            record.epochs += 1
            model.train()
            with budget.running():
                for inputs, labels in loader:
                    factor = training.learning_rate_factor(record.steps, WARMUP_STEPS, budget.progress)
                    learning_rate = settings.learning_rate * factor
                    training.set_learning_rate(optimizer, learning_rate)

                    inputs = inputs.to(device, non_blocking=True)
                    labels = labels.to(device, non_blocking=True)
                    with precision.autocast():
                        loss = functional.cross_entropy(model(inputs), labels)
                    loss_value = training.finite_loss(loss, record.steps, learning_rate)
                    precision.backward(loss / GRADIENT_ACCUMULATION)

                    batches += 1
                    record.samples += len(labels)
                    if batches % GRADIENT_ACCUMULATION == 0:
                        precision.step(optimizer, MAX_GRADIENT_NORM)
                        record.steps += 1
                        budget.count_step()
                    progress.batch(record.epochs, loss_value, len(labels), learning_rate)
                    if budget.spent:
                        break
            record.epoch_losses.append(progress.end_epoch(record.epochs, learning_rate))
            if after_epoch is not None:
                after_epoch(record.epochs)
    finally:
        progress.close()
    return record


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation, checkpoint, summary
# ---------------------------------------------------------------------------------------------------------------------


def evaluate(model: nn.Module, loader: BatchLoader, device: torch.device) -> dict[str, float]:
    """Score the model on the validation split, in the competition's preprocessing and without augmentation."""
    scores = evaluate_model(model, loader, device=str(device))
    positives = scores["true_positives"] + scores["false_negatives"]
    negatives = scores["true_negatives"] + scores["false_positives"]
    # Samples that could not be decoded left the score: what was loaded is what counts.
    training.require_both_classes([1] * bool(positives) + [0] * bool(negatives), "val", MODALITY)
    return scores


def save_checkpoint(model: nn.Module, settings: Settings, model_source: str, folder: Path) -> None:
    """Replace the checkpoint's three files together: weights, config of what was trained, model source."""
    config = generate_model_config(MODALITY, settings.model, preprocessing={"target_size": list(TARGET_SIZE)})
    try:
        dfresearch_rs.write_checkpoint(folder, config, model_source, model.state_dict())
    except OSError as error:
        raise training.TrainingError(f"the checkpoint could not be written to {folder}: {error}") from error


def quarantined_files() -> set[Path]:
    """Find the files of the cache that are known not to be decodable."""
    return {path for path, _ in data.survey_cache(MODALITY).report.quarantined}


def count_quarantined(known: Iterable[Path], loaders: Sequence[BatchLoader]) -> int:
    """Count the files that cannot be decoded, whether `known` before or found by `loaders`."""
    return len({*known}.union(path for loader in loaders for path, _ in loader.quarantined))


def report(
    scores: dict[str, float],
    settings: Settings,
    record: training.TrainingRecord,
    model: nn.Module,
    train_loader: BatchLoader,
    quarantined: int,
    training_seconds: float,
    total_seconds: float,
    device: torch.device,
) -> None:
    """Print the summary."""
    training.print_summary(
        {
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
            "augment_level": AUGMENT_LEVEL,
            "data_wait_seconds": round(train_loader.data_wait_seconds, 1),
            "samples_per_second": round(record.samples / training_seconds, 1),
            "quarantined": quarantined,
        }
    )


# ---------------------------------------------------------------------------------------------------------------------
# Run
# ---------------------------------------------------------------------------------------------------------------------


def shrink_to_dry_run(settings: Settings, device: torch.device) -> None:
    """Lower batch size and number of samples to what shows that every stage runs."""
    limit = min(settings.max_per_class or DRY_RUN_MAX_PER_CLASS, DRY_RUN_MAX_PER_CLASS)
    settings.max_per_class = limit
    if device.type == "cpu":
        settings.batch_size = min(settings.batch_size, DRY_RUN_CPU_BATCH_SIZE)
        # So few samples may leave the validation split without a class.
        settings.max_per_class = min(limit, DRY_RUN_CPU_MAX_PER_CLASS)
        while settings.max_per_class < limit and not holds_both_classes("val", settings.max_per_class):
            settings.max_per_class = min(limit, 2 * settings.max_per_class)


def holds_both_classes(split: str, max_per_class: int) -> bool:
    """Tell whether a split of so many samples of each class has both."""
    return len({label for _, label in data.gather_samples(MODALITY, split, max_per_class)}) == 2


def run(settings: Settings, budget: training.Budget) -> None:
    """Train within `budget`, evaluate, write the checkpoint and print the summary."""
    started_at = time.perf_counter()
    training.seed_everything(settings.seed)
    device = training.select_device()
    # What would keep the checkpoint from being written is found now, not after the training.
    model_source = generate_model_py(MODALITY, settings.model)
    if settings.dry_run:
        shrink_to_dry_run(settings, device)
    else:
        training.require_writable(checkpoint_directory(MODALITY))

    train_loader = build_loader("train", settings)
    val_loader = build_loader("val", settings)
    known_quarantined = quarantined_files()
    model = build_model(settings).to(device)
    training.require_registered_architecture(model, MODALITY, settings.model)
    print(
        f"{settings.model} on {device}: {len(train_loader.dataset)} samples to train on, "
        f"{len(val_loader.dataset)} to validate on",
        flush=True,
    )

    record = train(model, train_loader, budget, settings, device)
    scores = evaluate(model, val_loader, device)

    if settings.dry_run:
        with tempfile.TemporaryDirectory(prefix="dfresearch-dry-run-") as folder:
            save_checkpoint(model, settings, model_source, Path(folder) / "checkpoint")
            export_model(MODALITY, settings.model, Path(folder) / "checkpoint", Path(folder) / "exports")
        print("dry run: every stage ran; nothing was kept, and the score means nothing")
    else:
        save_checkpoint(model, settings, model_source, checkpoint_directory(MODALITY))

    total_seconds = time.perf_counter() - started_at
    quarantined = count_quarantined(known_quarantined, [train_loader, val_loader])
    training_seconds = budget.training_seconds
    report(scores, settings, record, model, train_loader, quarantined, training_seconds, total_seconds, device)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; what is not given is the knob's value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL, choices=list_models(MODALITY))
    number, count, seed = command_line.positive_number, command_line.positive_integer, command_line.seed
    parser.add_argument("--lr", type=number, default=LEARNING_RATE, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--batch-size", type=count, default=BATCH_SIZE, help="samples per batch (default: %(default)s)")
    parser.add_argument(
        "--time-budget", type=number, default=TIME_BUDGET, help="seconds of training (default: %(default)s)"
    )
    parser.add_argument(
        "--max-per-class", type=count, default=MAX_PER_CLASS, help="samples of each class (default: %(default)s)"
    )
    parser.add_argument("--no-pretrained", action="store_true", help="start from random weights; needs no network")
    parser.add_argument(
        "--seed", type=seed, default=SEED, help="of weights, order, augmentation (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="run every stage for a few steps and keep nothing")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the script and return its exit code."""
    arguments = parse_arguments()
    settings = Settings(
        model=arguments.model,
        learning_rate=arguments.lr,
        batch_size=arguments.batch_size,
        max_per_class=arguments.max_per_class,
        pretrained=not arguments.no_pretrained,
        seed=arguments.seed,
        dry_run=arguments.dry_run,
    )
    steps = DRY_RUN_STEPS if settings.dry_run else math.inf
    return training.run_to_exit_code(lambda: run(settings, training.Budget(arguments.time_budget, steps)))


if __name__ == "__main__":
    sys.exit(main())
