"""Clips to batches: decord and OpenCV in a PyTorch DataLoader against dfresearch_rs.Loader, on the same files.

Usage: python benches/bench_video.py [--media FOLDER] [--rounds N] [--batch-size N]

Every round times one first epoch of the baseline and one of ours, in turn; the medians' ratio is printed. What both
deliver is compared before anything is timed. Without --media a corpus is made in .bench/ once and used again.
"""

import argparse
import os
from pathlib import Path

import cv2
import decord
import numpy as np
import torch
from bench_loader import (
    BASELINE_WORKERS,
    OUR_PREFETCH_BATCHES,
    SEED,
    SIZE,
    Sample,
    centre_crop,
    collect,
    measure,
    start_worker,
)
from clips import prepare_corpus
from torch.utils.data import DataLoader, Dataset

import dfresearch_rs

NUM_FRAMES = 16
LEVEL = 1


# --- the baseline: what a user would write, as light as level 1 -------------------------------------------------------


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
    samples: list[Sample], batch_size: int, sampling: str, *, augment: bool, shuffle: bool
) -> DataLoader:
    return DataLoader(
        ClipFiles(samples, sampling, augment),
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=BASELINE_WORKERS,
        worker_init_fn=start_worker,
    )


# --- ours -------------------------------------------------------------------------------------------------------------


def our_loader(
    samples: list[Sample], batch_size: int, sampling: str, *, level: int, shuffle: bool
) -> dfresearch_rs.Loader:
    return dfresearch_rs.Loader(
        samples,
        modality="video",
        batch_size=batch_size,
        size=SIZE,
        mode="competition",
        sampling=sampling,
        num_frames=NUM_FRAMES,
        augment=level or None,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=len(os.sched_getaffinity(0)),
        prefetch=OUR_PREFETCH_BATCHES,
        seed=SEED,
    )


# --- comparing and timing ---------------------------------------------------------------------------------------------


def compare_outputs(samples: list[Sample], batch_size: int) -> None:
    """The first frames are the same pixels on both sides."""
    few = samples[: 2 * batch_size]
    theirs, their_labels = collect(baseline_loader(few, batch_size, "first", augment=False, shuffle=False))
    ours, our_labels = collect(our_loader(few, batch_size, "first", level=0, shuffle=False))
    assert torch.equal(our_labels, their_labels)
    difference = (ours.int() - theirs.int()).abs().max().item()
    assert difference == 0, f"the first frames differ from decord's and OpenCV's by {difference}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side (default 5)")
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()
    rounds, batch_size = arguments.rounds, arguments.batch_size
    media, samples = prepare_corpus(arguments.media, "video", 2 * batch_size)

    print(
        f"{len(os.sched_getaffinity(0))} cores, {len(samples)} clips, batch {batch_size}, {NUM_FRAMES} frames, "
        f"level {LEVEL}, {rounds} rounds, {media}"
    )
    compare_outputs(samples, batch_size)
    for title, their_sampling, our_sampling in (
        ("first frames, baseline uniform", "uniform", "first"),
        ("first frames on both sides", "first", "first"),
        ("uniform on both sides", "uniform", "uniform"),
    ):
        measure(
            title,
            rounds,
            lambda s=their_sampling: baseline_loader(samples, batch_size, s, augment=True, shuffle=True),
            lambda s=our_sampling: our_loader(samples, batch_size, s, level=LEVEL, shuffle=True),
        )


if __name__ == "__main__":
    main()
