"""Score a checkpoint on the validation split, through the model file that a submission carries.

    uv run evaluate.py --modality image                                      # results/checkpoints/image
    uv run evaluate.py --modality image --weights elsewhere/model.safetensors
    uv run evaluate.py --modality image --weights bare.safetensors --model efficientnet-b4

`model.py` and `model_config.yaml` are read from beside the weights; where there is no `model.py`, `--model` names the
registered model whose file is used. The exit code is 0 for PASS (an accuracy of at least 80 %, as in the competition's
entrance exam) and 1 for FAIL or an error.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from torch import nn

import dfresearch_rs
from dfresearch import command_line, training
from dfresearch.data import make_dataloader
from dfresearch.models import list_models, model_module
from dfresearch.results import checkpoint_directory
from export import generate_model_config
from prepare import (
    DEFAULT_AUDIO_BATCH_SIZE,
    DEFAULT_IMAGE_BATCH_SIZE,
    DEFAULT_VIDEO_BATCH_SIZE,
    MODALITIES,
    evaluate_model,
)

PASS_ACCURACY = 0.8
EXIT_FAIL = 1
BATCH_SIZES = {
    "image": DEFAULT_IMAGE_BATCH_SIZE,
    "video": DEFAULT_VIDEO_BATCH_SIZE,
    "audio": DEFAULT_AUDIO_BATCH_SIZE,
}
WEIGHTS_FILE = "model.safetensors"
# Keys under `model:` that are not passed to `load_model` as keywords.
RESERVED_MODEL_KEYS = ("num_classes", "weights_file")
DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}


def read_config(weights: Path, modality: str, model_name: str | None) -> dict[str, Any]:
    """Read the `model_config.yaml` beside `weights`; a bare weights file gets that of the registered model.

    Raises:
        TrainingError: there are no weights or no configuration, or it is another modality's or another model's.
        SubmissionError: the configuration is not one that the competition would accept.
    """
    if not weights.is_file():
        raise training.TrainingError(f"{weights}: no such weights; train first, or name them with --weights")
    path = weights.parent / "model_config.yaml"
    if not path.is_file():
        if model_name is None:
            raise training.TrainingError(f"{path} is missing: name the registered model with --model")
        return generate_model_config(modality, model_name)
    checked = dfresearch_rs.read_model_config(path)
    if checked.modality != modality:
        raise training.TrainingError(f"{path} is of a model for {checked.modality}, not for {modality}")
    if model_name is not None and checked.name != generate_model_config(modality, model_name)["name"]:
        raise training.TrainingError(
            f"{path} is of {checked.name or 'no name'}, not of {model_name}: leave out --model, or name its weights"
        )
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise training.TrainingError(f"{path}: {error}") from error


def load_detector(weights: Path, modality: str, model_name: str | None, config: dict[str, Any]) -> nn.Module:
    """Build the model through the `load_model` of the file beside `weights`, or of the registered model's file.

    Raises:
        TrainingError: there is no model file, or it does not load the weights.
        SubmissionError: the model file breaks the competition's rules; it is not executed.
    """
    source = weights.parent / "model.py"
    if not source.is_file() and model_name is None:
        raise training.TrainingError(f"{source} is missing: name the registered model with --model")
    if source.is_file():
        dfresearch_rs.check_model_source(source.read_text(encoding="utf-8", errors="replace"), source)
    model_section = config.get("model") or {}
    keywords = {key: value for key, value in model_section.items() if key not in RESERVED_MODEL_KEYS}
    dtype = DTYPES[str(config.get("dtype") or "float32").lower()]
    try:
        module = _import_file(source) if source.is_file() else import_module(model_module(modality, str(model_name)))
        model = module.load_model(str(weights), num_classes=model_section.get("num_classes", 2), **keywords)
        return model.to(dtype)
    except Exception as error:  # whatever the code of a model raises
        file = source.name if source.is_file() else model_name
        reason = f"{type(error).__name__}: {error}"
        raise training.TrainingError(f"{weights} does not load through {file}: {reason}") from error


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("submitted_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while the file is executed.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(modality: str, model_name: str | None, weights: Path, batch_size: int) -> int:
    """Evaluate, print, and return the exit code: 1 when the accuracy is below the entrance exam's."""
    config = read_config(weights, modality, model_name)
    preprocessing = config.get("preprocessing") or {}
    inputs = {key: preprocessing[key] for key in ("num_frames", "frame_rate") if preprocessing.get(key) is not None}
    # As the competition: with a rate by that, without one the first frames.
    inputs["sampling"] = "rate" if "frame_rate" in inputs else "first"
    if preprocessing.get("resize"):
        inputs["target_size"] = tuple(preprocessing["resize"])
    model = load_detector(weights, modality, model_name, config)
    loader = make_dataloader(modality, split="val", batch_size=batch_size, **inputs)
    training.require_both_classes((label for _, label in loader.dataset), "val", modality)

    device = training.select_device()
    print(f"{config.get('name', model_name)} on {device}: {len(loader.dataset)} validation samples", flush=True)
    scores = evaluate_model(model, loader, device=str(device))
    training.print_summary({"modality": modality, **scores, "quarantined": len(loader.quarantined)})
    passed = scores["accuracy"] >= PASS_ACCURACY
    print(
        f"{'PASS' if passed else 'FAIL'}: accuracy {scores['accuracy']:.4f}, "
        f"the competition's entrance exam asks for {PASS_ACCURACY:.2f}"
    )
    return 0 if passed else EXIT_FAIL


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modality", default="image", choices=MODALITIES)
    parser.add_argument("--model", help="name in the registry; needed where the weights have no model.py beside them")
    parser.add_argument("--weights", type=Path, help="default: results/checkpoints/MODALITY/model.safetensors")
    parser.add_argument("--batch-size", type=command_line.positive_integer, help="default: the modality's")
    parsed = parser.parse_args(arguments)
    names = list_models(parsed.modality)
    if parsed.model is not None and parsed.model not in names:
        parser.error(f"--model: {parsed.model!r} is none of {', '.join(names)}")
    if parsed.weights is None:
        parsed.weights = checkpoint_directory(parsed.modality) / WEIGHTS_FILE
    elif parsed.weights.is_dir():
        parsed.weights /= WEIGHTS_FILE
    if parsed.batch_size is None:
        parsed.batch_size = BATCH_SIZES[parsed.modality]
    return parsed


def main() -> int:
    """Run the script and return its exit code."""
    arguments = parse_arguments()
    return training.run_to_exit_code(
        lambda: run(arguments.modality, arguments.model, arguments.weights, arguments.batch_size)
    )


if __name__ == "__main__":
    sys.exit(main())
