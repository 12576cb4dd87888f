"""Make the image corpus that the benches read: crops of the photographs that packages on this machine ship.

Usage: python benches/media.py FOLDER [COUNT]

COUNT images of each kind (default 150): real and synthetic, JPEG and PNG, with sides from 256 to 1920 pixels, laid out
as a cache: FOLDER/datasets/image/{dataset}/NNNNNN.{jpg,png} and FOLDER/gasbench_configs/*.yaml. The same photographs
and the same COUNT give the same pixels.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import yaml

WALLPAPER_FOLDERS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
# Folders, inside Python packages, that hold photographs.
PACKAGE_FOLDERS = (("skimage", "data"), ("sklearn", "datasets/images"), ("matplotlib", "mpl-data/sample_data"))
PHOTOGRAPH_SUFFIXES = {".jpg", ".jpeg", ".png"}
# Drawings and icons are small files for their size; photographs are not.
SMALLEST_PHOTOGRAPH_BYTES_PER_PIXEL = 0.08
SIDES_PIXELS = (256, 1920)
# Height to width: square, 4:3, 3:4, 16:9.
ASPECT_RATIOS = (1.0, 0.75, 4 / 3, 0.5625)
JPEG_QUALITIES = (80, 96)
FORMATS = ("jpg", "png")
SEED = 34


def find_photographs() -> list[Path]:
    """Photographs of at least 256 pixels a side among the wallpapers and sample images that are installed."""
    folders = list(WALLPAPER_FOLDERS)
    for package, inside in PACKAGE_FOLDERS:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(Path(spec.origin).parent / inside)
    photographs = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in PHOTOGRAPH_SUFFIXES or not path.is_file():
                continue
            image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)
            if image is None or min(image.shape[:2]) * 2 < SIDES_PIXELS[0]:
                continue
            if path.stat().st_size >= SMALLEST_PHOTOGRAPH_BYTES_PER_PIXEL * image.shape[0] * image.shape[1] * 4:
                photographs.append(path)
    return photographs


def draw_crop(photograph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop whose width is drawn evenly over the octaves, as large as the photograph allows."""
    height, width = photograph.shape[:2]
    crop_width = float(np.exp(rng.uniform(*np.log(SIDES_PIXELS))))
    crop_height = crop_width * rng.choice(ASPECT_RATIOS)
    scale = min(1.0, width / crop_width, height / crop_height)
    crop_width, crop_height = int(crop_width * scale), int(crop_height * scale)
    left = int(rng.integers(0, width - crop_width + 1))
    top = int(rng.integers(0, height - crop_height + 1))
    return photograph[top : top + crop_height, left : left + crop_width]


def render_again(image: np.ndarray) -> np.ndarray:
    """The same picture from half its pixels: the traces of an upsampling decoder, without a decoder."""
    height, width = image.shape[:2]
    half = cv2.resize(image, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    return cv2.resize(half, (width, height), interpolation=cv2.INTER_LANCZOS4)


def make_image_corpus(folder: Path, count: int) -> None:
    """Write `count` images of each class and format, and the definitions that label them.

    Raises:
        SystemExit: no photograph is installed.
    """
    photographs = find_photographs()
    if not photographs:
        raise SystemExit("no photographs found: install a wallpaper package or scikit-image, or pass --media FOLDER")
    rng = np.random.default_rng(SEED)
    definitions = []
    for media_type in ("real", "synthetic"):
        for suffix in FORMATS:
            name = f"bench-{media_type}-{suffix}"
            (folder / "datasets" / "image" / name).mkdir(parents=True, exist_ok=True)
            definitions.append({"name": name, "path": f"local/{name}", "modality": "image", "media_type": media_type})

    # Photograph by photograph, so that each is decoded once.
    for first, path in enumerate(photographs[:count]):
        photograph = cv2.imread(str(path), cv2.IMREAD_COLOR)
        for number in range(first, count, len(photographs)):
            for definition in definitions:
                name, suffix = definition["name"], definition["name"].rpartition("-")[2]
                image = draw_crop(photograph, rng)
                if definition["media_type"] == "synthetic":
                    image = render_again(image)
                quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*JPEG_QUALITIES))] if suffix == "jpg" else []
                cv2.imwrite(str(folder / "datasets" / "image" / name / f"{number:06d}.{suffix}"), image, quality)

    configs = folder / "gasbench_configs"
    configs.mkdir(exist_ok=True)
    (configs / "image_datasets.yaml").write_text(yaml.safe_dump({"datasets": definitions}))
    print(f"{count * len(FORMATS) * 2} images from {len(photographs)} photographs in {folder}", file=sys.stderr)


def list_images(folder: Path, suffix: str) -> list[tuple[Path, int]]:
    """The corpus' images of one format with their labels (0 real, 1 synthetic), in the order of their names."""
    samples = []
    for config in sorted((folder / "gasbench_configs").glob("*.yaml")):
        for definition in yaml.safe_load(config.read_text())["datasets"]:
            if definition["modality"] == "image":
                label = int(definition["media_type"] != "real")
                files = (folder / "datasets" / "image" / definition["name"]).glob(f"*.{suffix}")
                samples += [(file, label) for file in sorted(files)]
    return samples


if __name__ == "__main__":
    make_image_corpus(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 150)
