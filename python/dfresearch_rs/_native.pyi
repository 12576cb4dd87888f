"""The extension module behind ``dfresearch_rs``."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__version__: str

def augment_image(
    image: NDArray[np.uint8],
    level: int = 2,
    seed: int = 0,
    table: Mapping[int, Sequence[object]] | None = None,
    epoch: int = 0,
    sample: int = 0,
    *,
    max_operations: int = 2,
    flip: bool = True,
) -> NDArray[np.uint8]:
    """Augment an image ``[H, W, 3]`` as the loader does for the sample number `sample` of `epoch`.

    Between one and `max_operations` distinct operations of ``table[level]``, in random order, and then a flip left to
    right for every other sample. The result is a function of the arguments alone. Level 0 changes nothing.

    Args:
        image: uint8 ``[H, W, 3]``; it is not changed.
        level: a key of the table.
        seed: the run's seed.
        table: levels and their operations, as ``dfresearch.transforms.AUGMENTATION_LEVELS``, which None stands for.
        epoch: counted from zero.
        sample: the sample's place in the dataset.
        max_operations: how many operations are applied at most.
        flip: False leaves the flip out.

    Raises:
        ArgumentError: for an image of another shape or type, or a level that the table does not have.
        AugmentError: for an unknown operation, a bad range, or an operation that failed; it names the operation.

    """

def jpeg_compress(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encode `image` as JPEG of `quality` (1 to 100) with 4:2:0 chroma, and decode it again."""

def gaussian_blur(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Blur `image` with a Gaussian of `sigma` pixels (0.01 to 100).

    The kernel has ``int(6 * sigma + 1) | 1`` pixels a side; the result is ``cv2.GaussianBlur``'s on every pixel.
    """

def gaussian_noise(image: NDArray[np.uint8], sigma: float, seed: int = 0) -> NDArray[np.uint8]:
    """Add a normal of standard deviation `sigma` (grey levels) to every value; clip at 0 and 255 and truncate."""

def color_shift(image: NDArray[np.uint8], shifts: Sequence[float]) -> NDArray[np.uint8]:
    """Add `shifts`, one number a channel, in float32; clip at 0 and 255 and truncate."""

def color_contrast(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Move every value away from its channel's mean by `factor` (0 to 100); clip at 0 and 255 and truncate."""

def horizontal_flip(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror `image` left to right."""

def check_operation(operation: str, low: float, high: float) -> None:
    """Check that an augmentation operation exists and takes parameters between `low` and `high`.

    Raises:
        AugmentError: otherwise.

    """
