"""Recordings to batches: soundfile and librosa in a PyTorch DataLoader against dfresearch_rs.Loader, on the same files.

Usage: python benches/bench_audio.py [--media FOLDER] [--rounds N] [--batch-size N]

Every round times one first epoch of the baseline and one of ours, in turn; the medians' ratio is printed. What both
deliver is compared before anything is timed. Without --media a corpus is made in .bench/ once and used again; files
that soundfile does not read (m4a and the like) are left out for both sides.
"""

import argparse
import os
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from bench_loader import BASELINE_WORKERS, OUR_PREFETCH_BATCHES, SEED, Sample, collect, measure, start_worker
from clips import prepare_corpus
from torch.utils.data import DataLoader, Dataset

import dfresearch_rs

SAMPLE_RATE = 16000
SAMPLES = 96000
READABLE_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
# soxr's filter is not libswresample's, which the competition uses: close to its edge they differ, elsewhere hardly.
LEAST_CORRELATION = 0.99


class AudioFiles(Dataset):
    def __init__(self, samples: list[Sample], *, random_window: bool) -> None:
        self.samples = samples
        self.random_window = random_window

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = samples.mean(axis=1)
        if sample_rate != SAMPLE_RATE:
            samples = librosa.resample(samples, orig_sr=sample_rate, target_sr=SAMPLE_RATE)
        spare = len(samples) - SAMPLES
        if spare > 0:
            start = np.random.randint(spare + 1) if self.random_window else spare // 2
            samples = samples[start : start + SAMPLES]
        return torch.from_numpy(np.pad(samples, (0, SAMPLES - len(samples)))), label


def baseline_loader(samples: list[Sample], batch_size: int, *, training: bool) -> DataLoader:
    return DataLoader(
        AudioFiles(samples, random_window=training),
        batch_size=batch_size,
        shuffle=training,
        drop_last=training,
        num_workers=BASELINE_WORKERS,
        worker_init_fn=start_worker,
    )


def our_loader(samples: list[Sample], batch_size: int, *, training: bool) -> dfresearch_rs.Loader:
    return dfresearch_rs.Loader(
        samples,
        modality="audio",
        batch_size=batch_size,
        sample_rate=SAMPLE_RATE,
        duration_seconds=SAMPLES / SAMPLE_RATE,
        crop="random" if training else "center",
        shuffle=training,
        drop_last=training,
        num_workers=len(os.sched_getaffinity(0)),
        prefetch=OUR_PREFETCH_BATCHES,
        seed=SEED,
    )


def compare_outputs(samples: list[Sample], batch_size: int) -> None:
    """The same seconds of the same recordings: correlated all but perfectly, and silent at the same place."""
    few = samples[: 2 * batch_size]
    theirs, their_labels = collect(baseline_loader(few, batch_size, training=False))
    ours, our_labels = collect(our_loader(few, batch_size, training=False))
    assert torch.equal(our_labels, their_labels)
    assert ours.shape == theirs.shape == (len(few), SAMPLES)
    for (path, _), our, their in zip(few, ours.double(), theirs.double(), strict=True):
        correlation = float(our @ their / (our.norm() * their.norm()))
        assert correlation > LEAST_CORRELATION, f"{path}: correlation {correlation:.4f} with the baseline"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side (default 5)")
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    rounds, batch_size = arguments.rounds, arguments.batch_size
    media, samples = prepare_corpus(arguments.media, "audio", 2 * batch_size)
    samples = [(path, label) for path, label in samples if path.suffix in READABLE_SUFFIXES]

    print(
        f"{len(os.sched_getaffinity(0))} cores, {len(samples)} recordings, batch {batch_size}, no augmentation, "
        f"{rounds} rounds, {media}"
    )
    # librosa imports its compiler at the first call: here, where all workers inherit it, and not in each of them.
    librosa.resample(np.zeros(441, np.float32), orig_sr=44100, target_sr=SAMPLE_RATE)
    compare_outputs(samples, batch_size)
    for suffix in (None, ".wav"):
        chosen = [sample for sample in samples if suffix is None or sample[0].suffix == suffix]
        if len(chosen) >= 2 * batch_size:
            measure(
                "all formats" if suffix is None else "wav alone",
                rounds,
                lambda s=chosen: baseline_loader(s, batch_size, training=True),
                lambda s=chosen: our_loader(s, batch_size, training=True),
            )


if __name__ == "__main__":
    main()
