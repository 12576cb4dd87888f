"""WebP against Pillow: every pixel of `convert("RGB")`, every byte of opening and saving again."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfresearch_rs import DecodeError, decode_image, recompress_image

SIDES = st.integers(1, 50)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=50, deadline=None)
MODES = st.sampled_from(["RGB", "RGBA"])

SAVE_OPTIONS = st.fixed_dictionaries(
    {"quality": st.integers(0, 100), "lossless": st.booleans(), "method": st.sampled_from([0, 4])},
    optional={
        "exact": st.just(True),
        "alpha_quality": st.integers(0, 100),
        "exif": st.binary(min_size=1, max_size=50),
        "icc_profile": st.binary(min_size=1, max_size=50),
    },
)


def picture(width: int, height: int, mode: str, seed: int) -> Image.Image:
    """Waves with noise; alpha, if there is one, is opaque, mixed or nought in the upper half."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(columns / (4 + 3 * plane)) + np.cos(rows / (6 + plane)) for plane in range(len(mode))]
    noise = random.normal(0, random.choice([0, 5, 60]), (height, width, len(mode)))
    pixels = np.clip(128 + 60 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)
    if mode == "RGBA":
        kind = random.integers(3)
        if kind == 0:
            pixels[..., 3] = 255
        elif kind == 1:
            pixels[: height // 2, :, 3] = 0
    return Image.fromarray(pixels, mode)


def encode(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


def assert_as_pillow(data: bytes) -> bool:
    """Asserts the same verdict, pixels and saved bytes; says whether the file was accepted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
                pixels = np.asarray(image.convert("RGB"))
                saved = io.BytesIO()
                image.save(saved, "WEBP")
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
            with pytest.raises(DecodeError):
                recompress_image(data)
            return False
    np.testing.assert_array_equal(decode_image(data), pixels, strict=True)
    assert recompress_image(data) == saved.getvalue()
    return True


@EXAMPLES
@given(SIDES, SIDES, MODES, SAVE_OPTIONS, SEEDS)
def test_modes_and_options(width: int, height: int, mode: str, options: dict[str, object], seed: int) -> None:
    assert assert_as_pillow(encode(picture(width, height, mode, seed), **options))


@EXAMPLES
@given(SIDES, SIDES, MODES, st.booleans(), st.booleans(), SEEDS)
def test_first_frame_of_an_animation(
    width: int, height: int, mode: str, lossless: bool, is_small: bool, seed: int
) -> None:
    first = picture(width, height, mode, seed)
    if is_small:  # transparent borders are cut off, so that the frame does not cover the canvas
        first = first.convert("RGBA")
        border = Image.new("RGBA", first.size)
        inner = (width // 3, height // 3, width, height)
        border.paste(first.crop(inner), inner[:2])
        first = border
    others = [picture(width, height, mode, seed + 1), picture(width, height, mode, seed + 2)]
    data = encode(first, save_all=True, append_images=others, duration=40, lossless=lossless)
    assert assert_as_pillow(data)


@EXAMPLES
@given(SIDES, SIDES, MODES, st.booleans(), SEEDS, st.data())
def test_truncated(width: int, height: int, mode: str, lossless: bool, seed: int, draw: st.DataObject) -> None:
    data = encode(picture(width, height, mode, seed), lossless=lossless)
    length = draw.draw(st.integers(1, len(data) - 1))
    with pytest.raises(DecodeError):
        decode_image(data[:length])
    assert not assert_as_pillow(data[:length])


@EXAMPLES
@given(SIDES, SIDES, MODES, st.booleans(), SEEDS, st.data())
def test_damaged(width: int, height: int, mode: str, lossless: bool, seed: int, draw: st.DataObject) -> None:
    data = encode(picture(width, height, mode, seed), lossless=lossless)
    # Behind the container's header: a changed canvas could be wider than our limit, which Pillow does not have.
    at = draw.draw(st.integers(min(30, len(data) - 1), len(data) - 1))
    assert_as_pillow(data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :])


def test_trailing_bytes() -> None:
    assert assert_as_pillow(encode(picture(20, 10, "RGB", 1)) + b"trailing")


def test_widest_image() -> None:
    assert assert_as_pillow(encode(Image.new("RGB", (16383, 1), (1, 200, 3))))
