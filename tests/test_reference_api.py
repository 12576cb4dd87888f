"""A training script that knows the reference's API only runs as it is, on a cache that the reference laid out.

The script below uses the names of the drop-in API and nothing else of this project.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES_PER_DATASET = 16

SCRIPT = """
import argparse
import math
import time
from pathlib import Path

from dotenv import load_dotenv

load_dotenv()

import torch
import torch.nn as nn
import yaml
from safetensors.torch import save_file

from dfresearch.data import LABEL_MAP, gather_samples, make_dataloader
from dfresearch.models import MODEL_REGISTRY, get_model, list_models
from export import MODEL_MODULES, PREPROCESSING_CONFIGS, export_model, generate_model_config, generate_model_py
from prepare import (
    DEFAULT_IMAGE_BATCH_SIZE,
    LABEL_REAL,
    LABEL_SYNTHETIC,
    NUM_VIDEO_FRAMES,
    TARGET_IMAGE_SIZE,
    TIME_BUDGET,
    compute_sn34_score,
    evaluate_model,
    verify_cache,
)

parser = argparse.ArgumentParser()
parser.add_argument("--time-budget", type=int, default=TIME_BUDGET)
parser.add_argument("--batch-size", type=int, default=DEFAULT_IMAGE_BATCH_SIZE)
args = parser.parse_args()

NAME = "efficientnet-b4"
assert NAME in list_models("image") and NAME in MODEL_REGISTRY["image"]
assert MODEL_MODULES and PREPROCESSING_CONFIGS["image"]
assert LABEL_MAP["real"] == LABEL_REAL and LABEL_MAP["semisynthetic"] == LABEL_SYNTHETIC
assert compute_sn34_score([], [])["brier_norm"] == 0.75

device = "cuda" if torch.cuda.is_available() else "cpu"
start = time.time()
verify_cache("image")
samples = gather_samples("image", split="train", max_per_class=5000)
path, label = samples[0]
assert isinstance(path, Path) and isinstance(label, int) and path.is_file()
model = get_model("image", NAME, num_classes=2, pretrained=True, dropout=0.3).to(device)
assert hasattr(model, "backbone") or hasattr(model, "vision_model")
train_loader = make_dataloader(
    "image", split="train", batch_size=args.batch_size, target_size=TARGET_IMAGE_SIZE, augment_level=2,
    max_per_class=5000, num_workers=2,
)
val_loader = make_dataloader("image", "val", args.batch_size, TARGET_IMAGE_SIZE, NUM_VIDEO_FRAMES, 0, 5000, 2)
assert len(train_loader.dataset) == len(samples)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
criterion = nn.CrossEntropyLoss()

steps = epochs = 0
training_start = time.time()
while time.time() - training_start < args.time_budget:
    model.train()
    for inputs, labels in train_loader:
        loss = criterion(model(inputs.to(device)), labels.to(device))
        assert math.isfinite(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if time.time() - training_start >= args.time_budget:
            break
    epochs += 1
training_seconds = time.time() - training_start

metrics = evaluate_model(model, val_loader, device=device)
checkpoint = Path("results/checkpoints/image")
checkpoint.mkdir(parents=True, exist_ok=True)
weights = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
save_file(weights, checkpoint / "model.safetensors")
(checkpoint / "model_config.yaml").write_text(yaml.dump(generate_model_config("image", NAME)))
(checkpoint / "model.py").write_text(generate_model_py("image", NAME))
archive = export_model("image", NAME)

print("---")
print(f"model: {NAME}")
for key in ("sn34_score", "accuracy", "mcc", "brier"):
    print(f"{key}: {metrics[key]:.6f}")
print(f"num_steps: {steps}")
print(f"archive: {archive}")
"""


@pytest.fixture
def reference_cache(tmp_path):
    """A cache as the reference's download leaves it: one definition file, numbered PNG files, a marker per dataset."""
    cache = tmp_path / "cache"
    definitions = cache / "gasbench_configs"
    definitions.mkdir(parents=True)
    (definitions / "image_datasets.yaml").write_text(
        "datasets:\n"
        "  - name: street-photos\n    path: someone/street-photos\n    modality: image\n    media_type: real\n"
        "    source_format: parquet\n"
        "  - name: diffused-faces\n    path: someone/diffused-faces\n    modality: image\n    media_type: synthetic\n"
        "    source_format: zip\n"
        "  - name: edited-faces\n    path: someone/edited-faces\n    modality: image\n    media_type: semisynthetic\n"
    )
    generator = np.random.default_rng(0)
    for name in ("street-photos", "diffused-faces", "edited-faces"):
        folder = cache / "datasets" / "image" / name
        folder.mkdir(parents=True)
        for number in range(IMAGES_PER_DATASET):
            pixels = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:06d}.png")
        (folder / ".download_complete").write_text("")
    return cache


def test_a_script_for_the_reference_api_runs_unchanged(tmp_path, reference_cache):
    script = tmp_path / "train_reference.py"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "DFRESEARCH_CACHE": str(reference_cache),
        "DFRESEARCH_PRETRAINED": "0",
        "PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{ROOT}",
    }
    process = subprocess.run(
        [sys.executable, str(script), "--time-budget", "1", "--batch-size", "4"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    summary = dict(line.split(": ", 1) for line in process.stdout.split("---\n")[1].splitlines())
    assert summary["model"] == "efficientnet-b4"
    assert int(summary["num_steps"]) >= 1
    assert all(0 <= float(summary[key]) <= 1 for key in ("sn34_score", "accuracy", "brier"))
    with zipfile.ZipFile(tmp_path / "results/exports/image_detector_efficientnet-b4.zip") as archive:
        assert sorted(archive.namelist()) == ["model.py", "model.safetensors", "model_config.yaml"]
