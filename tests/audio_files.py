"""Sound files for the tests, made by the ffmpeg command, and that command's own decode of them."""

import io
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FLOAT_WAV, PCM_WAV = 3, 1


def sound(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Tones and noise, ``[n, channels]``, every channel with tones of its own; a little over full scale at times."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate))[:, None] / rate
    tones = rng.uniform(80, min(7000, rate * 0.45), (4, channels))
    phases = rng.uniform(0, 6.3, (4, channels))
    waves = sum(np.sin(2 * np.pi * tone * time + phase) for tone, phase in zip(tones, phases, strict=True))
    return (0.27 * waves + 0.02 * rng.standard_normal((len(time), channels))).astype(np.float32)


def run_ffmpeg(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    if stdin:
        command.remove("-nostdin")
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120)


def encode(path: Path, samples: NDArray[np.float32], rate: int, *options: object) -> Path:
    """Write samples ``[n, channels]`` as whatever the path's extension and the options say."""
    source = ("-f", "f32le", "-ar", rate, "-ac", samples.shape[1], "-i", "pipe:0")
    finished = run_ffmpeg(*source, *options, path, stdin=samples.tobytes())
    if finished.returncode:
        raise RuntimeError(finished.stderr.decode())
    return path


def command_decode(path: Path, rate: int = 16000) -> tuple[int, NDArray[np.float32]]:
    """The ffmpeg command's exit status and samples.

    In one thread: with more, its FLAC decoder loses frames where a stream changes its format.
    """
    finished = run_ffmpeg(
        "-threads", 1, "-i", path, "-map_metadata", -1, "-vn", "-ac", 1, "-ar", rate, "-f", "f32le", "pipe:1"
    )
    return finished.returncode, np.frombuffer(finished.stdout, np.float32)


def wave_file(samples: NDArray[np.generic], rate: int) -> bytes:
    """A WAV file of samples ``[n]`` or ``[n, channels]``, int16, int32, float32 or float64, written by hand."""
    samples = samples if samples.ndim == 2 else samples[:, None]
    channels, width = samples.shape[1], samples.dtype.itemsize
    kind = FLOAT_WAV if samples.dtype.kind == "f" else PCM_WAV
    data = samples.tobytes()
    header = io.BytesIO()
    header.write(b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little"))
    for value, size in (
        (kind, 2),
        (channels, 2),
        (rate, 4),
        (rate * channels * width, 4),
        (channels * width, 2),
        (width * 8, 2),
    ):
        header.write(value.to_bytes(size, "little"))
    header.write(b"data" + len(data).to_bytes(4, "little") + data)
    return header.getvalue()
