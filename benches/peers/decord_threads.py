"""decord's reader on one thread a core; OpenCV crops and resizes."""

from pathlib import Path

import cv2
import decord
import numpy as np

from peers import NUM_FRAMES, SIZE, centre_box
from peers.opencv_threads import Threads

NAME = f"decord {decord.__version__}, threads"
CACHE = "nothing"


def load_clip(path: str) -> np.ndarray:
    reader = decord.VideoReader(path, num_threads=1)
    frames = reader.get_batch(range(min(NUM_FRAMES, len(reader)))).asnumpy()
    top, left, height, width = centre_box(*frames.shape[1:3])
    crops = frames[:, top : top + height, left : left + width]
    small = [cv2.resize(crop, SIZE[::-1], interpolation=cv2.INTER_LINEAR) for crop in crops]
    small += small[-1:] * (NUM_FRAMES - len(small))
    return np.stack(small).transpose(0, 3, 1, 2)


def open_loader(samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path) -> Threads:
    if modality != "video":
        raise NotImplementedError("decord decodes video")
    cv2.setNumThreads(0)
    return Threads(samples, load_clip, batch_size, workers)
