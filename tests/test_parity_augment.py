"""The augmentation operations against OpenCV, NumPy and SciPy."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import dfresearch_rs

SIZES = [(1, 1), (1, 40), (33, 1), (2, 3), (7, 64), (31, 65), (224, 224), (97, 150)]


def photograph(height, width, seed=0):
    """Smooth shapes, edges and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = np.stack([128 + 90 * np.sin(x / 17 + seed), 100 + 80 * np.cos(y / 23), 60 + (x * y) % 140], axis=2)
    base[height // 3 : height // 2, width // 4 :] = 255 - base[height // 3 : height // 2, width // 4 :]
    return np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)


def noise_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 0.8, 1.0, 1.37, 2.0, 3.0, 7.5])
def test_blur_equals_opencv_on_every_pixel(size, sigma):
    kernel = int(6 * sigma + 1) | 1
    for image in (photograph(*size), noise_image(*size), np.full((*size, 3), 255, np.uint8)):
        expected = cv2.GaussianBlur(image, (kernel, kernel), sigma)
        np.testing.assert_array_equal(dfresearch_rs.gaussian_blur(image, sigma), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(0.05, 4.0), st.integers(0, 1000))
def test_blur_equals_opencv_for_any_size_and_sigma(height, width, sigma, seed):
    image = noise_image(height, width, seed)
    kernel = int(6 * sigma + 1) | 1
    expected = cv2.GaussianBlur(image, (kernel, kernel), sigma)
    np.testing.assert_array_equal(dfresearch_rs.gaussian_blur(image, sigma), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [1, 15, 50, 75, 95, 100])
def test_jpeg_equals_opencv_on_every_pixel(size, quality):
    for image in (photograph(*size), noise_image(*size)):
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], settings)
        expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(dfresearch_rs.jpeg_compress(image, quality), expected)


@pytest.mark.parametrize("shifts", [(0, 0, 0), (12.7, -3.2, 0.999), (-30, 30, -0.001), (255, -255, 0.5)])
def test_color_shift_equals_numpy(shifts):
    image = noise_image(60, 50)
    expected = np.clip(image.astype(np.float32) + np.float32(shifts), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(dfresearch_rs.color_shift(image, shifts), expected)


@pytest.mark.parametrize("factor", [0.0, 0.5123, 0.9, 1.0, 1.37, 1.5, 4.0])
@pytest.mark.parametrize("size", [(1, 1), (37, 41), (224, 224)])
def test_color_contrast_equals_numpy(factor, size):
    image = photograph(*size)
    mean = image.mean(axis=(0, 1), dtype=np.float64)
    exact = np.clip((image - mean) * factor + mean, 0, 255)
    # Where the exact result is a whole number, which side of it NumPy's rounding errors fall on means nothing.
    expected = np.floor(np.where(np.abs(exact - np.rint(exact)) < 1e-9, np.rint(exact), exact))
    np.testing.assert_array_equal(dfresearch_rs.color_contrast(image, factor), expected.astype(np.uint8))


def test_flip_equals_numpy():
    for size in SIZES:
        image = noise_image(*size)
        np.testing.assert_array_equal(dfresearch_rs.horizontal_flip(image), image[:, ::-1])


@pytest.mark.parametrize(("sigma", "grey"), [(3.0, 128), (10.0, 100), (25.0, 20), (80.0, 200)])
def test_noise_is_normal(sigma, grey):
    """Every grey level comes as often as a truncated, clipped normal says."""
    image = np.full((512, 512, 3), grey, np.uint8)
    noisy = dfresearch_rs.gaussian_noise(image, sigma, seed=11).ravel()
    edges = np.arange(1, 256)
    below = stats.norm.cdf(edges, loc=grey, scale=sigma)
    expected = np.diff(np.concatenate([[0], below, [1]])) * noisy.size
    observed = np.bincount(noisy, minlength=256).astype(float)
    # Rare levels are one: the test asks for five counts in each.
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum())
    observed = np.append(observed[~rare], observed[rare].sum())
    if expected[-1] < 5:
        expected, observed = (
            np.append(expected[:-2], expected[-2:].sum()),
            np.append(observed[:-2], observed[-2:].sum()),
        )
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_noise_is_independent_from_value_to_value():
    noisy = dfresearch_rs.gaussian_noise(np.full((400, 400, 3), 128, np.uint8), 30.0, seed=5).astype(float)
    noisy -= noisy.mean()
    for other in (np.roll(noisy, 1, 0), np.roll(noisy, 1, 1), np.roll(noisy, 1, 2), noisy[::-1]):
        assert abs(np.corrcoef(noisy.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(noisy.size)
    again = dfresearch_rs.gaussian_noise(np.full((400, 400, 3), 128, np.uint8), 30.0, seed=6).astype(float)
    assert abs(np.corrcoef(noisy.ravel(), again.ravel())[0, 1]) < 5 / np.sqrt(noisy.size)
