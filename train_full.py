"""Train a chosen detector for whole epochs, without the time budget, and keep its best epoch.

    uv run train_full.py --modality image --model efficientnet-b4 --epochs 10

Data, model, optimizer and loop are those of `train_{modality}.py`, knobs included: what the experiments found is
trained at length. After every epoch the validation split is scored, and the checkpoint replaced when the score is the
best so far. The summary is the best epoch's; that epoch was chosen on the split that it is scored on, so a comparison
with the experiments' scores flatters it a little.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import sys
import time
from collections.abc import Sequence

import train_image
from dfresearch import command_line, training
from dfresearch.models import list_models
from dfresearch.results import checkpoint_directory
from export import generate_model_py

DEFAULT_EPOCHS = 10

# The script of each modality: they have the same functions.
TRAINING_SCRIPTS = {"image": train_image}


def run(modality: str, settings: train_image.Settings, epochs: int) -> None:
    """Train for `epochs`, keeping the checkpoint of the best one, and print that epoch's summary."""
    script = TRAINING_SCRIPTS[modality]
    started_at = time.perf_counter()
    training.seed_everything(settings.seed)
    device = training.select_device()
    # What would keep the checkpoint from being written is found now, not after an epoch.
    model_source = generate_model_py(modality, settings.model)
    checkpoint = checkpoint_directory(modality)
    training.require_writable(checkpoint)

    train_loader = script.build_loader("train", settings)
    val_loader = script.build_loader("val", settings)
    known_quarantined = script.quarantined_files()
    model = script.build_model(settings).to(device)
    training.require_registered_architecture(model, modality, settings.model)
    # Quarantine may shorten epochs: the steps set the schedule, the count of epochs the end.
    steps = max(1, epochs * len(train_loader) // script.GRADIENT_ACCUMULATION)
    budget = training.Budget(steps=steps)
    best_epoch, best_scores = 0, {}

    def evaluate_epoch(epoch: int) -> None:
        nonlocal best_epoch, best_scores
        scores = script.evaluate(model, val_loader, device)
        better = not best_scores or scores["sn34_score"] > best_scores["sn34_score"]
        if better:
            script.save_checkpoint(model, settings, model_source, checkpoint)
            best_epoch, best_scores = epoch, scores
        print(
            f"epoch {epoch} of {epochs}: sn34_score {scores['sn34_score']:.6f}, accuracy {scores['accuracy']:.4f}"
            + (" (checkpoint written)" if better else ""),
            flush=True,
        )
        if epoch == epochs:
            budget.finish()

    record = script.train(model, train_loader, budget, settings, device, after_epoch=evaluate_epoch)
    print(f"the checkpoint is that of epoch {best_epoch}")
    total_seconds = time.perf_counter() - started_at
    quarantined = script.count_quarantined(known_quarantined, [train_loader, val_loader])
    seconds = budget.training_seconds
    script.report(best_scores, settings, record, model, train_loader, quarantined, seconds, total_seconds, device)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modality", default="image", choices=sorted(TRAINING_SCRIPTS))
    parser.add_argument("--model", help="default: the training script's")
    number, count, seed = command_line.positive_number, command_line.positive_integer, command_line.seed
    parser.add_argument("--epochs", type=count, default=DEFAULT_EPOCHS, help="default: %(default)s")
    parser.add_argument("--lr", type=number, help="peak learning rate; default: the training script's")
    parser.add_argument("--batch-size", type=count, help="samples per batch; default: the training script's")
    parser.add_argument("--max-per-class", type=count, help="samples of each class; default: all")
    parser.add_argument("--no-pretrained", action="store_true", help="start from random weights; needs no network")
    parser.add_argument("--seed", type=seed, help="of weights, order and augmentation; default: the training script's")
    parsed = parser.parse_args(arguments)
    script = TRAINING_SCRIPTS[parsed.modality]
    parsed.model = script.MODEL if parsed.model is None else parsed.model
    names = list_models(parsed.modality)
    if parsed.model not in names:
        parser.error(f"--model: {parsed.model!r} is none of {', '.join(names)}")
    return parsed


def main() -> int:
    """Run the script and return its exit code."""
    arguments = parse_arguments()
    script = TRAINING_SCRIPTS[arguments.modality]
    settings = script.Settings(
        model=arguments.model,
        learning_rate=script.LEARNING_RATE if arguments.lr is None else arguments.lr,
        batch_size=script.BATCH_SIZE if arguments.batch_size is None else arguments.batch_size,
        max_per_class=arguments.max_per_class,
        pretrained=not arguments.no_pretrained,
        seed=script.SEED if arguments.seed is None else arguments.seed,
    )
    return training.run_to_exit_code(lambda: run(arguments.modality, settings, arguments.epochs))


if __name__ == "__main__":
    sys.exit(main())
