"""Recordings: soundfile decodes, librosa resamples."""

import librosa
import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from baselines import Sample, loader_of

SAMPLE_RATE = 16000
SAMPLES = 96000

# librosa imports its compiler at the first call: here, where all workers inherit it, and not in each of them.
librosa.resample(np.zeros(441, np.float32), orig_sr=44100, target_sr=SAMPLE_RATE)


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


def baseline_loader(samples: list[Sample], batch_size: int, *, training: bool = True) -> DataLoader:
    return loader_of(AudioFiles(samples, random_window=training), batch_size, training=training)
