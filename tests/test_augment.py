"""``augment_image``: plans, determinism, tables, callables, errors."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

import dfresearch_rs
from dfresearch import transforms
from dfresearch.transforms import AUGMENTATION_LEVELS, GaussianBlur, GaussianNoise, JpegCompress


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def entry(operation, low, high):
    return SimpleNamespace(operation=operation, range=(low, high))


def augment(image, table, **keywords):
    return dfresearch_rs.augment_image(image, 1, table={1: table}, **keywords)


def test_the_result_is_a_function_of_the_arguments(image):
    original = image.copy()
    for level in AUGMENTATION_LEVELS:
        first = dfresearch_rs.augment_image(image, level, seed=7, epoch=2, sample=5)
        np.testing.assert_array_equal(first, dfresearch_rs.augment_image(image, level, seed=7, epoch=2, sample=5))
    np.testing.assert_array_equal(image, original)
    places = [{"seed": 7}, {"seed": 8}, {"seed": 7, "epoch": 1}, {"seed": 7, "sample": 1}]
    results = {dfresearch_rs.augment_image(image, 3, **place).tobytes() for place in places}
    assert len(results) == len(places)


def test_level_0_changes_nothing(image):
    for sample in range(20):
        np.testing.assert_array_equal(dfresearch_rs.augment_image(image, 0, sample=sample), image)
        np.testing.assert_array_equal(dfresearch_rs.augment_image(image, 0, table={}, sample=sample), image)


def test_arrays_need_not_be_contiguous(image):
    view = image[::2, ::-1]
    np.testing.assert_array_equal(
        dfresearch_rs.augment_image(view, 3, seed=3), dfresearch_rs.augment_image(view.copy(), 3, seed=3)
    )


def test_operations_are_drawn_evenly_in_random_order_and_half_are_flipped(image):
    """Callables that write down their names show what was drawn."""
    calls = []

    def recorder(name):
        def record(img):
            calls.append(name)
            return img

        return record

    table = [recorder(name) for name in "abcd"]
    singles, pairs, flips, samples = Counter(), Counter(), 0, 4000
    for sample in range(samples):
        calls.clear()
        result = augment(image, table, sample=sample)
        flips += not np.array_equal(result, image)
        (singles if len(calls) == 1 else pairs)["".join(calls)] += 1
    five_deviations = 5 * np.sqrt(samples / 4)
    assert abs(flips - samples / 2) < five_deviations
    assert abs(singles.total() - samples / 2) < five_deviations
    assert set(singles) == set("abcd")
    assert set(pairs) == {a + b for a in "abcd" for b in "abcd" if a != b}
    assert all(abs(count - samples / 8) < 5 * np.sqrt(samples / 8) for count in singles.values())
    assert all(abs(count - samples / 24) < 5 * np.sqrt(samples / 24) for count in pairs.values())


def test_limit_and_flip_can_be_chosen(image):
    calls = []

    def record(img):
        calls.append(None)
        return img

    counts = Counter()
    for sample in range(200):
        calls.clear()
        result = augment(image, [record, record, record, record], sample=sample, max_operations=3, flip=False)
        np.testing.assert_array_equal(result, image)
        counts[len(calls)] += 1
    assert set(counts) == {1, 2, 3}


def test_ranges_of_a_table_are_used(image):
    """A range of one value leaves only one result."""
    table = [GaussianBlur(sigma=(1.25, 1.25))]
    for sample in range(5):
        np.testing.assert_array_equal(
            augment(image, table, sample=sample, flip=False), dfresearch_rs.gaussian_blur(image, 1.25)
        )
    table = [JpegCompress(quality=(33, 34))]
    expected = [dfresearch_rs.jpeg_compress(image, quality).tobytes() for quality in (33, 34)]
    results = {augment(image, table, sample=sample, flip=False).tobytes() for sample in range(40)}
    assert results == set(expected)


def test_default_table_is_that_of_transforms(image, monkeypatch):
    monkeypatch.setattr(transforms, "AUGMENTATION_LEVELS", {9: [lambda img: np.full_like(img, 77)]})
    assert (dfresearch_rs.augment_image(image, 9) == 77).all()
    with pytest.raises(dfresearch_rs.ArgumentError, match="2 is not in the table, whose levels are 9"):
        dfresearch_rs.augment_image(image, 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry("sharpen", 1, 2), "sharpen: no such operation; there are jpeg_compress"),
        (entry("gaussian_blur", 2, 1), "gaussian_blur: sigma runs from 2 to 1"),
        (entry("jpeg_compress", 0, 50), "jpeg_compress: quality 0 is not between 1 and 100"),
        (entry("jpeg_compress", 50, 101), "jpeg_compress: quality 101 "),
        (entry("jpeg_compress", 50.5, 60), "jpeg_compress: quality 50.5 is not a whole number"),
        (entry("gaussian_noise", -1, 5), "gaussian_noise: sigma -1"),
        (entry("color_shift", 0, float("nan")), "color_shift: magnitude NaN"),
        (entry("color_contrast", -0.5, 1), "color_contrast: factor -0.5"),
    ],
)
def test_a_bad_entry_is_named(image, bad, message):
    with pytest.raises(dfresearch_rs.AugmentError, match=message):
        augment(image, [bad])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "mapping of levels"),
        ({"one": []}, "level 'one' is not a whole number"),
        ({-1: []}, "level -1 is not a whole number"),
        ({1: 5}, "level 1 is not a sequence"),
        ({1: ["gaussian_blur"]}, "'gaussian_blur' in level 1 is neither an operation nor a callable"),
        (
            {1: [SimpleNamespace(operation="gaussian_blur", range=3)]},
            "in level 1 needs an operation's name and a range",
        ),
        ({0: [GaussianBlur(sigma=(1, 2))], 1: []}, "level 0 leaves images unchanged"),
        ({2: []}, "1 is not in the table, whose levels are 2"),
    ],
)
def test_a_bad_table_is_refused(image, table, message):
    with pytest.raises(dfresearch_rs.ArgumentError, match=message):
        dfresearch_rs.augment_image(image, 1, table=table)


@pytest.mark.parametrize(
    "bad",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_a_bad_image_is_refused(bad):
    with pytest.raises(dfresearch_rs.ArgumentError, match="image: "):
        dfresearch_rs.augment_image(bad)


def test_a_callable_is_applied_with_a_seeded_rng_if_it_accepts_one(image):
    seen = []

    def shuffle(img, rng):
        seen.append(rng.integers(2**60))
        return rng.permuted(img, axis=1)

    def with_keywords(img, **keywords):
        return shuffle(img, keywords["rng"])

    class Stateful:
        def __call__(self, img, *, rng=None):
            return shuffle(img, rng)

    def plain(img):
        img[...] = 255 - img
        return img

    for operation in (shuffle, with_keywords, Stateful()):
        results = [augment(image, [operation], sample=sample, flip=False).tobytes() for sample in (1, 1, 2)]
        assert results[0] == results[1] != results[2]
    assert len(set(seen)) == 2
    np.testing.assert_array_equal(augment(image, [plain], flip=False), 255 - image)
    np.testing.assert_array_equal(augment(image, [np.invert], flip=False), 255 - image)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda img: None, "<lambda>: must return a uint8 array .*, not NoneType"),
        (lambda img: img.astype(np.float32), "must return a uint8 array .*, not float32"),
        (lambda img: img[:5], r"returned shape \[5, 40, 3\] for an image of shape \[24, 40, 3\]"),
        (lambda img: img[..., 0], "must return a uint8 array"),
        (lambda img: {}["missing"], "KeyError: 'missing'"),
    ],
)
def test_a_callable_that_fails_is_named(image, operation, message):
    with pytest.raises(dfresearch_rs.AugmentError, match=message):
        augment(image, [operation])


def test_entries_are_values_that_refuse_bad_ranges():
    assert GaussianBlur(sigma=(1, 2)) == GaussianBlur(sigma=(1, 2))
    assert dataclasses.replace(GaussianBlur(sigma=(1, 2)), sigma=(0.5, 2)).range == (0.5, 2)
    with pytest.raises(dfresearch_rs.AugmentError, match="gaussian_blur: sigma runs from 3 to 1"):
        GaussianBlur(sigma=(3, 1))
    with pytest.raises(dfresearch_rs.AugmentError, match="jpeg_compress: quality 120"):
        JpegCompress(quality=(70, 120))
    with pytest.raises(dataclasses.FrozenInstanceError):
        GaussianNoise(sigma=(1, 2)).sigma = (2, 3)
