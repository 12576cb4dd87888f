"""NVIDIA DALI's pipeline on the CPU: libjpeg-turbo, OpenCV and its own resize, one thread a core."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import nvidia.dali as dali
from nvidia.dali import fn, pipeline_def, types

from peers import NUM_FRAMES, SIZE

NAME = f"NVIDIA DALI {dali.__version__}, CPU"
CACHE = "its pipeline (it caches decoded images for the GPU alone)"
PREFETCHED_BATCHES = 4


def fit(pictures):
    """Of the longer side the middle, bilinear; what is left out is not copied first."""
    shape = fn.cast(pictures.shape()[-3:-1], dtype=types.FLOAT)
    side = dali.math.min(shape[0], shape[1])
    start = dali.math.floor((shape - side) / 2)
    return fn.resize(
        pictures, roi_start=start, roi_end=start + side, size=SIZE, interp_type=types.INTERP_LINEAR, antialias=False
    )


@pipeline_def
def images_pipeline(samples: list[tuple[str, int]]):
    encoded, labels = fn.readers.file(files=[path for path, _ in samples], labels=[label for _, label in samples])
    images = fn.decoders.image(encoded, device="cpu", output_type=types.RGB, adjust_orientation=False)
    return fn.transpose(fit(images), perm=[2, 0, 1]), labels


@pipeline_def
def clips_pipeline(samples: list[tuple[str, int]]):
    encoded, labels = fn.readers.file(files=[path for path, _ in samples], labels=[label for _, label in samples])
    clips = fn.experimental.decoders.video(
        encoded, device="cpu", start_frame=0, sequence_length=NUM_FRAMES, pad_mode="edge"
    )
    return fn.transpose(fit(clips), perm=[0, 3, 1, 2]), labels


class Pipeline:
    def __init__(self, definition, samples: list[tuple[str, int]], batch_size: int, workers: int) -> None:
        self.count, self.batch_size = len(samples), batch_size
        # What DALI reads past an epoch's end belongs to the next one: whole batches keep epochs apart.
        padding = -len(samples) % batch_size
        self.pipeline = definition(
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
    # On the CPU it decodes the codecs that its own FFmpeg was built with; a clip of another one is an error here.
    return Pipeline(images_pipeline if modality == "image" else clips_pipeline, samples, batch_size, workers)
