"""Augmentation of training waveforms: the operations, and the table that says which level uses which.

Edit ``AUDIO_AUGMENTATION_LEVELS`` freely: change a range, take an operation away, add a level. A sample of a level gets
one or two of the level's operations, every choice and every order equally likely, each with a parameter drawn
uniformly from its range. Level 0 changes nothing. The loader executes the table natively.

For an experiment, a Python callable may stand in the table as well::

    def dropout(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        start = rng.integers(len(waveform))
        waveform[start : start + 1600] = 0
        return waveform


    AUDIO_AUGMENTATION_LEVELS[2].append(dropout)

It gets a float32 array ``[n]`` of its own and returns one of the same length. It is slower than the other operations,
since the loader's threads take turns at the interpreter. If it accepts an argument ``rng``, it gets a generator seeded
with the sample's place in the run, and the batches stay repeatable.

Every function here takes and returns float32 arrays ``[n]`` at 16 kHz, full scale ±1, and leaves its argument alone.
Nothing is clipped. Chance comes from ``np.random``'s global state unless a generator is given: ``np.random.seed``
makes it repeatable.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import dfresearch_rs
from dfresearch.table_operation import TableOperation, uniform

__all__ = [
    "AUDIO_AUGMENTATION_LEVELS",
    "AdditiveNoise",
    "Gain",
    "LowPass",
    "Mp3Compress",
    "OpusCompress",
    "Reverberation",
    "additive_noise",
    "apply_random_augmentations",
    "gain",
    "low_pass",
    "mp3_compress",
    "opus_compress",
    "reverberation",
]

Waveform = NDArray[np.float32]

# The seeds that a float64 in [0, 1) can tell apart.
_SEEDS = 2**53


def gain(waveform: Waveform, decibels: float) -> Waveform:
    """Multiply by ``10 ** (decibels / 20)``."""
    return dfresearch_rs.gain(waveform, decibels)


def additive_noise(waveform: Waveform, snr_decibels: float, rng: np.random.Generator | None = None) -> Waveform:
    """Add white Gaussian noise `snr_decibels` below the waveform's own power; silence stays silent."""
    return dfresearch_rs.additive_noise(waveform, snr_decibels, seed=_seed(rng))


def low_pass(waveform: Waveform, cutoff_hertz: float) -> Waveform:
    """Take away what lies above `cutoff_hertz`, without a delay."""
    return dfresearch_rs.low_pass(waveform, cutoff_hertz)


def reverberation(waveform: Waveform, rt60_seconds: float, rng: np.random.Generator | None = None) -> Waveform:
    """Put the waveform into a synthetic room whose sound falls by 60 dB in `rt60_seconds`."""
    return dfresearch_rs.reverberation(waveform, rt60_seconds, seed=_seed(rng))


def mp3_compress(waveform: Waveform, kilobits_per_second: int) -> Waveform:
    """Encode as MP3 (8 to 160 kbit/s), and decode again, in time with the original."""
    return dfresearch_rs.mp3_compress(waveform, kilobits_per_second)


def opus_compress(waveform: Waveform, kilobits_per_second: int) -> Waveform:
    """Encode as Opus (6 to 256 kbit/s), and decode again, in time with the original."""
    return dfresearch_rs.opus_compress(waveform, kilobits_per_second)


def apply_random_augmentations(waveform: Waveform, level: int = 1, max_augs: int = 2) -> Waveform:
    """Apply one to `max_augs` operations of ``AUDIO_AUGMENTATION_LEVELS[level]``."""
    table = AUDIO_AUGMENTATION_LEVELS
    return dfresearch_rs.augment_audio(waveform, level, _seed(None), table, max_operations=max_augs)


def _seed(rng: np.random.Generator | None) -> int:
    return int(uniform(rng, 0, _SEEDS))


@dataclasses.dataclass(frozen=True)
class _Operation(TableOperation):
    check = staticmethod(dfresearch_rs.check_audio_operation)


