"""The extension module behind ``dfresearch_rs``."""

import os

import numpy as np
import numpy.typing as npt

__version__: str

def decode_image(source: str | os.PathLike[str] | bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file, or the bytes of one, to RGB: ``uint8 [height, width, 3]``.

    JPEG, PNG, WebP, BMP, GIF (first frame) and TIFF (first page), told by content and not by name. The pixels
    are those of Pillow 12.1.1's ``Image.open(source).convert("RGB")``: alpha is dropped, not composited, EXIF
    rotation and colour profiles are not applied.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError: the file cannot be read.
        DecodeError: empty, truncated, corrupt, of an unknown format or of a kind that is not read, or with a
            header that announces more than 65,535 pixels a side or 178,956,970 in all. The message names the
            file and the reason.
    """

def recompress_image(source: str | os.PathLike[str] | bytes) -> bytes:
    """The bytes that the competition stores for an image: JPEG and WebP saved again, any other format as it is.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError: the file cannot be read.
        DecodeError: as ``decode_image``.
    """
