"""A trained model as the competition takes it: configuration, `model.py`, weights, and a ZIP that was tried.

```text
checkpoint folder ─► checks ─► ZIP under a temporary name ─► read back ─► loaded and run apart ─► its final name
```
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

import dfresearch_rs
from dfresearch.models import MODEL_REGISTRY, model_module
from dfresearch.results import checkpoint_directory, exports_directory
from dfresearch_rs import SubmissionError

__all__ = [
    "MODEL_MODULES",
    "PREPROCESSING_CONFIGS",
    "check_archive_loads",
    "export_model",
    "generate_model_config",
    "generate_model_py",
]

CONFIG_FILE = "model_config.yaml"
SOURCE_FILE = "model.py"
WEIGHTS_FILE = "model.safetensors"

# What the evaluator feeds when a configuration is generated without saying what was trained.
PREPROCESSING_CONFIGS: dict[str, dict[str, Any]] = {
    "image": {"resize": [224, 224]},
    "video": {"resize": [224, 224], "num_frames": 16},
    "audio": {"sample_rate": 16000, "duration_seconds": 6.0},
}

MODEL_MODULES: dict[str, dict[str, str]] = {
    modality: {name: model_module(modality, name) for name in family} for modality, family in MODEL_REGISTRY.items()
}
"""modality -> name -> the module whose file becomes `model.py`."""

AUDIO_SAMPLES = 96000
TRIAL_BATCH_SIZE = 2
# Only a load that hangs takes this long.
TRIAL_TIMEOUT_SECONDS = 900

# Runs in an interpreter of its own, as the evaluator's: no project, no network, no GPU. The arguments are the
# extracted folder, the keywords of load_model, the dtype, and the shape and dtype of one batch.
_TRIAL = """
import importlib.util, json, pathlib, sys
import torch
folder = pathlib.Path(sys.argv[1])
keywords, dtype, shape, input_dtype = map(json.loads, sys.argv[2:])
spec = importlib.util.spec_from_file_location("custom_model", folder / "model.py")
module = importlib.util.module_from_spec(spec)
sys.modules["custom_model"] = module
spec.loader.exec_module(module)
model = module.load_model(str(folder / "model.safetensors"), **keywords)
if not isinstance(model, torch.nn.Module):
    sys.exit(f"load_model returned {type(model).__name__}, not a torch.nn.Module")
model = model.to(dtype=getattr(torch, dtype)).eval()
generator = torch.Generator().manual_seed(0)
if input_dtype == "uint8":
    batch = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
else:
    batch = torch.rand(shape, generator=generator) * 2 - 1
with torch.no_grad():
    logits = model(batch)
logits = getattr(logits, "logits", logits)
if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (shape[0], 2):
    sys.exit(f"the model's output is {tuple(getattr(logits, 'shape', ()))}, not logits {(shape[0], 2)}")
if not torch.isfinite(logits).all():
    sys.exit(f"the model's logits are not finite: {logits.tolist()}")
"""

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def generate_model_config(modality: str, name: str, preprocessing: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of `model_config.yaml`, as plain lists, numbers and strings.

    Args:
        modality: "image", "video" or "audio".
        name: the model's name in the registry.
        preprocessing: what was really trained where it differs from the defaults: `resize` (or, as in a loader,
            `target_size`) as (height, width), `num_frames`, `frame_rate` (frames a second). None drops a key.

    Raises:
        ValueError: the modality is unknown.
    """
    if modality not in PREPROCESSING_CONFIGS:
        raise ValueError(f"unknown modality {modality!r}; the known ones are: {', '.join(PREPROCESSING_CONFIGS)}")
    given = {"resize" if key == "target_size" else key: value for key, value in (preprocessing or {}).items()}
    merged = PREPROCESSING_CONFIGS[modality] | given
    return {
        "name": _config_name(name),
        "version": "1.0.0",
        "modality": modality,
        "preprocessing": {
            key: list(value) if isinstance(value, (list, tuple)) else value
            for key, value in merged.items()
            if value is not None
        },
        "model": {"num_classes": 2, "weights_file": WEIGHTS_FILE},
    }


def generate_model_py(modality: str, name: str) -> str:
    """The source of `model.py`: the file of the model's own module, checked against the competition's rules.

    Raises:
        ValueError: the modality or the name is not in the registry.
        SubmissionError: the file uses what the competition refuses; the message names its line.
    """
    path = _source_path(model_module(modality, name))
    source = path.read_text(encoding="utf-8")
    dfresearch_rs.check_model_source(source, path)
    return source


