"""Demonstration clips: slow pans over photographs, and others that a decoder re-rendered frame by frame.

```text
 photograph ─► square cells, by twos ─► a window moves over each ─┬─ real ────────────────────────────┬─► FFmpeg
               (no pixel in two cells)   (pan, zoom, sub-pixel)   └─ synthetic ─► decoder, each frame ─┘
```

The two cells of a pair share everything that is drawn (size, frames, codec, quality, speed), and which of them is
re-rendered is drawn last: only the decoder's traces separate the classes. They stay where they are while the content
moves below them, as a generator's do. All clips of one photograph are one group, which never stands in both splits.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfresearch.demo.cells import SMALLEST_CELL_SIDE, draw_cells, measure_texture
from dfresearch.demo.dataset import DemoPlace, DemoReport, write_manifest
from dfresearch.demo.decoder import BLOCK_SIDE, TraceDecoder
from dfresearch.demo.from_photographs import build_from_photographs
from dfresearch.demo.photographs import Photograph
from dfresearch.demo.tools import map_in_parallel, run_tool, single_torch_thread

REAL_DATASET = "demo-real-pans"
SYNTHETIC_DATASET = "demo-rerendered-pans"
MEDIA_TYPES = {REAL_DATASET: "real", SYNTHETIC_DATASET: "synthetic"}


@dataclass(frozen=True)
class Codec:
    """One way to store a clip: a container, an encoder with its settings, and the range its quality is drawn from."""

    suffix: str
    encoder: tuple[str, ...]
    quality_option: str
    qualities: tuple[int, int]


# One thread each: then the bytes do not depend on the machine's cores.
CODECS = (
    Codec("mp4", ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"), "-crf", (15, 23)),
    Codec("mkv", ("-c:v", "libx264", "-preset", "superfast", "-bf", "2", "-pix_fmt", "yuv420p"), "-crf", (15, 23)),
    Codec(
        "mp4",
        (
            *("-c:v", "libx265", "-preset", "superfast", "-pix_fmt", "yuv420p", "-tag:v", "hvc1"),
            *("-x265-params", "log-level=none:pools=none:frame-threads=1"),
        ),
        "-crf",
        (15, 23),
    ),
    Codec(
        "webm",
        ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-b:v", "0", "-pix_fmt", "yuv420p"),
        "-crf",
        (16, 30),
    ),
    Codec("avi", ("-c:v", "mpeg4", "-pix_fmt", "yuv420p"), "-q:v", (2, 4)),
    Codec("mov", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"), "-q:v", (2, 4)),
)

# Raise it when what is built changes without a constant below changing.
FORMAT_VERSION = 1
CELL_SIDES = (288, 512)  # pixels of the photograph, drawn for each band
CLIP_SIDES = (224, 304)  # pixels of the clip
FRAMES = (20, 28)
FRAMES_PER_SECOND = 25
PAIRS_PER_PHOTOGRAPH = 8
# Mean difference between diagonal neighbours, in grey levels. More than of images: a lossy codec leaves nothing of a
# trace where there is hardly any detail.
MINIMUM_TEXTURE = 2.0
# Cut off each frame after rendering: a decoder's frames are darker at their edges, which would be too easy.
MARGIN = 2 * BLOCK_SIDE
WINDOW_SHARE = (0.72, 0.9)  # of the cell's side
ZOOM = 1.12  # greatest ratio of the window's sides at the two ends
SPEED = (0.3, 1.5)  # pixels of the clip per frame
FIT_FRAMES = 16
FIT_SIDE = 128


@dataclass(frozen=True)
class _Clip:
    cell: Image.Image
    group: str
    synthetic: bool
    start: tuple[float, float, float]  # centre's column and row and side, of the window in the cell
    end: tuple[float, float, float]
    side: int
    frames: int
    codec: Codec
    quality: int


def _draw_ends(
    cell_side: int, share: float, zoom: float, travel: float, random: np.random.Generator
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Draw where the window starts and ends; `travel` pixels apart, or less where the cell has no room."""
    sides = share * cell_side, share * cell_side * zoom
    # Room for the centre, such that the larger window stays inside.
    low, high = max(sides) / 2, cell_side - max(sides) / 2
    first = random.uniform(low, high, 2)
    angle = random.uniform(0, 2 * np.pi)
    second = np.clip(first + travel * np.array([np.cos(angle), np.sin(angle)]), low, high)
    return (float(first[0]), float(first[1]), sides[0]), (float(second[0]), float(second[1]), sides[1])


def _cut_clips(photograph: Photograph, seed: int) -> list[_Clip]:
    # The generator is the photograph's own: other packages on the machine do not change its clips.
    random = np.random.default_rng([seed, zlib.crc32(photograph.group.encode())])
    with Image.open(photograph.path) as opened:
        image = opened.convert("RGB")
    cells = draw_cells(image.width, image.height, CELL_SIDES, random)
    pairs = list(zip(cells[0::2], cells[1::2], strict=False))
    clips: list[_Clip] = []
    for index in random.permutation(len(pairs)):
        smallest = min(cell_side for _, _, cell_side, _ in pairs[index])
        share = random.uniform(*WINDOW_SHARE)
        zoom = ZOOM ** random.uniform(-1, 0)
        side = int(random.integers(*CLIP_SIDES, endpoint=True))
        side = min(side, int(share * zoom * smallest) - 2 * MARGIN) // BLOCK_SIDE * BLOCK_SIDE
        frames = int(random.integers(*FRAMES, endpoint=True))
        speed = random.uniform(*SPEED)
        codec = CODECS[random.integers(len(CODECS))]
        quality = int(random.integers(*codec.qualities, endpoint=True))
        backwards = random.random() < 0.5
        first_synthetic = bool(random.integers(2))
        pair = []
        for position, (left, top, cell_side, _) in enumerate(pairs[index]):
            travel = speed * frames * share * cell_side / (side + 2 * MARGIN)
            ends = _draw_ends(cell_side, share, zoom, travel, random)
            start, end = ends[::-1] if backwards else ends
            cell = image.crop((left, top, left + cell_side, top + cell_side))
            synthetic = first_synthetic ^ bool(position)
            pair.append(_Clip(cell, photograph.group, synthetic, start, end, side, frames, codec, quality))
        if all(measure_texture(next(_render_frames(clip))) >= MINIMUM_TEXTURE for clip in pair):
            clips += pair
        if len(clips) == 2 * PAIRS_PER_PHOTOGRAPH:
            break
    return clips


