"""Augmentation of training images: the operations, and the table that says which level uses which.

Edit ``AUGMENTATION_LEVELS`` freely: change a range, take an operation away, add a level. A sample of a level gets one
or two of the level's operations, every choice and every order equally likely, each with a parameter drawn uniformly
from its range; then every other sample is mirrored. Level 0 changes nothing. The loader executes the table natively.

For an experiment, a Python callable may stand in the table as well::

    def posterise(img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return img & np.uint8(256 - 2 ** rng.integers(1, 5))


    AUGMENTATION_LEVELS[2].append(posterise)

It gets a uint8 array ``[H, W, 3]`` and returns one of the same shape. It is slower than the other operations, since the
loader's threads take turns at the interpreter. If it accepts an argument ``rng``, it gets a generator seeded with the
sample's place in the run, and the batches stay repeatable.

Every function here takes and returns uint8 arrays ``[H, W, 3]`` and leaves its argument alone. Chance comes from
``np.random``'s global state unless a generator is given: ``np.random.seed`` makes it repeatable.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import dfresearch_rs
from dfresearch.table_operation import TableOperation, uniform

__all__ = [
    "AUGMENTATION_LEVELS",
    "ColorContrast",
    "ColorShift",
    "GaussianBlur",
    "GaussianNoise",
    "JpegCompress",
    "apply_random_augmentations",
    "color_contrast",
    "color_shift",
    "gaussian_blur",
    "gaussian_noise",
    "jpeg_compress",
    "random_horizontal_flip",
    "resize_image",
]

Image = NDArray[np.uint8]

# The seeds that a float64 in [0, 1) can tell apart.
_SEEDS = 2**53


def jpeg_compress(img: Image, quality: int) -> Image:
    """Encode as JPEG of `quality` (1 to 100) with 4:2:0 chroma, and decode again."""
    return dfresearch_rs.jpeg_compress(img, quality)


def gaussian_blur(img: Image, sigma: float) -> Image:
    """Blur with a kernel of ``int(6 * sigma + 1) | 1`` pixels; equal to ``cv2.GaussianBlur`` on every pixel."""
    return dfresearch_rs.gaussian_blur(img, sigma)


def gaussian_noise(img: Image, sigma: float, rng: np.random.Generator | None = None) -> Image:
    """Add a normal of standard deviation `sigma`, in grey levels, to every value."""
    return dfresearch_rs.gaussian_noise(img, sigma, seed=int(uniform(rng, 0, _SEEDS)))


def color_shift(img: Image, magnitude: float, rng: np.random.Generator | None = None) -> Image:
    """Add to each channel an offset drawn uniformly between ``-magnitude`` and ``magnitude``."""
    red, green, blue = (uniform(rng, -magnitude, magnitude) for _ in range(3))
    return dfresearch_rs.color_shift(img, (red, green, blue))


def color_contrast(img: Image, factor: float) -> Image:
    """Move every value away from its channel's mean by `factor`; 1 changes nothing."""
    return dfresearch_rs.color_contrast(img, factor)


def random_horizontal_flip(img: Image, p: float = 0.5) -> Image:
    """Mirror left to right with probability `p`."""
    return dfresearch_rs.horizontal_flip(img) if uniform(None, 0, 1) < p else img


def resize_image(img: Image, target_size: tuple[int, int]) -> Image:
    """Resize to `target_size`, ``(height, width)``, regardless of the aspect ratio (bilinear, antialiased)."""
    return dfresearch_rs.preprocess_image(img, target_size, mode="stretch")


def apply_random_augmentations(img: Image, level: int = 1, max_augs: int = 2) -> Image:
    """Apply one to `max_augs` operations of ``AUGMENTATION_LEVELS[level]``, without the flip."""
    seed = int(uniform(None, 0, _SEEDS))
    return dfresearch_rs.augment_image(img, level, seed, AUGMENTATION_LEVELS, max_operations=max_augs, flip=False)


@dataclasses.dataclass(frozen=True)
class _Operation(TableOperation):
    check = staticmethod(dfresearch_rs.check_operation)


@dataclasses.dataclass(frozen=True)
class JpegCompress(_Operation):
    """JPEG round trip of a whole-numbered quality from this range, its end included."""

    operation = "jpeg_compress"
    quality: tuple[int, int]

    def __call__(self, img: Image, rng: np.random.Generator | None = None) -> Image:
        """Compress by a quality drawn from the range."""
        low, high = self.quality
        return jpeg_compress(img, min(high, int(uniform(rng, low, high + 1))))


@dataclasses.dataclass(frozen=True)
class GaussianBlur(_Operation):
    """Gaussian blur of a sigma, in pixels, from this range."""

    operation = "gaussian_blur"
    sigma: tuple[float, float]

    def __call__(self, img: Image, rng: np.random.Generator | None = None) -> Image:
        """Blur by a sigma drawn from the range."""
        return gaussian_blur(img, uniform(rng, *self.sigma))


@dataclasses.dataclass(frozen=True)
class GaussianNoise(_Operation):
    """Gaussian noise of a sigma, in grey levels, from this range."""

    operation = "gaussian_noise"
    sigma: tuple[float, float]

    def __call__(self, img: Image, rng: np.random.Generator | None = None) -> Image:
        """Add noise of a sigma drawn from the range."""
        return gaussian_noise(img, uniform(rng, *self.sigma), rng)


@dataclasses.dataclass(frozen=True)
class ColorShift(_Operation):
    """One offset a channel, each up to a magnitude from this range."""

    operation = "color_shift"
    magnitude: tuple[float, float]

    def __call__(self, img: Image, rng: np.random.Generator | None = None) -> Image:
        """Shift by up to a magnitude drawn from the range."""
        return color_shift(img, uniform(rng, *self.magnitude), rng)


@dataclasses.dataclass(frozen=True)
class ColorContrast(_Operation):
    """Contrast about the channel's mean by a factor from this range."""

    operation = "color_contrast"
    factor: tuple[float, float]

    def __call__(self, img: Image, rng: np.random.Generator | None = None) -> Image:
        """Change the contrast by a factor drawn from the range."""
        return color_contrast(img, uniform(rng, *self.factor))


AUGMENTATION_LEVELS: dict[int, list[Callable[..., Image]]] = {
    0: [],
    1: [JpegCompress(quality=(70, 95)), GaussianBlur(sigma=(0.3, 0.8))],
    2: [
        JpegCompress(quality=(40, 75)),
        GaussianBlur(sigma=(0.5, 1.5)),
        GaussianNoise(sigma=(3, 10)),
        ColorShift(magnitude=(5, 15)),
    ],
    3: [
        JpegCompress(quality=(15, 45)),
        GaussianBlur(sigma=(1.0, 3.0)),
        GaussianNoise(sigma=(8, 25)),
        ColorShift(magnitude=(10, 30)),
        ColorContrast(factor=(0.5, 1.5)),
    ],
}
