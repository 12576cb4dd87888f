"""Write for every image model its model.py, a checkpoint of random weights, and logits, below the folder given.

Usage: write_checkpoints.py FOLDER
"""

import shutil
import sys
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file

from dfresearch.models import get_model, list_models, model_module

IMAGE_SHAPE = (2, 3, 224, 224)


def settle_batch_statistics(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Take every BatchNorm's statistics from the images; with the initial ones a deep network's signal dies out."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train(True)(images)


def main() -> None:
    folder = Path(sys.argv[1])
    images = torch.randint(0, 256, IMAGE_SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(34))
    for name in list_models("image"):
        torch.manual_seed(0)
        model = get_model("image", name, pretrained=False)
        with torch.no_grad():
            settle_batch_statistics(model, images)
            logits = model.train(False)(images)
        checkpoint = folder / name
        checkpoint.mkdir(parents=True)
        shutil.copyfile(import_module(model_module("image", name)).__file__, checkpoint / "model.py")
        save_file(model.state_dict(), checkpoint / "model.safetensors")
        save_file({"images": images, "logits": logits}, checkpoint / "expected.safetensors")
        print(f"written: {name}", flush=True)


if __name__ == "__main__":
    main()
