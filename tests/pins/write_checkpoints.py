"""Write for every model its model.py, a checkpoint of random weights, and logits, below the folder given.

Usage: write_checkpoints.py FOLDER
"""

import shutil
import sys
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file

from dfresearch.models import get_model, list_models, model_module

# Two samples of each modality, as the competition feeds them.
IMAGE_SHAPE = (2, 3, 224, 224)
VIDEO_SHAPE = (2, 16, 3, 224, 224)
AUDIO_SHAPE = (2, 96000)


def draw_inputs(modality: str) -> torch.Tensor:
    """Draw noise in the modality's shape and type."""
    generator = torch.Generator().manual_seed(34)
    if modality == "audio":
        return 0.1 * torch.randn(AUDIO_SHAPE, generator=generator)
    shape = {"image": IMAGE_SHAPE, "video": VIDEO_SHAPE}[modality]
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def settle_batch_statistics(model: torch.nn.Module, inputs: torch.Tensor) -> None:
    """Take every BatchNorm's statistics from the inputs; with the initial ones a deep network's signal dies out."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        model.train(True)(inputs)


def main() -> None:
    folder = Path(sys.argv[1])
    for modality, names in list_models().items():
        inputs = draw_inputs(modality)
        for name in names:
            torch.manual_seed(0)
            model = get_model(modality, name, pretrained=False)
            with torch.no_grad():
                settle_batch_statistics(model, inputs)
                logits = model.train(False)(inputs)
            checkpoint = folder / f"{modality}-{name}"
            checkpoint.mkdir(parents=True)
            shutil.copyfile(import_module(model_module(modality, name)).__file__, checkpoint / "model.py")
            save_file(model.state_dict(), checkpoint / "model.safetensors")
            save_file({"inputs": inputs, "logits": logits}, checkpoint / "expected.safetensors")
            print(f"written: {modality} {name}", flush=True)


if __name__ == "__main__":
    main()