def _render_frames(clip: _Clip) -> Iterator[np.ndarray]:
    """Give the frames of the moving window, u8 with MARGIN more on each side, resampled at sub-pixel positions."""
    rendered_side = clip.side + 2 * MARGIN
    for number in range(clip.frames):
        progress = number / (clip.frames - 1)
        column, row, side = (
            (1 - progress) * start + progress * end for start, end in zip(clip.start, clip.end, strict=True)
        )
        # Rounding may not put an edge beyond the cell.
        box = tuple(
            min(max(edge, 0.0), float(clip.cell.width))
            for edge in (column - side / 2, row - side / 2, column + side / 2, row + side / 2)
        )
        yield np.asarray(clip.cell.resize((rendered_side, rendered_side), Image.Resampling.BICUBIC, box=box))


def _to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def _fit_decoder(clips: Sequence[_Clip], seed: int) -> TraceDecoder:
    synthetic = [clip for clip in clips if clip.synthetic]
    chosen = np.random.default_rng(seed).permutation(len(synthetic))[:FIT_FRAMES]
    frames = [_to_tensor(next(_render_frames(synthetic[index]))[:FIT_SIDE, :FIT_SIDE]) for index in chosen]
    return TraceDecoder(frames, seed)


def _encode(clip: _Clip, path: Path, decoder: TraceDecoder) -> None:
    frames = []
    for pixels in _render_frames(clip):
        if clip.synthetic:
            rendered = decoder.render(_to_tensor(pixels))
            pixels = (rendered * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        frames.append(pixels[MARGIN:-MARGIN, MARGIN:-MARGIN].tobytes())
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{clip.side}x{clip.side}"]
    command += ["-framerate", str(FRAMES_PER_SECOND), "-i", "pipe:0"]
    command += [*clip.codec.encoder, clip.codec.quality_option, str(clip.quality), "-threads", "1"]
    # Neither times nor random identifiers in the container.
    command += ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", str(path)]
    run_tool(command, b"".join(frames))


def _build(place: DemoPlace, photographs: Sequence[Photograph], seed: int, progress: Callable[[str], None]) -> Path:
    clips = [clip for found in map_in_parallel(lambda p: _cut_clips(p, seed), photographs) for clip in found]
    if not clips:
        raise ValueError(
            f"{len(photographs)} photographs gave no pair of clips: install the packages of photographs that "
            "`make setup` names"
        )
    used = len({clip.group for clip in clips})
    progress(f"encoding {len(clips)} clips from {used} photographs with detail enough; re-rendering half of them")
    building = place.start_building()
    with single_torch_thread():
        decoder = _fit_decoder(clips, seed)
        jobs = []
        for name, media_type in MEDIA_TYPES.items():
            chosen = [clip for clip in clips if clip.synthetic == (media_type == "synthetic")]
            files = [f"{number:06d}.{clip.codec.suffix}" for number, clip in enumerate(chosen, start=1)]
            write_manifest(building / name, zip(files, (clip.group for clip in chosen), strict=True))
            jobs += [(clip, building / name / file) for clip, file in zip(chosen, files, strict=True)]
        map_in_parallel(lambda job: _encode(*job, decoder), jobs)
    return building


def _settings(photographs: Sequence[Photograph], seed: int) -> dict[str, object]:
    """Everything that what is built depends on: an existing demonstration is kept when nothing of it changed."""
    constants = [CODECS, CELL_SIDES, SMALLEST_CELL_SIDE, CLIP_SIDES, FRAMES, FRAMES_PER_SECOND, PAIRS_PER_PHOTOGRAPH]
    constants += [WINDOW_SHARE, ZOOM, SPEED, MINIMUM_TEXTURE, MARGIN, FIT_FRAMES, FIT_SIDE]
    sources = [[photograph.group, photograph.path.stat().st_size] for photograph in photographs]
    return {"version": FORMAT_VERSION, "seed": seed, "constants": repr(constants), "photographs": sources}


def build_video_demo(
    root: Path,
    seed: int = 42,
    progress: Callable[[str], None] = print,
    photographs: Sequence[Photograph] | None = None,
) -> DemoReport:
    """Build the demonstration clips in the cache root `root`, unless they are there; the same for the same seed.

    Args:
        root: cache root of its own: `datasets/video/` and `gasbench_configs/` are written below it.
        seed: of cells, motion, sizes, codecs and the decoder's random stage.
        progress: called with one line of text at a time.
        photographs: what to pan over; by default what the packages on this machine ship.

    Raises:
        ValueError: there are no photographs, or none that gives a clip of each class.
        ToolError: the ffmpeg command is missing or failed.
        OSError: a photograph cannot be read or the root cannot be written.

    """
    place = DemoPlace(Path(root), "video", MEDIA_TYPES)
    return build_from_photographs(place, "clips", _settings, _build, seed, progress, photographs)
