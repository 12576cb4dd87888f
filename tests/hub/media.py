"""Media as bytes, each unlike any other, cheaply: an encoder runs once a format, and players skip what differs."""

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
from audio_files import sound, wave_file
from media_files import write_clip, write_recording
from PIL import Image

IMAGE_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF"}

SAMPLE_RATE = 16000


def image(number: int, extension: str = "png", side: int = 24) -> bytes:
    """Noise; a PNG of it takes a little more than `3 * side ** 2` bytes."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, IMAGE_FORMATS[extension])
    return buffer.getvalue()


@functools.cache
def _made_once(extension: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"made.{extension}"
        if extension in ("mp3", "m4a"):
            write_recording(path, seconds=0.3)
        else:
            write_clip(path, frames=6)
        return path.read_bytes()


def clip(number: int, extension: str = "mp4") -> bytes:
    """A short clip with its number in a part of the file that players skip."""
    text = b"clip %08d" % number
    match extension:
        case "mp4" | "mov":
            end = _box(text)
        case "avi":
            end = b"JUNK" + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2)
        case "webm" | "mkv":
            end = b"\xec" + bytes([0x80 | len(text)]) + text
        case _:
            raise ValueError(f"no clip of the extension {extension}")
    return _made_once(extension) + end


def recording(number: int, extension: str = "wav") -> bytes:
    """A short recording: noise of its own, or a compressed one with its number in a tag."""
    match extension:
        case "wav":
            samples = waveform(number)
            return wave_file(np.round(samples.clip(-1, 1) * 32767).astype(np.int16), SAMPLE_RATE)
        case "mp3":
            return _made_once(extension) + (b"TAG" + b"%08d" % number).ljust(128, b"\0")
        case "m4a":
            return _made_once(extension) + _box(b"recording %08d" % number)
        case _:
            raise ValueError(f"no recording of the extension {extension}")


def waveform(number: int, seconds: float = 0.25) -> np.ndarray:
    """Samples float32 [n] within -1..1."""
    return (sound(seconds, SAMPLE_RATE, seed=number)[:, 0] * 0.5).clip(-1, 1)


def _box(content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + b"free" + content


def medium(modality: str, number: int, extension: str | None = None) -> bytes:
    """A medium of a modality, in the extension or the modality's usual one."""
    make, usual = {"image": (image, "png"), "video": (clip, "mp4"), "audio": (recording, "wav")}[modality]
    return make(number, extension or usual)