@dataclasses.dataclass(frozen=True)
class Gain(_Operation):
    """Louder or quieter by decibels from this range."""

    operation = "gain"
    decibels: tuple[float, float]

    def __call__(self, waveform: Waveform, rng: np.random.Generator | None = None) -> Waveform:
        """Amplify by decibels drawn from the range."""
        return gain(waveform, uniform(rng, *self.decibels))


@dataclasses.dataclass(frozen=True)
class AdditiveNoise(_Operation):
    """White noise at a signal-to-noise ratio, in decibels, from this range."""

    operation = "additive_noise"
    snr_decibels: tuple[float, float]

    def __call__(self, waveform: Waveform, rng: np.random.Generator | None = None) -> Waveform:
        """Add noise at a ratio drawn from the range."""
        return additive_noise(waveform, uniform(rng, *self.snr_decibels), rng)


@dataclasses.dataclass(frozen=True)
class LowPass(_Operation):
    """A low-pass filter with a cut-off, in hertz, from this range."""

    operation = "low_pass"
    cutoff_hertz: tuple[float, float]

    def __call__(self, waveform: Waveform, rng: np.random.Generator | None = None) -> Waveform:
        """Filter with a cut-off drawn from the range."""
        return low_pass(waveform, uniform(rng, *self.cutoff_hertz))


@dataclasses.dataclass(frozen=True)
class Reverberation(_Operation):
    """A synthetic room whose sound falls by 60 dB in a time, in seconds, from this range."""

    operation = "reverberation"
    rt60_seconds: tuple[float, float]

    def __call__(self, waveform: Waveform, rng: np.random.Generator | None = None) -> Waveform:
        """Let it ring for a time drawn from the range."""
        return reverberation(waveform, uniform(rng, *self.rt60_seconds), rng)


@dataclasses.dataclass(frozen=True)
class Mp3Compress(_Operation):
    """MP3 round trip at a whole number of kbit/s from this range, its end included."""

    operation = "mp3_compress"
    kilobits_per_second: tuple[int, int]

    def __call__(self, waveform: Waveform, rng: np.random.Generator | None = None) -> Waveform:
        """Compress at a bit rate drawn from the range."""
        return mp3_compress(waveform, _whole(rng, *self.kilobits_per_second))


@dataclasses.dataclass(frozen=True)
class OpusCompress(_Operation):
    """Opus round trip at a whole number of kbit/s from this range, its end included."""

    operation = "opus_compress"
    kilobits_per_second: tuple[int, int]

    def __call__(self, waveform: Waveform, rng: np.random.Generator | None = None) -> Waveform:
        """Compress at a bit rate drawn from the range."""
        return opus_compress(waveform, _whole(rng, *self.kilobits_per_second))


def _whole(rng: np.random.Generator | None, low: int, high: int) -> int:
    return min(high, int(uniform(rng, low, high + 1)))


AUDIO_AUGMENTATION_LEVELS: dict[int, list[Callable[..., Waveform]]] = {
    0: [],
    1: [Gain(decibels=(-6, 6)), AdditiveNoise(snr_decibels=(20, 40)), Mp3Compress(kilobits_per_second=(48, 128))],
    2: [
        Gain(decibels=(-12, 9)),
        AdditiveNoise(snr_decibels=(10, 30)),
        LowPass(cutoff_hertz=(3400, 7000)),
        Mp3Compress(kilobits_per_second=(24, 64)),
        OpusCompress(kilobits_per_second=(16, 48)),
    ],
    3: [
        Gain(decibels=(-20, 12)),
        AdditiveNoise(snr_decibels=(0, 20)),
        LowPass(cutoff_hertz=(2000, 5000)),
        Reverberation(rt60_seconds=(0.1, 0.8)),
        Mp3Compress(kilobits_per_second=(8, 32)),
        OpusCompress(kilobits_per_second=(6, 24)),
    ],
}
