"""torchcodec's decoder on one thread a core; torchvision crops and resizes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import torch
from torchcodec.decoders import VideoDecoder
from torchvision.transforms.v2.functional import resized_crop

from peers import NUM_FRAMES, SIZE, centre_box

NAME = f"torchcodec {version('torchcodec').partition('+')[0]}, threads"
CACHE = "nothing"


def load_clip(path: str) -> torch.Tensor:
    decoder = VideoDecoder(path, num_ffmpeg_threads=1, seek_mode="approximate")
    frames = decoder.get_frames_in_range(0, min(NUM_FRAMES, len(decoder))).data
    frames = resized_crop(frames, *centre_box(*frames.shape[2:]), list(SIZE), antialias=False)
    missing = NUM_FRAMES - len(frames)
    return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing else frames


class Threads:
    def __init__(self, samples: list[tuple[str, int]], batch_size: int, workers: int) -> None:
        self.samples, self.batch_size, self.workers = samples, batch_size, workers

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with ThreadPoolExecutor(self.workers) as pool:
            loaded = pool.map(load_clip, [path for path, _ in self.samples])
            for start in range(0, len(self.samples), self.batch_size):
                labels = [label for _, label in self.samples[start : start + self.batch_size]]
                yield torch.stack([next(loaded) for _ in labels]), torch.tensor(labels)


def open_loader(samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path) -> Threads:
    if modality != "video":
        raise NotImplementedError("torchcodec decodes video and sound")
    torch.set_num_threads(1)
    return Threads(samples, batch_size, workers)
