"""Train a chosen detector for hours, and keep, evaluate and export its best epoch.

    uv run train_full.py --modality image --model efficientnet-b4 --hours 8

The stages: download, verify, train, evaluate, export. Model, optimizer and loop are those of `train_{modality}.py`,
knobs included: what the experiments found is trained at length, on every sample of the cache. After every epoch the
validation split is scored, and the checkpoint replaced when the score is the best so far; it is what is evaluated and
exported. The best epoch was chosen on the split that it is scored on, so a comparison with the experiments' scores
flatters it a little.

Everything that is printed is also in `runs/full_{modality}_{timestamp}.log`. The exit code is 0 when every stage ran
and the model passed the entrance exam's accuracy, 1 when not, 130 after Ctrl-C; the best epoch so far stays then.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import contextlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import evaluate
import export
import prepare
import train_audio
import train_image
import train_video
from dfresearch import command_line, training, training_script
from dfresearch.experiment import start_run
from dfresearch.experiment.output_log import copied_output, new_log
from dfresearch.models import list_models
from dfresearch.results import checkpoint_directory, runs_directory

DEFAULT_HOURS = 4.0
SECONDS_PER_HOUR = 3600
# Of each dataset. The competition draws no more than 2000 from one, so more of the same teaches less than another one.
DEFAULT_MAX_SAMPLES = 2000

# The script of each modality: they have the same functions.
TRAINING_SCRIPTS = {"image": train_image, "video": train_video, "audio": train_audio}


# ---------------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------------


def download(modality: str, workers: int, max_samples: int) -> None:
    """Fetch the datasets of a modality into the cache; those that fail are printed, and do not keep the others away."""
    prepare.download_datasets(modality, max_workers=workers, max_samples=max_samples)


def verify(modality: str) -> None:
    """Print what the cache holds.

    Raises:
        TrainingError: it holds nothing of the modality.
    """
    if prepare.verify_cache(modality) == 0:
        raise training.TrainingError(f"there is no usable {modality} sample in the cache: nothing to train on")


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


def train(modality: str, settings: train_image.Settings, hours: float, epochs: int | None) -> None:
    """Train for `hours`, or for whole `epochs`, keep the checkpoint of the best epoch and print that epoch's summary.

    Evaluation after an epoch is no part of the hours. Hours that end within an epoch end it, and it is evaluated.
    """
    script = TRAINING_SCRIPTS[modality]
    started_at = time.perf_counter()
    training.seed_everything(settings.seed)
    device = training.select_device()
    # What would keep the checkpoint from being written is found now, not after an epoch.
    model_source = export.generate_model_py(modality, settings.model)
    training_script.require_valid_config(script.checkpoint_config(settings))
    checkpoint = checkpoint_directory(modality)
    training.require_writable(checkpoint)

    train_loader = script.build_loader("train", settings)
    val_loader = script.build_loader("val", settings)
    known_quarantined = script.quarantined_files()
    model = script.build_model(settings).to(device)
    training.require_registered_architecture(model, modality, settings.model)
    budget = training.Budget(seconds=hours * SECONDS_PER_HOUR)
    if epochs is not None:
        # Quarantine may shorten epochs: the steps set the schedule, the count of epochs the end.
        budget = training.Budget(steps=max(1, epochs * len(train_loader) // settings.accumulation))
    print(
        f"{settings.model} on {device}: {len(train_loader.dataset)} samples to train on, "
        f"{len(val_loader.dataset)} to validate on, {f'{hours:g} hours' if epochs is None else f'{epochs} epochs'}",
        flush=True,
    )
    best_epoch, best_scores = 0, {}

    def evaluate_epoch(epoch: int) -> None:
        nonlocal best_epoch, best_scores
        scores = script.evaluate(model, val_loader, device)
        better = not best_scores or scores["sn34_score"] > best_scores["sn34_score"]
        if better:
            script.save_checkpoint(model, settings, model_source, checkpoint)
            best_epoch, best_scores = epoch, scores
        print(
            f"epoch {epoch}{'' if epochs is None else f' of {epochs}'}: sn34_score {scores['sn34_score']:.6f}, "
            f"accuracy {scores['accuracy']:.4f}" + (" (checkpoint written)" if better else ""),
            flush=True,
        )
        if epoch == epochs:
            budget.finish()

    limits = {"hours": None if epochs else hours, "epochs": epochs}
    with start_run(modality, __file__, training_script.knobs_of(script, settings) | limits) as run_record:
        try:
            record = script.train(model, train_loader, budget, settings, device, after_epoch=evaluate_epoch)
        except BaseException:
            # Whatever ended it: what was reached so far is worth knowing.
            print(_what_stays(checkpoint, best_epoch, best_scores), flush=True)
            raise
        print(f"the checkpoint is that of epoch {best_epoch}")
        total_seconds = time.perf_counter() - started_at
        quarantined = script.count_quarantined(known_quarantined, [train_loader, val_loader])
        training_script.print_sample_cache_notices([train_loader, val_loader])
        seconds = budget.training_seconds
        summary = script.report(
            best_scores, settings, record, model, train_loader, quarantined, seconds, total_seconds, device
        )
        run_record.finish(summary)


def _what_stays(checkpoint: Path, best_epoch: int, best_scores: Mapping[str, float]) -> str:
    if best_epoch == 0:
        return f"ended before the first epoch was evaluated: {checkpoint} is what it was before"
    return (
        f"ended early: {checkpoint} holds the best epoch so far, {best_epoch} "
        f"(sn34_score {best_scores['sn34_score']:.6f}); evaluate.py and export.py take it from there"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Run
# ---------------------------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    """Run every stage that `arguments` does not leave out, and return the exit code."""
    modality, model = arguments.modality, arguments.model
    script = TRAINING_SCRIPTS[modality]
    if not arguments.skip_download:
        _announce("download")
        download(modality, arguments.workers or script.NUM_WORKERS, arguments.max_samples)
        if arguments.download_only:
            return 0
    _announce("verify")
    verify(modality)
    _announce("train")
    if arguments.workers is not None:
        script.NUM_WORKERS = arguments.workers
    train(modality, settings_of(arguments), arguments.hours, arguments.epochs)
    _announce("evaluate")
    # The checkpoint's own files, as the competition will load them; not the model that is still in memory.
    weights = checkpoint_directory(modality) / evaluate.WEIGHTS_FILE
    passed = evaluate.run(modality, None, weights, arguments.batch_size or script.BATCH_SIZE) == 0
    if not arguments.skip_export:
        _announce("export")
        if export.main(["--modality", modality, "--model", model]) != 0:
            raise training.TrainingError("the model was trained and evaluated, but not exported")
    if not passed:
        raise training.TrainingError(
            f"every stage ran, but the accuracy is below the entrance exam's {evaluate.PASS_ACCURACY:.2f}"
        )
    return 0


def settings_of(arguments: argparse.Namespace) -> train_image.Settings:
    """Return the script's knobs after the command line; all samples of a class unless it says otherwise."""
    script = TRAINING_SCRIPTS[arguments.modality]
    return script.Settings(
        model=arguments.model,
        learning_rate=script.LEARNING_RATE if arguments.lr is None else arguments.lr,
        batch_size=script.BATCH_SIZE if arguments.batch_size is None else arguments.batch_size,
        accumulation=script.GRADIENT_ACCUMULATION if arguments.accumulation is None else arguments.accumulation,
        max_per_class=arguments.max_per_class,
        pretrained=not arguments.no_pretrained,
        seed=script.SEED if arguments.seed is None else arguments.seed,
    )


