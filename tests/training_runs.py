"""Trainings and evaluations on a tiny cache, for the tests of the scripts."""

from pathlib import Path

import numpy as np
from PIL import Image

import evaluate
import train_full
import train_image
from dfresearch import data, training, training_script

ROOT = Path(__file__).parents[1]
PER_CLASS = 24
MODEL = "forensic-cnn"
CHECKPOINT = Path("results/checkpoints/image")


def write_cache(cache, media_types=("real", "synthetic")):
    """Noise is real and smooth colour is synthetic: a few steps tell them apart."""
    definitions = cache / "gasbench_configs"
    definitions.mkdir(parents=True)
    generator = np.random.default_rng(0)
    entries = []
    for media_type in media_types:
        name = f"{media_type}-images"
        entries.append({"name": name, "path": f"by-hand/{name}", "modality": "image", "media_type": media_type})
        folder = cache / "datasets" / "image" / name
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = generator.integers(0, 256, (32, 32, 3) if media_type == "real" else (1, 1, 3), dtype=np.uint8)
            Image.fromarray(np.broadcast_to(pixels, (32, 32, 3)).copy()).save(folder / f"{number:06d}.png")
    lines = ["datasets:"]
    for entry in entries:
        lines += [f"  {'- ' if index == 0 else '  '}{key}: {value}" for index, (key, value) in enumerate(entry.items())]
    (definitions / "image_datasets.yaml").write_text("\n".join(lines) + "\n")


def make_workplace(tmp_path, monkeypatch):
    """Change to an empty folder for results; a cache with both classes, small images and a short warm-up are set."""
    write_cache(tmp_path / "cache")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.setattr(train_image, "TARGET_SIZE", (32, 32))
    monkeypatch.setattr(train_image, "WARMUP_STEPS", 2)
    return tmp_path / "work"


def settings(**changes):
    return train_image.Settings(
        **{"model": MODEL, "batch_size": 8, "learning_rate": 1e-2, "pretrained": False} | changes
    )


def train(steps=6, **changes):
    budget = training.Budget(steps=steps)
    return training.run_to_exit_code(lambda: training_script.run(train_image, settings(**changes), budget))


def trained_in_full(epochs=1):
    return training.run_to_exit_code(lambda: train_full.train("image", settings(max_per_class=None), 1.0, epochs))


def summary_of(text):
    return dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines() if ": " in line)


def evaluated(*arguments):
    return training.run_to_exit_code(lambda: evaluate.run(*arguments))
