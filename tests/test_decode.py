"""What `decode_image` accepts and refuses, and how it says so; pixels are compared in test_parity_decode.py."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfresearch_rs import DecodeError, decode_image, recompress_image

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]


def encoded(image_format: str, side: int = 24) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))


def huge_headers() -> dict[str, bytes]:
    return {
        "PNG": png_header(60_000, 60_000) + struct.pack(">I", 4) + b"IDAT" + bytes(8),
        "BMP": b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 60_000, 60_000, 1, 24) + bytes(24),
        "GIF": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b"," + bytes(4) + b"\1\0\1\0\0\2\0;",
        "TIFF": b"II*\0\x08\0\0\0"
        + struct.pack("<H", 5)
        + b"".join(
            struct.pack("<HHII", tag, 4, 1, value)
            for tag, value in ((256, 60_000), (257, 60_000), (262, 2), (273, 8), (279, 8))
        )
        + bytes(4),
    }


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_path_a_string_and_bytes_give_the_same_array(tmp_path: Path, image_format: str) -> None:
    data = encoded(image_format)
    path = tmp_path / "image"
    path.write_bytes(data)
    from_bytes = decode_image(data)
    assert from_bytes.shape == (24, 29, 3)
    assert from_bytes.dtype == np.uint8
    assert from_bytes.flags.c_contiguous
    assert from_bytes.flags.writeable
    np.testing.assert_array_equal(decode_image(path), from_bytes)
    np.testing.assert_array_equal(decode_image(str(path)), from_bytes)


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_content_counts_and_not_the_extension(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / ("image.png" if image_format == "JPEG" else "image.jpg")
    path.write_bytes(encoded(image_format))
    np.testing.assert_array_equal(decode_image(path), decode_image(encoded(image_format)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_truncated_file_is_refused_and_named(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "half"
    data = encoded(image_format)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DecodeError) as caught:
        decode_image(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>", "not a known image format: HTML text"),
        (b'{"error": "not found"}', "not a known image format: JSON text"),
        (b"Too many requests", "not a known image format: plain text"),
    ],
)
def test_what_is_no_image_is_refused_for_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        decode_image(path)
    assert str(caught.value) == f"{path}: {reason}"
    with pytest.raises(DecodeError, match="<bytes>"):
        decode_image(content)


@pytest.mark.parametrize("image_format", huge_headers())
def test_a_huge_header_is_refused(image_format: str) -> None:
    with pytest.raises(DecodeError, match="60000x60000 pixels are over the limit of 178956970 pixels in all"):
        decode_image(huge_headers()[image_format])


def test_a_side_over_the_limit_is_refused() -> None:
    with pytest.raises(DecodeError, match="65536x1 pixels are over the limit of 65535 pixels a side"):
        decode_image(png_header(65_536, 1) + struct.pack(">I", 4) + b"IDAT" + bytes(8))


def test_a_png_whose_data_end_early_is_refused_and_not_filled_with_black() -> None:
    rows = zlib.compress(bytes(1 + 3 * 8) * 4)
    chunk = struct.pack(">I", len(rows)) + b"IDAT" + rows + struct.pack(">I", zlib.crc32(b"IDAT" + rows))
    with pytest.raises(DecodeError, match="PNG"):
        decode_image(png_header(8, 8) + chunk)


def test_a_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        decode_image(tmp_path / "missing.png")
    assert Path(caught.value.filename) == tmp_path / "missing.png"


def test_a_folder_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        decode_image(tmp_path)


def test_a_file_that_the_system_refuses_to_read_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    # The superuser may read everything; but not a file whose reading the system itself refuses.
    refused, error = (
        (Path("/proc/self/mem"), "Input/output error") if os.geteuid() == 0 else (path, "Permission denied")
    )
    with pytest.raises(OSError, match=error):
        decode_image(refused)


def test_another_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="source: a path or bytes is expected, not int"):
        decode_image(5)


@pytest.mark.parametrize("image_format", FORMATS)
def test_only_jpeg_and_webp_are_saved_again(tmp_path: Path, image_format: str) -> None:
    data = encoded(image_format)
    path = tmp_path / "image"
    path.write_bytes(data)
    stored = recompress_image(path)
    assert isinstance(stored, bytes)
    assert stored == recompress_image(data)
    assert (stored == data) == (image_format not in ("JPEG", "WEBP"))


DECODE_WITHOUT_MEMORY = """
import pathlib, resource, sys
from dfresearch_rs import DecodeError, decode_image

small, *files = [pathlib.Path(path) for path in sys.argv[1:]]
shape = decode_image(small).shape
mapped = int(open("/proc/self/status").read().split("VmSize:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (mapped + 56 * 2**20, resource.RLIM_INFINITY))
for file in files:
    try:
        print(file.name, decode_image(file).shape)
    except DecodeError as error:
        print(file.name, "out of memory" if "out of memory" in str(error) else error)
    assert decode_image(small).shape == shape
"""


def test_memory_that_runs_out_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    def save(name: str, side: int, mode: str = "RGB", **options: object) -> Path:
        # Flat, so that the file is small and nothing but the pixels takes memory.
        Image.new(mode, (side, side), 7).save(tmp_path / name, **options)
        return tmp_path / name

    files = [
        save("small.png", 8),
        *[save(name, 6000) for name in ("image.jpg", "image.png", "image.webp", "image.gif")],
        save("image.bmp", 6000, "L"),
        save("image.tif", 6000, compression="tiff_lzw"),
        # The pixels of these fit, what the decoder works in does not.
        save("progressive.jpg", 3500, progressive=True, subsampling=0),
        save("turned.tif", 3500, compression="tiff_lzw", tiffinfo={274: 3}),
        save("alpha.png", 3500, "RGBA"),
    ]
    command = [sys.executable, "-c", DECODE_WITHOUT_MEMORY, *map(str, files)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == [f"{file.name} out of memory" for file in files[1:]]
