"""SPDL: FFmpeg decodes, crops and scales in the threads of its pipeline, one a core."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import spdl.io
from spdl.pipeline import PipelineBuilder

from peers import NUM_FRAMES, SIZE

NAME = f"SPDL {version('spdl-io')}"
CACHE = "nothing"
BUFFERED_BATCHES = 4

# FFmpeg's bilinear scaler averages over what it skips, where the others take the neighbours alone.
FIT = f"crop=w='min(iw,ih)':h='min(iw,ih)':exact=1,scale=w={SIZE[1]}:h={SIZE[0]}:flags=bilinear,format=pix_fmts=rgb24"


def load_image(sample: tuple[str, int]) -> tuple[np.ndarray, int]:
    packets = spdl.io.demux_image(sample[0])
    frames = spdl.io.decode_packets(packets, filter_desc=FIT)
    return spdl.io.to_numpy(spdl.io.convert_frames(frames)).transpose(2, 0, 1), sample[1]


def load_clip(sample: tuple[str, int]) -> tuple[np.ndarray, int]:
    packets = spdl.io.demux_video(sample[0])
    frames = spdl.io.decode_packets(packets, filter_desc=f"trim=end_frame={NUM_FRAMES},{FIT}")
    return spdl.io.to_numpy(spdl.io.convert_frames(frames)).transpose(0, 3, 1, 2), sample[1]


def batch(loaded: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = zip(*loaded, strict=True)
    return np.stack(inputs), np.array(labels)


class Epochs:
    def __init__(self, samples: list[tuple[str, int]], load, batch_size: int, workers: int) -> None:
        self.samples, self.load, self.batch_size, self.workers = samples, load, batch_size, workers

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        pipeline = (
            PipelineBuilder()
            .add_source(self.samples)
            .pipe(self.load, concurrency=self.workers, output_order="input")
            .aggregate(self.batch_size)
            .pipe(batch)
            .add_sink(BUFFERED_BATCHES)
            .build(num_threads=self.workers)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()


def open_loader(samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path) -> Epochs:
    return Epochs(samples, load_image if modality == "image" else load_clip, batch_size, workers)
