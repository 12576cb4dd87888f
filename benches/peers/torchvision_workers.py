"""torchvision's decoder and resize in a DataLoader with one worker process a core."""

from pathlib import Path

import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import resized_crop

from peers import SIZE, centre_box

NAME = f"torchvision {torchvision.__version__.partition('+')[0]}, DataLoader"
CACHE = "its worker processes"


class ImageFiles(Dataset):
    def __init__(self, samples: list[tuple[str, int]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        image = decode_image(path, mode=ImageReadMode.RGB)
        return resized_crop(image, *centre_box(*image.shape[1:]), list(SIZE), antialias=False), label


def open_loader(
    samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path
) -> DataLoader:
    if modality != "image":
        raise NotImplementedError("torchvision no longer decodes video; torchcodec does")
    return DataLoader(ImageFiles(samples), batch_size, num_workers=workers, persistent_workers=True)