def _announce(stage: str) -> None:
    print(f"=== {stage} ===", flush=True)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number, count, seed = command_line.positive_number, command_line.positive_integer, command_line.seed
    parser.add_argument("--modality", default="image", choices=list(TRAINING_SCRIPTS))
    parser.add_argument("--model", help="default: the training script's")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=number, default=DEFAULT_HOURS, help="of training (default: %(default)s)")
    length.add_argument("--epochs", type=count, help="train for so many whole epochs instead")
    parser.add_argument("--lr", type=number, help="peak learning rate; default: the training script's")
    parser.add_argument("--batch-size", type=count, help="samples per batch; default: the training script's")
    parser.add_argument("--accumulation", type=count, help="batches per optimizer step; default: the training script's")
    parser.add_argument("--max-per-class", type=count, help="samples of each class to train on; default: all")
    parser.add_argument(
        "--max-samples", type=count, default=DEFAULT_MAX_SAMPLES, help="to download of a dataset (default: %(default)s)"
    )
    parser.add_argument("--workers", type=count, help="threads that download, and decode; default: the script's")
    parser.add_argument("--no-pretrained", action="store_true", help="start from random weights; needs no network")
    parser.add_argument("--seed", type=seed, help="of weights, order and augmentation; default: the training script's")
    download_choice = parser.add_mutually_exclusive_group()
    download_choice.add_argument("--skip-download", action="store_true", help="train on what the cache holds")
    download_choice.add_argument("--download-only", action="store_true", help="fill the cache and stop")
    parser.add_argument("--skip-export", action="store_true", help="stop after the evaluation")
    parser.add_argument("--log-file", type=Path, help="appended to; default: runs/full_MODALITY_TIMESTAMP.log")
    parsed = parser.parse_args(arguments)
    parsed.model = TRAINING_SCRIPTS[parsed.modality].MODEL if parsed.model is None else parsed.model
    names = list_models(parsed.modality)
    if parsed.model not in names:
        parser.error(f"--model: {parsed.model!r} is none of {', '.join(names)}")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script with its output in a log, and return its exit code."""
    parsed = parse_arguments(arguments)
    with contextlib.ExitStack() as stack:
        try:
            log = parsed.log_file or new_log(runs_directory(), f"full_{parsed.modality}")
            stack.enter_context(copied_output(log))
        except OSError as error:
            print(f"error: the log cannot be written: {error}", file=sys.stderr)
            return 1
        print(f"log: {log}", flush=True)
        try:
            return training.run_to_exit_code(lambda: run(parsed))
        except Exception:
            # Printed here, or it would be missing in the log.
            traceback.print_exc()
            return 1


if __name__ == "__main__":
    sys.exit(main())
