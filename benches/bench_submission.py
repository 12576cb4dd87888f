#!/usr/bin/env python3
"""A submission ZIP of random weights: `zipfile` with deflate against `write_submission`, same files.

Ours also checks the three files, hashes the members, flushes to the disk and reads the archive back.
"""

import tempfile
import time
import zipfile
from pathlib import Path

import torch

from dfresearch_rs import write_checkpoint, write_submission

WEIGHTS = 20_000_000
ROUNDS = 3
CONFIG = {"name": "bench", "modality": "image", "preprocessing": {"resize": [224, 224]}}
SOURCE = "def load_model(weights_path, num_classes=2):\n    pass\n"
MEMBERS = ["model_config.yaml", "model.py", "model.safetensors"]


def baseline(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in MEMBERS:
            archive.write(folder / name, name)


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        generator = torch.Generator().manual_seed(0)
        state = {"weight": torch.randn(WEIGHTS, generator=generator)}
        write_checkpoint(root / "checkpoint", CONFIG, SOURCE, state)
        theirs, ours = [], []
        for _ in range(ROUNDS):
            theirs.append(seconds_of(lambda: baseline(root / "checkpoint", root / "theirs.zip")))
            ours.append(seconds_of(lambda: write_submission(root / "checkpoint", root / "ours.zip")))
        with zipfile.ZipFile(root / "theirs.zip") as left, zipfile.ZipFile(root / "ours.zip") as right:
            for name in MEMBERS:
                if left.read(name) != right.read(name):
                    raise AssertionError(f"{name} differs")
        for name, times, path in (("zipfile", theirs, "theirs.zip"), ("write_submission", ours, "ours.zip")):
            size = (root / path).stat().st_size
            print(f"{name:>16}: {min(times):7.3f} s for {WEIGHTS * 4 / 1e6:.0f} MB, archive {size / 1e6:.1f} MB")
        print(f"           ratio: {min(theirs) / min(ours):7.1f}x")


if __name__ == "__main__":
    main()
