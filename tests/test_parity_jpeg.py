"""JPEG against Pillow: every pixel of `convert("RGB")`, every byte of opening and saving again."""

import io
import struct
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfresearch_rs import DecodeError, decode_image, recompress_image

SIDES = st.integers(1, 70)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=60, deadline=None)

# Horizontal and vertical sampling of the first component, in the nibbles of a frame header.
SAMPLINGS = {"4:4:4": 0x11, "4:2:2": 0x21, "4:4:0": 0x12, "4:2:0": 0x22, "4:1:1": 0x41, "4:1:0 upright": 0x14}

SAVE_OPTIONS = st.fixed_dictionaries(
    {"quality": st.integers(1, 100)},
    optional={
        "progressive": st.just(True),
        "optimize": st.just(True),
        "restart_marker_blocks": st.integers(1, 9),
        "comment": st.binary(min_size=1, max_size=200),
        "exif": st.just(b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        "dpi": st.just((300, 300)),
        "icc_profile": st.binary(min_size=1, max_size=50),
    },
)


def picture(width: int, height: int, components: int, seed: int) -> np.ndarray:
    """Waves with as much noise as the seed says, `[H, W, components]`."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(columns / (4 + 3 * plane)) + np.cos(rows / (6 + plane)) for plane in range(components)]
    noise = random.normal(0, random.choice([0, 5, 60]), (height, width, components))
    return np.clip(128 + 60 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def encode(mode: str, pixels: np.ndarray, **options: object) -> bytes:
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode)
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def frame_header(data: bytes) -> int:
    """Where the content of the frame header begins."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return at + 4


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def pillow(data: bytes) -> tuple[np.ndarray, bytes] | None:
    """Pillow's pixels and what it saves, or None where it refuses the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                pixels = np.asarray(image.convert("RGB"))
                saved = io.BytesIO()
                image.save(saved, image.format)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
        return pixels, saved.getvalue()


def assert_as_pillow(data: bytes) -> bool:
    """Asserts the same verdict, pixels and saved bytes; says whether the file was accepted."""
    truth = pillow(data)
    if truth is None:
        with pytest.raises(DecodeError):
            decode_image(data)
        with pytest.raises(DecodeError):
            recompress_image(data)
        return False
    np.testing.assert_array_equal(decode_image(data), truth[0], strict=True)
    assert recompress_image(data) == truth[1]
    return True


@EXAMPLES
@given(SIDES, SIDES, st.sampled_from(["L", "RGB", "CMYK"]), SAVE_OPTIONS, SEEDS)
def test_modes_and_options(width: int, height: int, mode: str, options: dict[str, object], seed: int) -> None:
    pixels = picture(width, height, len(Image.new(mode, (1, 1)).getbands()), seed)
    assert assert_as_pillow(encode(mode, pixels, **options))


@EXAMPLES
@given(SIDES, SIDES, st.sampled_from(sorted(SAMPLINGS)), st.booleans(), SEEDS)
def test_chroma_samplings(width: int, height: int, sampling: str, progressive: bool, seed: int) -> None:
    # Pillow writes three of them; the scan of another has other blocks, which decode to something all the same.
    data = encode("RGB", picture(width, height, 3, seed), subsampling=2, progressive=progressive)
    assert_as_pillow(changed(data, frame_header(data) + 7, SAMPLINGS[sampling]))


@EXAMPLES
@given(SIDES, SIDES, st.integers(1, 100), SEEDS)
def test_rgb_components(width: int, height: int, quality: int, seed: int) -> None:
    assert assert_as_pillow(encode("RGB", picture(width, height, 3, seed), quality=quality, keep_rgb=True))


@EXAMPLES
@given(SIDES, SIDES, st.sampled_from([0, 1, 2]), SEEDS)
def test_adobe_transforms(width: int, height: int, transform: int, seed: int) -> None:
    data = encode("CMYK", picture(width, height, 4, seed))
    assert assert_as_pillow(changed(data, data.index(b"Adobe") + 11, transform))


@EXAMPLES
@given(SIDES, SIDES, st.sampled_from(["L", "RGB", "CMYK"]), st.booleans(), SEEDS, st.data())
def test_truncated(width: int, height: int, mode: str, progressive: bool, seed: int, draw: st.DataObject) -> None:
    pixels = picture(width, height, len(Image.new(mode, (1, 1)).getbands()), seed)
    data = encode(mode, pixels, progressive=progressive)
    length = draw.draw(st.integers(1, len(data) - 1))
    assert not assert_as_pillow(data[:length])


@EXAMPLES
@given(SIDES, SIDES, st.booleans(), SEEDS, st.data())
def test_damaged(width: int, height: int, progressive: bool, seed: int, draw: st.DataObject) -> None:
    data = encode("RGB", picture(width, height, 3, seed), progressive=progressive)
    for _ in range(draw.draw(st.integers(1, 4))):
        data = changed(data, draw.draw(st.integers(0, len(data) - 1)), draw.draw(st.integers(0, 255)))
    assert_as_pillow(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_longer_than_a_reading_step(progressive: bool) -> None:
    pixels = picture(700, 500, 3, seed=1)
    pixels ^= np.random.default_rng(2).integers(0, 64, pixels.shape, dtype=np.uint8)
    data = encode("RGB", pixels, quality=95, progressive=progressive)
    assert len(data) > 3 * 65536
    assert assert_as_pillow(data)
    assert assert_as_pillow(data + b"trailing")
    assert not assert_as_pillow(data[:-2])
    assert not assert_as_pillow(data[:131072])


def test_bytes_around_the_image() -> None:
    data = encode("RGB", picture(40, 30, 3, seed=3))
    assert assert_as_pillow(data + b"\0" * 100)
    assert not assert_as_pillow(b"\0" + data)
    assert assert_as_pillow(data[:2] + b"\xff\xff" + data[2:])
    # A second image behind the first, as in a stream of frames.
    assert assert_as_pillow(data + encode("L", picture(9, 9, 1, seed=4)))


def test_end_marker_in_the_middle_of_the_scan() -> None:
    data = encode("RGB", picture(64, 64, 3, seed=5))
    assert assert_as_pillow(data[: len(data) * 3 // 4] + b"\xff\xd9")


@pytest.mark.parametrize("depth", [2, 12, 16])
def test_other_depths(depth: int) -> None:
    data = encode("RGB", picture(16, 16, 3, seed=6))
    assert not assert_as_pillow(changed(data, frame_header(data), depth))


def test_multi_picture_format() -> None:
    file = io.BytesIO()
    frames = [Image.fromarray(picture(48, 32, 3, seed)) for seed in (7, 8)]
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(file.getvalue())) as image:
        assert image.format == "MPO"
    assert assert_as_pillow(file.getvalue())


def test_scans_without_end() -> None:
    data = encode("L", picture(40, 30, 1, seed=10), progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")]

    def with_scans(count: int) -> bytes:
        return data[:-2] + scan * (count - data.count(b"\xff\xda")) + data[-2:]

    assert assert_as_pillow(with_scans(100))
    # Pillow has no limit.
    assert pillow(with_scans(101)) is not None
    for read in (decode_image, recompress_image):
        with pytest.raises(DecodeError, match="unsupported JPEG: more than 100 scans"):
            read(with_scans(101))


def test_header_beyond_the_pixel_limit() -> None:
    data = bytearray(encode("RGB", picture(16, 16, 3, seed=9)))
    at = frame_header(bytes(data))
    data[at + 1 : at + 5] = struct.pack(">HH", 60000, 60000)
    assert not assert_as_pillow(bytes(data))
    with pytest.raises(DecodeError, match="60000x60000"):
        decode_image(bytes(data))


@EXAMPLES
@given(SIDES, SIDES, SEEDS)
def test_pixels_equal_opencv(width: int, height: int, seed: int) -> None:
    encoded = cv2.imencode(".jpg", picture(width, height, 3, seed), [cv2.IMWRITE_JPEG_QUALITY, 55])[1]
    expected = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(decode_image(encoded.tobytes()), expected, strict=True)
