"""NVIDIA DALI's pipeline on the CPU: libjpeg-turbo, OpenCV and its own resize, one thread a core."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import nvidia.dali as dali
from nvidia.dali import fn, pipeline_def, types

from peers import NUM_FRAMES, SIZE

NAME = f"NVIDIA DALI {dali.__version__}, CPU"
CACHE = "its pipeline and threads; a cache of decoded images it has for the GPU alone"
PREFETCHED_BATCHES = 4


@pipeline_def
def images_pipeline(samples: list[tuple[str, int]]):
    encoded, labels = fn.readers.file(files=[path for path, _ in samples], labels=[label for _, label in samples])
    images = fn.decoders.image(encoded, device="cpu", output_type=types.RGB, adjust_orientation=False)
    # The shorter side whole, of the longer one the middle, without a copy of it: (height, width) from, to.
    shape = fn.cast(images.shape()[0:2], dtype=types.FLOAT)
    half = fn.stack(dali.math.min(shape[0], shape[1]), dali.math.min(shape[0], shape[1])) / 2
    start = dali.math.floor(shape / 2 - half)
    images = fn.resize(
        images,
        roi_start=start,
        roi_end=start + 2 * half,
        size=SIZE,
        interp_type=types.INTERP_LINEAR,
        antialias=False,
    )
    return fn.transpose(images, perm=[2, 0, 1]), labels


class Pipeline:
    def __init__(self, samples: list[tuple[str, int]], batch_size: int, workers: int) -> None:
        self.count, self.batch_size = len(samples), batch_size
        # What DALI reads past an epoch's end belongs to the next one: whole batches keep epochs apart.
        padding = -len(samples) % batch_size
        self.pipeline = images_pipeline(
            samples + samples[-1:] * padding,
            batch_size=batch_size,
            num_threads=workers,
            device_id=None,
            prefetch_queue_depth=PREFETCHED_BATCHES,
        )
        self.pipeline.build()

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, self.count, self.batch_size):
            images, labels = self.pipeline.run()
            count = min(self.batch_size, self.count - start)
            # Out of its buffer, which the next run writes over, into the batch that a training may keep.
            yield np.array(images.as_tensor())[:count], np.array(labels.as_tensor())[:count, 0]


def open_loader(samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path) -> Pipeline:
    if modality != "image":
        raise NotImplementedError(f"not tried: the first {NUM_FRAMES} frames of H.264 clips on the CPU")
    return Pipeline(samples, batch_size, workers)
