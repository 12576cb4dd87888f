"""``dfresearch.transforms``: the reference's functions and the table."""

import numpy as np
import pytest

import dfresearch_rs
from dfresearch import transforms
from dfresearch.transforms import (
    AUGMENTATION_LEVELS,
    ColorContrast,
    ColorShift,
    GaussianBlur,
    GaussianNoise,
    JpegCompress,
    apply_random_augmentations,
    color_contrast,
    color_shift,
    gaussian_blur,
    gaussian_noise,
    jpeg_compress,
    random_horizontal_flip,
    resize_image,
)


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, (30, 20, 3), dtype=np.uint8)


def test_the_table_has_the_documented_levels():
    assert {
        0: [],
        1: [JpegCompress((70, 95)), GaussianBlur((0.3, 0.8))],
        2: [JpegCompress((40, 75)), GaussianBlur((0.5, 1.5)), GaussianNoise((3, 10)), ColorShift((5, 15))],
        3: [
            JpegCompress((15, 45)),
            GaussianBlur((1, 3)),
            GaussianNoise((8, 25)),
            ColorShift((10, 30)),
            ColorContrast((0.5, 1.5)),
        ],
    } == AUGMENTATION_LEVELS


def test_functions_are_the_native_operations(image):
    np.testing.assert_array_equal(jpeg_compress(image, 50), dfresearch_rs.jpeg_compress(image, 50))
    np.testing.assert_array_equal(gaussian_blur(image, 1.5), dfresearch_rs.gaussian_blur(image, 1.5))
    np.testing.assert_array_equal(color_contrast(image, 0.7), dfresearch_rs.color_contrast(image, 0.7))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (gaussian_noise, (10,)),
        (color_shift, (30,)),
        (apply_random_augmentations, (3,)),
        (GaussianBlur((0.5, 3)), ()),
        (JpegCompress((10, 90)), ()),
        (GaussianNoise((5, 20)), ()),
        (ColorShift((5, 20)), ()),
        (ColorContrast((0.5, 1.5)), ()),
    ],
)
def test_chance_comes_from_numpys_global_state(image, function, arguments):
    original = image.copy()
    np.random.seed(4)
    first = function(image, *arguments)
    second = function(image, *arguments)
    np.random.seed(4)
    np.testing.assert_array_equal(function(image, *arguments), first)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(image, original)


def test_entries_draw_from_a_generator_if_given(image):
    for entry in AUGMENTATION_LEVELS[3]:
        np.random.seed(0)
        before = np.random.get_state()[2]
        first, second = (entry(image, np.random.default_rng(9)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert np.random.get_state()[2] == before


def test_entries_draw_all_of_their_range(image):
    expected = {jpeg_compress(image, quality).tobytes() for quality in (20, 21, 22)}
    assert {JpegCompress((20, 22))(image).tobytes() for _ in range(60)} == expected


def test_color_shift_moves_each_channel_by_up_to_the_magnitude():
    grey = np.full((4, 4, 3), 100, np.uint8)
    np.random.seed(0)
    shifts = np.array([color_shift(grey, 20)[0, 0].astype(int) - 100 for _ in range(300)])
    assert shifts.min() >= -20
    assert shifts.max() < 20
    assert shifts.min() < -17
    assert shifts.max() > 16
    assert (shifts[:, 0] != shifts[:, 1]).mean() > 0.8


def test_flip_comes_with_its_probability(image):
    np.random.seed(0)
    flipped = sum(np.array_equal(random_horizontal_flip(image), image[:, ::-1]) for _ in range(1000))
    assert 420 < flipped < 580
    np.testing.assert_array_equal(random_horizontal_flip(image, p=1), image[:, ::-1])
    np.testing.assert_array_equal(random_horizontal_flip(image, p=0), image)


def test_random_augmentations_use_the_table_without_flipping(image, monkeypatch):
    np.testing.assert_array_equal(apply_random_augmentations(image, level=0), image)
    calls = []

    def record(img):
        calls.append(None)
        return img

    monkeypatch.setattr(transforms, "AUGMENTATION_LEVELS", {1: [record] * 4})
    counts = set()
    for _ in range(100):
        calls.clear()
        np.testing.assert_array_equal(apply_random_augmentations(image, max_augs=3), image)
        counts.add(len(calls))
    assert counts == {1, 2, 3}


def test_resize_takes_height_and_width(image):
    resized = resize_image(image, (12, 17))
    assert resized.shape == (12, 17, 3)
    np.testing.assert_array_equal(resized, dfresearch_rs.preprocess_image(image, (12, 17), mode="stretch"))


def test_bad_parameters_are_named(image):
    with pytest.raises(dfresearch_rs.AugmentError, match="jpeg_compress: quality 0"):
        jpeg_compress(image, 0)
    with pytest.raises(dfresearch_rs.AugmentError, match="jpeg_compress: quality"):
        jpeg_compress(image, 500)
    with pytest.raises(dfresearch_rs.AugmentError, match="gaussian_blur: sigma 0"):
        gaussian_blur(image, 0)
    for sigma in (1.0, (1, 2, 3), (1,), ("a", 2), None):
        with pytest.raises(dfresearch_rs.AugmentError, match=r"gaussian_blur: sigma is .*; two numbers are expected"):
            GaussianBlur(sigma=sigma)
    with pytest.raises(dfresearch_rs.ArgumentError, match="uint8 NumPy array"):
        gaussian_blur(image.astype(np.float32), 1)
