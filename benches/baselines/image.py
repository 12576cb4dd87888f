"""Images: Pillow decodes and resizes, OpenCV and NumPy augment."""

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from baselines import Sample, loader_of

SIZE = (224, 224)
MOST_OPERATIONS = 2
FLIP_PROBABILITY = 0.5


def jpeg_round_trip(image: np.ndarray) -> np.ndarray:
    quality = int(np.random.randint(40, 76))
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def gaussian_blur(image: np.ndarray) -> np.ndarray:
    sigma = np.random.uniform(0.5, 1.5)
    kernel = int(6 * sigma + 1) | 1
    return cv2.GaussianBlur(image, (kernel, kernel), sigma)


def gaussian_noise(image: np.ndarray) -> np.ndarray:
    noise = np.random.normal(0, np.random.uniform(3, 10), image.shape).astype(np.float32)
    return np.clip(image.astype(np.float32) + noise, 0, 255).astype(np.uint8)


def colour_shift(image: np.ndarray) -> np.ndarray:
    magnitude = np.random.uniform(5, 15)
    shift = np.random.uniform(-magnitude, magnitude, 3).astype(np.float32)
    return np.clip(image.astype(np.float32) + shift, 0, 255).astype(np.uint8)


# Those of level 2.
OPERATIONS = (jpeg_round_trip, gaussian_blur, gaussian_noise, colour_shift)


class ImageFiles(Dataset):
    def __init__(self, samples: list[Sample], augment: bool) -> None:
        self.samples = samples
        self.augment = augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        height, width = SIZE
        with Image.open(path) as file:
            image = np.asarray(file.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        if self.augment:
            count = np.random.randint(1, MOST_OPERATIONS + 1)
            for operation in np.random.permutation(len(OPERATIONS))[:count]:
                image = OPERATIONS[operation](image)
            if np.random.random() < FLIP_PROBABILITY:
                image = image[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), label


def baseline_loader(samples: list[Sample], batch_size: int, *, augment: bool, training: bool = True) -> DataLoader:
    return loader_of(ImageFiles(samples, augment), batch_size, training=training)
