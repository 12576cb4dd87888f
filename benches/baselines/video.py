"""Clips: decord decodes, OpenCV crops, resizes and augments, as light as level 1."""

import cv2
import decord
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from baselines import Sample, loader_of

SIZE = (224, 224)
NUM_FRAMES = 16


def centre_crop(image: np.ndarray) -> np.ndarray:
    """The competition's crop to the target's aspect ratio."""
    height, width = image.shape[:2]
    scale = min(height / SIZE[0], width / SIZE[1])
    crop_height, crop_width = min(height, round(scale * SIZE[0])), min(width, round(scale * SIZE[1]))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return image[top : top + crop_height, left : left + crop_width]


def draw_augmentation() -> tuple[int | None, float | None]:
    """A JPEG quality and a blur's sigma, one of them or both; drawn once for all frames of a clip."""
    chosen = np.random.permutation(2)[: np.random.randint(1, 3)]
    quality = int(np.random.randint(70, 96)) if 0 in chosen else None
    sigma = float(np.random.uniform(0.3, 0.8)) if 1 in chosen else None
    return quality, sigma


def augment_frame(frame: np.ndarray, quality: int | None, sigma: float | None) -> np.ndarray:
    if quality is not None:
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        frame = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    if sigma is not None:
        kernel = int(6 * sigma + 1) | 1
        frame = cv2.GaussianBlur(frame, (kernel, kernel), sigma)
    return frame


class ClipFiles(Dataset):
    def __init__(self, samples: list[Sample], sampling: str, augment: bool) -> None:
        self.samples = samples
        self.sampling = sampling
        self.augment = augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        reader = decord.VideoReader(str(path), num_threads=1)
        if self.sampling == "first":
            positions = list(range(min(NUM_FRAMES, len(reader))))
        else:
            positions = np.linspace(0, len(reader) - 1, NUM_FRAMES).astype(int).tolist()
        frames = reader.get_batch(positions).asnumpy()
        frames = [cv2.resize(centre_crop(frame), SIZE[::-1], interpolation=cv2.INTER_LINEAR) for frame in frames]
        if self.augment:
            drawn = draw_augmentation()
            frames = [augment_frame(frame, *drawn) for frame in frames]
        frames += frames[-1:] * (NUM_FRAMES - len(frames))
        return torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy()), label


def baseline_loader(
    samples: list[Sample], batch_size: int, *, augment: bool, sampling: str = "first", training: bool = True
) -> DataLoader:
    return loader_of(ClipFiles(samples, sampling, augment), batch_size, training=training)