def export_model(
    modality: str,
    name: str,
    checkpoint_dir: str | Path | None = None,
    output_dir: str | Path | None = None,
) -> Path:
    """Pack a checkpoint into `{output_dir}/{modality}_detector_{name}.zip` and return its path.

    The archive gets this name only after it was read back, loaded through its own `load_model` in a fresh
    interpreter, and gave finite logits for a batch. What does not stop it but may spoil it is a `UserWarning`.

    Args:
        modality: "image", "video" or "audio".
        name: the model's name in the registry; the checkpoint must be of this model.
        checkpoint_dir: the folder with the three files; `results/checkpoints/{modality}` by default. A `model.py`
            that is missing there is taken from the registry; a missing `model_config.yaml` gets the defaults, with
            a warning, for nobody knows then what was trained.
        output_dir: where the archive goes; `results/exports` by default.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: the modality or the name is not in the registry.
        SubmissionError: the checkpoint is another model's, breaks the competition's rules, or does not load.
    """
    model_module(modality, name)
    folder = Path(checkpoint_dir) if checkpoint_dir is not None else checkpoint_directory(modality)
    if not (folder / WEIGHTS_FILE).is_file():
        raise FileNotFoundError(f"no weights at {folder / WEIGHTS_FILE}: run train_{modality}.py first")
    _complete(folder, modality, name)
    _check_identity(folder / CONFIG_FILE, modality, name)
    archive = Path(output_dir or exports_directory()) / f"{modality}_detector_{name}.zip"
    report = dfresearch_rs.write_submission(folder, archive, verify=check_archive_loads)
    for warning in report.warnings:
        warnings.warn(warning, stacklevel=2)
    return report.path


def check_archive_loads(archive: str | Path) -> None:
    """Extract a submission, load it through its own `load_model` in a fresh interpreter, and run one batch.

    The interpreter sees no project, no network and no GPU. The batch is random, of the shape and dtype that the
    configuration names; the logits must be finite and of shape [2, 2].

    Raises:
        SubmissionError: it does not load or run; the message ends with what the interpreter said.
    """
    archive = Path(archive)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".trial-") as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(archive) as submission:
            submission.extractall(folder)
        _check_folder_loads(folder)


def _check_folder_loads(folder: Path) -> None:
    config = dfresearch_rs.read_model_config(folder / CONFIG_FILE)
    content = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    keywords = {"num_classes": 2} | {
        key: value for key, value in (content.get("model") or {}).items() if key != "weights_file"
    }
    shape, input_dtype = _batch_of(config)
    dtype = config.dtype.lower()
    arguments = [json.dumps(value) for value in (keywords, _DTYPES.get(dtype, dtype), shape, input_dtype)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        trial = subprocess.run(
            [sys.executable, "-I", "-c", _TRIAL, str(folder.resolve()), *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=TRIAL_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SubmissionError(f"{SOURCE_FILE}: load_model and one batch took over {TRIAL_TIMEOUT_SECONDS} s") from None
    if trial.returncode != 0:
        said = trial.stderr.strip() or f"exit status {trial.returncode}"
        raise SubmissionError(f"{SOURCE_FILE}: the submission does not load and run by itself:\n{said}")


def _batch_of(config: dfresearch_rs.ModelConfig) -> tuple[list[int], str]:
    if config.size is None:
        return [TRIAL_BATCH_SIZE, AUDIO_SAMPLES], "float32"
    frames = [] if config.num_frames is None else [config.num_frames]
    return [TRIAL_BATCH_SIZE, *frames, 3, *config.size], "uint8"


def _complete(folder: Path, modality: str, name: str) -> None:
    if not (folder / CONFIG_FILE).exists():
        warnings.warn(
            f"{folder / CONFIG_FILE} is missing: written with the defaults {PREPROCESSING_CONFIGS[modality]}. "
            "Correct it if the model was trained on anything else.",
            stacklevel=3,
        )
        config = yaml.safe_dump(generate_model_config(modality, name), sort_keys=False)
        _write_whole(folder / CONFIG_FILE, config)
    if not (folder / SOURCE_FILE).exists():
        _write_whole(folder / SOURCE_FILE, generate_model_py(modality, name))


def _check_identity(path: Path, modality: str, name: str) -> None:
    config = dfresearch_rs.read_model_config(path)
    if config.modality != modality:
        raise SubmissionError(f"{path}: the checkpoint is of modality {config.modality}, not {modality}")
    if config.name != _config_name(name):
        raise SubmissionError(
            f"{path}: the checkpoint is {config.name or 'a model without a name'}, not {_config_name(name)}: "
            "export it under its own name"
        )


def _config_name(name: str) -> str:
    return f"dfresearch-{name}"


def _source_path(module: str) -> Path:
    try:
        spec = find_spec(module)
    except ValueError:
        spec = None
    if spec is None or spec.origin is None:
        raise SubmissionError(
            f"{module}: the model's class must lie in a file of its own, which is copied into the submission"
        )
    return Path(spec.origin)


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
