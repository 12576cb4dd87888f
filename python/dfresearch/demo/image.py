"""Demonstration images: real crops of photographs, and other crops of the same photographs re-rendered by a decoder.

```text
 photograph ─► square cells, real and synthetic by turns ─► scaled ─┬─ real ─────────────────┬─► PNG or JPEG
               (no pixel stands in two cells)                       └─ synthetic ─► decoder ─┘
```

Size, format and JPEG quality are drawn before the class is looked at, and both classes come from every photograph: only
the decoder's traces separate them. All crops of one photograph are one group, which never stands in both splits.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfresearch.demo.cells import MINIMUM_TEXTURE, SMALLEST_CELL_SIDE, draw_cells, measure_texture
from dfresearch.demo.dataset import DemoPlace, DemoReport, write_manifest
from dfresearch.demo.decoder import BLOCK_SIDE, TraceDecoder
from dfresearch.demo.from_photographs import build_from_photographs
from dfresearch.demo.photographs import Photograph

REAL_DATASET = "demo-real-photographs"
SYNTHETIC_DATASET = "demo-rerendered-photographs"
MEDIA_TYPES = {REAL_DATASET: "real", SYNTHETIC_DATASET: "synthetic"}

# Raise it when what is built changes without a constant below changing.
FORMAT_VERSION = 1
CELL_SIDES = (224, 448)  # pixels of the photograph, drawn for each band
CROP_SIDES = (224, 320)  # pixels of the sample
MAXIMUM_CELLS_PER_PHOTOGRAPH = 64
PNG_SHARE = 0.5
JPEG_QUALITIES = (75, 95)
FIT_CROPS = 64
FIT_SIDE = 128


@dataclass(frozen=True)
class _Crop:
    pixels: np.ndarray  # u8 [side, side, 3]
    group: str
    synthetic: bool
    jpeg_quality: int | None  # None: PNG


def _cut_crops(photograph: Photograph, seed: int) -> list[_Crop]:
    # The generator is the photograph's own: other packages on the machine do not change its crops.
    random = np.random.default_rng([seed, zlib.crc32(photograph.group.encode())])
    with Image.open(photograph.path) as opened:
        image = opened.convert("RGB")
    crops = []
    for left, top, cell_side, synthetic in draw_cells(image.width, image.height, CELL_SIDES, random):
        side = min(int(random.integers(*CROP_SIDES, endpoint=True)), cell_side) // BLOCK_SIDE * BLOCK_SIDE
        quality = None if random.random() < PNG_SHARE else int(random.integers(*JPEG_QUALITIES, endpoint=True))
        box = (left, top, left + cell_side, top + cell_side)
        pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
        if measure_texture(pixels) >= MINIMUM_TEXTURE:
            crops.append(_Crop(pixels, photograph.group, synthetic, quality))
    chosen = random.permutation(len(crops))[:MAXIMUM_CELLS_PER_PHOTOGRAPH]
    return [crops[index] for index in sorted(chosen)]


def _to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def _fit_decoder(crops: Sequence[_Crop], seed: int) -> TraceDecoder:
    synthetic = [crop for crop in crops if crop.synthetic]
    chosen = np.random.default_rng(seed).permutation(len(synthetic))[:FIT_CROPS]
    return TraceDecoder([_to_tensor(synthetic[index].pixels[:FIT_SIDE, :FIT_SIDE]) for index in chosen], seed)


def _write_dataset(folder: Path, crops: Sequence[_Crop], decoder: TraceDecoder) -> None:
    entries = []
    for number, crop in enumerate(crops, start=1):
        pixels = crop.pixels
        if crop.synthetic:
            rendered = decoder.render(_to_tensor(pixels))
            pixels = (rendered * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        name = f"{number:06d}.png" if crop.jpeg_quality is None else f"{number:06d}.jpg"
        image = Image.fromarray(pixels)
        if crop.jpeg_quality is None:
            image.save(folder / name)
        else:
            image.save(folder / name, quality=crop.jpeg_quality)
        entries.append((name, crop.group))
    write_manifest(folder, entries)


def _settings(photographs: Sequence[Photograph], seed: int) -> dict[str, object]:
    """Everything that what is built depends on: an existing demonstration is kept when nothing of it changed."""
    constants = [CELL_SIDES, CROP_SIDES, SMALLEST_CELL_SIDE, MAXIMUM_CELLS_PER_PHOTOGRAPH, MINIMUM_TEXTURE]
    constants += [PNG_SHARE, JPEG_QUALITIES, FIT_CROPS, FIT_SIDE]
    sources = [[photograph.group, photograph.path.stat().st_size] for photograph in photographs]
    return {"version": FORMAT_VERSION, "seed": seed, "constants": repr(constants), "photographs": sources}


def _build(place: DemoPlace, photographs: Sequence[Photograph], seed: int, progress: Callable[[str], None]) -> Path:
    crops: list[_Crop] = []
    for photograph in photographs:
        crops += _cut_crops(photograph, seed)
    if {crop.synthetic for crop in crops} != {False, True}:
        raise ValueError(
            f"{len(photographs)} photographs gave {len(crops)} crops of one class at most: install the packages of "
            "photographs that `make setup` names"
        )
    progress(f"cut {len(crops)} crops from {len(photographs)} photographs; re-rendering half of them")
    decoder = _fit_decoder(crops, seed)
    building = place.start_building()
    for name, media_type in MEDIA_TYPES.items():
        _write_dataset(
            building / name, [crop for crop in crops if crop.synthetic == (media_type == "synthetic")], decoder
        )
    return building


def build_image_demo(
    root: Path,
    seed: int = 42,
    progress: Callable[[str], None] = print,
    photographs: Sequence[Photograph] | None = None,
) -> DemoReport:
    """Build the demonstration images in the cache root `root`, unless they are there; the same for the same seed.

    Args:
        root: cache root of its own: `datasets/image/` and `gasbench_configs/` are written below it.
        seed: of cells, sizes, formats and the decoder's random stage.
        progress: called with one line of text at a time.
        photographs: what to crop; by default what the packages on this machine ship.

    Raises:
        ValueError: there are not photographs enough for a crop of each class.
        OSError: a photograph cannot be read or the root cannot be written.

    """
    place = DemoPlace(Path(root), "image", MEDIA_TYPES)
    return build_from_photographs(place, "samples", _settings, _build, seed, progress, photographs)
