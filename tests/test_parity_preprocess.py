"""Preprocessing against OpenCV (the competition's resize) and Pillow (the stretch)."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dfresearch_rs


def random_image(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def competition_reference(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The crop and resize as the protocol words them, by OpenCV."""
    (h, w), (target_h, target_w) = image.shape[:2], size
    scale = min(h / target_h, w / target_w)
    crop_h = max(1, min(h, round(scale * target_h)))
    crop_w = max(1, min(w, round(scale * target_w)))
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    cropped = np.ascontiguousarray(image[top : top + crop_h, left : left + crop_w])
    return cv2.resize(cropped, (target_w, target_h), interpolation=cv2.INTER_LINEAR)


sides = st.integers(1, 400)
targets = st.tuples(st.integers(1, 300), st.integers(1, 300))


@settings(max_examples=400, deadline=None)
@given(sides, sides, targets, st.integers(0, 2**32 - 1))
def test_competition_equals_opencv_on_every_pixel(height, width, size, seed):
    image = random_image(height, width, seed)
    ours = dfresearch_rs.preprocess_image(image, size, mode="competition")
    np.testing.assert_array_equal(ours, competition_reference(image, size))


@pytest.mark.parametrize("shape", [(899, 1), (1, 899), (448, 448), (224, 224), (112, 112), (1080, 1920), (2160, 3840)])
def test_competition_equals_opencv_at_the_usual_and_the_odd_sizes(shape):
    image = random_image(*shape, seed=1)
    ours = dfresearch_rs.preprocess_image(image, (224, 224))
    np.testing.assert_array_equal(ours, competition_reference(image, (224, 224)))


@settings(max_examples=150, deadline=None)
@given(sides, sides, targets, st.integers(0, 2**32 - 1))
def test_stretch_is_within_one_of_pillow(height, width, size, seed):
    image = random_image(height, width, seed)
    ours = dfresearch_rs.preprocess_image(image, size, mode="stretch")
    pillow = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    assert np.abs(ours.astype(int) - pillow.astype(int)).max() <= 1


def test_a_size_may_be_a_list():
    image = random_image(30, 40, seed=3)
    np.testing.assert_array_equal(
        dfresearch_rs.preprocess_image(image, [8, 16]), dfresearch_rs.preprocess_image(image, (8, 16))
    )


def test_an_array_that_is_not_contiguous_is_read_as_it_looks():
    image = random_image(90, 120, seed=2)
    flipped = image[::-1, ::2]
    np.testing.assert_array_equal(
        dfresearch_rs.preprocess_image(flipped, (32, 32)),
        dfresearch_rs.preprocess_image(np.ascontiguousarray(flipped), (32, 32)),
    )


@pytest.mark.parametrize(
    ("image", "arguments", "named"),
    [
        (np.zeros((4, 4, 4), np.uint8), {}, "image"),
        (np.zeros((4, 4, 3), np.float32), {}, "image"),
        (np.zeros((0, 4, 3), np.uint8), {}, "image"),
        ("not an array", {}, "image"),
        (np.zeros((4, 4, 3), np.uint8), {"size": (0, 4)}, "size"),
        (np.zeros((4, 4, 3), np.uint8), {"mode": "squash"}, "mode"),
    ],
)
def test_what_cannot_be_preprocessed_is_named(image, arguments, named):
    with pytest.raises(dfresearch_rs.ArgumentError, match=f"^{named}: "):
        dfresearch_rs.preprocess_image(image, **arguments)
