"""Image files written byte by byte, of kinds that no encoder at hand writes, and what Pillow makes of them."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from dfresearch_rs import DecodeError, decode_image


def pillow_rgb(data: bytes) -> np.ndarray | None:
    """What Pillow makes of an image file, or None if it refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None


def assert_same(data: bytes) -> None:
    """Asserts that Pillow reads the file, and that our pixels are Pillow's."""
    expected = pillow_rgb(data)
    assert expected is not None, "the test's file is not one that Pillow reads"
    np.testing.assert_array_equal(decode_image(data), expected, strict=True)


def assert_same_or_both_refuse(data: bytes) -> None:
    expected = pillow_rgb(data)
    if expected is None:
        with pytest.raises(DecodeError):
            decode_image(data)
    else:
        np.testing.assert_array_equal(decode_image(data), expected, strict=True)


def noise(seed: int, *shape: int) -> np.ndarray:
    """Bytes with runs and gradients in them, so that compressors and filters have something to do."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 256, shape, dtype=np.uint8)
    if seed % 3 == 0:
        values = np.cumsum(values % 5, axis=1, dtype=np.uint8)
    elif seed % 3 == 1 and values.size:
        values[:, : shape[1] // 2] = values[0, 0]
    return values


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png_chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    if checksum is None:
        checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_header(width: int, height: int, colour_type: int, bits: int, interlaced: bool = False) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced))


PNG_END = png_chunk(b"IEND", b"")


def png_rows(seed: int, width: int, height: int, colour_type: int, bits: int, interlaced: bool) -> bytes:
    """Filtered rows; the filters are drawn, and what they stand for is whatever it turns out to be."""
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    generator = np.random.default_rng(seed)
    rows = []
    for left, top, across, down in passes:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        row_bytes = (max(columns, 0) * PNG_SAMPLES[colour_type] * bits + 7) // 8
        if row_bytes:
            for line in noise(seed, max(lines, 0), row_bytes):
                rows.append(bytes([generator.integers(0, 5)]) + line.tobytes())
    return b"".join(rows)


def png_file(
    seed: int, width: int, height: int, colour_type: int, bits: int, interlaced: bool, extra: bytes = b""
) -> bytes:
    stream = zlib.compress(png_rows(seed, width, height, colour_type, bits, interlaced), seed % 10)
    parts = [stream[start : start + 100] for start in range(0, len(stream), 100)] if seed % 2 else [stream]
    data = b"".join(png_chunk(b"IDAT", part) for part in parts)
    return PNG_SIGNATURE + png_header(width, height, colour_type, bits, interlaced) + extra + data + PNG_END


def bmp_file(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    *,
    compression: int = 0,
    palette: bytes = b"",
    colours: int = 0,
    masks: tuple[int, ...] = (),
    header_bytes: int = 40,
    top_down: bool = False,
    offset: int | None = None,
) -> bytes:
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        rows = -height if top_down else height
        header = struct.pack("<IiiHHIIiiII", header_bytes, width, rows, 1, bits, compression, 0, 0, 0, colours, 0)
        within = b"".join(struct.pack("<I", mask) for mask in masks)
        header += within if header_bytes == 40 else within.ljust(header_bytes - 40, b"\0")
    if offset is None:
        offset = 14 + len(header) + len(palette)
    size = 14 + len(header) + len(palette) + len(pixels)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + header + palette + pixels


def bmp_pixels(seed: int, width: int, height: int, bits: int) -> bytes:
    return noise(seed, height, (width * bits + 31) // 32 * 4).tobytes()


def gif_file(mode: str, width: int, height: int, seed: int, **options) -> bytes:
    levels = noise(seed, height, width)
    image = Image.fromarray(levels)
    if mode == "P":
        image = Image.fromarray(levels % (seed % 254 + 2), mode="P")
        image.putpalette(noise(seed + 1, 256, 3).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "GIF", **options)
    return buffer.getvalue()


def lzw_without_codes(indices: bytes, bits: int) -> bytes:
    """Indices as GIF data whose table never grows: a clear code before every second index."""
    clear, size = 1 << bits, bits + 1
    number = position = 0
    for count, index in enumerate(indices):
        for code in ([clear] if count % 2 == 0 else []) + [index]:
            number |= code << position
            position += size
    number |= (clear + 1) << position
    stream = number.to_bytes((position + size + 7) // 8, "little")
    blocks = [stream[start : start + 255] for start in range(0, len(stream), 255)]
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def hand_made_gif(
    seed: int,
    screen: tuple[int, int],
    box: tuple[int, int, int, int],
    *,
    global_palette: int = 0,
    local_palette: int = 0,
    transparent: int | None = None,
    interlaced: bool = False,
    background: int = 0,
) -> bytes:
    """`global_palette` and `local_palette` are 0 for none, or else the bits of an index."""
    left, top, width, height = box
    generator = np.random.default_rng(seed)
    data = b"GIF89a" + struct.pack("<HH", *screen)
    data += bytes([0x80 | (global_palette - 1) if global_palette else 0, background, 0])
    if global_palette:
        data += generator.bytes(3 << global_palette)
    if transparent is not None:
        data += b"!\xf9\x04" + bytes([1, 0, 0, transparent, 0])
    flags = (0x80 | (local_palette - 1) if local_palette else 0) | (0x40 if interlaced else 0)
    data += b"," + struct.pack("<HHHHB", left, top, width, height, flags)
    if local_palette:
        data += generator.bytes(3 << local_palette)
    indices = noise(seed, height, width).tobytes()
    return data + lzw_without_codes(indices, 8) + b";"
