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

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

import prepare
from dfresearch import training, training_script
from dfresearch.data import BatchLoader, make_dataloader
from dfresearch.device_batches import device_batches
from dfresearch.models import get_model
from export import generate_model_config

MODALITY = "image"

# ---------------------------------------------------------------------------------------------------------------------
# Knobs
# ---------------------------------------------------------------------------------------------------------------------

MODEL = "efficientnet-b4"
LEARNING_RATE = 1e-4
BATCH_SIZE = prepare.DEFAULT_IMAGE_BATCH_SIZE
AUGMENT_LEVEL = 2  # 0 none, 1 light, 2 medium, 3 heavy: dfresearch/transforms.py
MAX_PER_CLASS = 5000  # samples of each class, before the split
WARMUP_STEPS = 100  # optimizer steps until the learning rate is whole
GRADIENT_ACCUMULATION = 1  # batches per optimizer step
DROPOUT = 0.3
WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 1.0
TARGET_SIZE = prepare.TARGET_IMAGE_SIZE  # (height, width) that the model sees, here and in the competition
PREPROCESSING = "competition"  # or "stretch"; the competition itself always feeds "competition"
NUM_WORKERS = 4  # decoding threads at most; a core is left to the training
SEED = 42  # weights, order and augmentation; never the split


@dataclass
class Settings:
    """One run: the knobs after the command line."""

    model: str = MODEL
    learning_rate: float = LEARNING_RATE
    batch_size: int = BATCH_SIZE
    accumulation: int = GRADIENT_ACCUMULATION
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
    batches = 0  # of all epochs: a group of accumulated batches that an epoch leaves unfinished goes on in the next
    learning_rate = 0.0

    try:
        while not budget.spent:
            record.epochs += 1
            model.train()
            with budget.running():
                for inputs, labels in device_batches(loader, device):
                    factor = training.learning_rate_factor(record.steps, WARMUP_STEPS, budget.progress)
                    learning_rate = settings.learning_rate * factor
                    training.set_learning_rate(optimizer, learning_rate)

                    with precision.autocast():
                        loss = functional.cross_entropy(model(inputs), labels)
                    loss_value = training.finite_loss(loss, record.steps, learning_rate)
                    precision.backward(loss / settings.accumulation)

                    batches += 1
                    record.samples += len(labels)
                    if batches % settings.accumulation == 0:
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
    scores = prepare.evaluate_model(model, loader, device=str(device))
    training_script.require_scored_classes(scores, MODALITY)
    return scores


def checkpoint_config(settings: Settings) -> dict[str, Any]:
    """Say what is trained, as the `model_config.yaml` by which the competition feeds the model."""
    return generate_model_config(MODALITY, settings.model, preprocessing={"target_size": TARGET_SIZE})


def save_checkpoint(model: nn.Module, settings: Settings, model_source: str, folder: Path) -> None:
    """Replace the checkpoint's three files together: weights, config of what was trained, model source."""
    training_script.write_checkpoint(model, checkpoint_config(settings), model_source, folder)


def report(*measured: Any) -> dict[str, object]:
    """Print the summary and return it; `measured` is what `training_script.summarize` takes."""
    return training.print_summary(training_script.summarize(*measured) | {"augment_level": AUGMENT_LEVEL})


def quarantined_files() -> set[Path]:
    """Find the files of the cache that are known not to be decodable."""
    return training_script.quarantined_files(MODALITY)


count_quarantined = training_script.count_quarantined


# ---------------------------------------------------------------------------------------------------------------------
# Run: the order of the stages and the command line are in dfresearch/training_script.py
# ---------------------------------------------------------------------------------------------------------------------

if __name__ == "__main__":
    sys.exit(training_script.main(sys.modules[__name__], prepare.TIME_BUDGET))
