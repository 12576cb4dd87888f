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
# A decoder holds some back to put them in order: not much more than the frames that are wanted.
PACKETS_AT_A_TIME = 8
# The pipeline has one thread a core already.
ONE_THREAD = spdl.io.decode_config(decoder_options={"threads": "1"})

# FFmpeg's bilinear scaler averages over what it skips, where the others take the neighbours alone.
FIT = f"crop=w='min(iw,ih)':h='min(iw,ih)':exact=1,scale=w={SIZE[1]}:h={SIZE[0]}:flags=bilinear,format=pix_fmts=rgb24"


def load_image(sample: tuple[str, int]) -> tuple[np.ndarray, int]:
    packets = spdl.io.demux_image(sample[0])
    frames = spdl.io.decode_packets(packets, filter_desc=FIT, decode_config=ONE_THREAD)
    return spdl.io.to_numpy(spdl.io.convert_frames(frames)).transpose(2, 0, 1), sample[1]


def load_clip(sample: tuple[str, int]) -> tuple[np.ndarray, int]:
    """The first frames, and no more packets than they need."""
    taken: list[np.ndarray] = []
    missing = NUM_FRAMES
    with spdl.io.Demuxer(sample[0]) as demuxer:
        decoder = spdl.io.Decoder(demuxer.video_codec, filter_desc=FIT, decode_config=ONE_THREAD)
        chunks = demuxer.streaming_demux(demuxer.video_stream_index, num_packets=PACKETS_AT_A_TIME)
        for packets in chunks:
            for frames in decoder.streaming_decode_packets(packets):
                taken.append(spdl.io.to_numpy(spdl.io.convert_frames(frames))[:missing])
                missing -= len(taken[-1])
            if missing == 0:
                break
        else:
            for frames in decoder.flush():
                taken.append(spdl.io.to_numpy(spdl.io.convert_frames(frames))[:missing])
                missing -= len(taken[-1])
    taken += [taken[-1][-1:]] * missing
    return np.concatenate(taken).transpose(0, 3, 1, 2), sample[1]


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
