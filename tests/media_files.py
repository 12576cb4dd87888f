"""Small images made by Pillow, clips and recordings made by the `ffmpeg` command, for tests."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def ffmpeg(*arguments: object) -> None:
    """Run the command; what it says is shown when it fails."""
    command = ["ffmpeg", "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stderr}"


def write_clip(
    path: Path,
    frames: int = 20,
    size: tuple[int, int] = (48, 64),
    rate: int = 25,
    hue: float = 0.0,
    options: Sequence[object] = (),
) -> Path:
    """Write a clip of `size` (height, width) in which every frame differs; the container is the extension's."""
    height, width = size
    source = f"testsrc2=size={width}x{height}:rate={rate},hue=h={hue}"
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", frames, "-pix_fmt", "yuv420p", *options, path)
    return path


def write_recording(path: Path, seconds: float = 1.0, rate: int = 16000, frequency: float = 440.0, *options) -> Path:
    """Write a mono recording of a tone that rises; the format is the extension's."""
    source = f"aevalsrc=0.4*sin(2*PI*({frequency}+100*t)*t):s={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def write_image(path: Path, seed: int) -> Path:
    """Write a smooth picture of noise, 60 rows of 70, and make the folder that it lies in."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((70, 60), Image.Resampling.BICUBIC).save(path)
    return path
