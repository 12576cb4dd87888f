"""OpenCV's decoder, crop and INTER_LINEAR on one thread a core, as fast as Python lets them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from peers import NUM_FRAMES, SIZE, centre_box

NAME = f"OpenCV {cv2.__version__}, threads"
CACHE = "nothing"


def fit(image: np.ndarray) -> np.ndarray:
    top, left, height, width = centre_box(*image.shape[:2])
    crop = image[top : top + height, left : left + width]
    return cv2.cvtColor(cv2.resize(crop, SIZE[::-1], interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)


def load_image(path: str) -> np.ndarray:
    return fit(cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)).transpose(2, 0, 1)


def load_clip(path: str) -> np.ndarray:
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    while len(frames) < NUM_FRAMES:
        is_frame, frame = video.read()
        if not is_frame:
            break
        frames.append(fit(frame).transpose(2, 0, 1))
    video.release()
    frames += frames[-1:] * (NUM_FRAMES - len(frames))
    return np.stack(frames)


class Threads:
    def __init__(self, samples: list[tuple[str, int]], load, batch_size: int, workers: int) -> None:
        self.samples, self.load, self.batch_size, self.workers = samples, load, batch_size, workers

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with ThreadPoolExecutor(self.workers) as pool:
            loaded = pool.map(self.load, [path for path, _ in self.samples])
            for start in range(0, len(self.samples), self.batch_size):
                labels = [label for _, label in self.samples[start : start + self.batch_size]]
                yield np.stack([next(loaded) for _ in labels]), np.array(labels)


def open_loader(samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path) -> Threads:
    cv2.setNumThreads(0)
    return Threads(samples, load_image if modality == "image" else load_clip, batch_size, workers)
