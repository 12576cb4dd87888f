"""``dfresearch.audio_transforms``: functions, entries and the table."""

import dataclasses

import numpy as np
import pytest
from audio_files import sound

import dfresearch_rs
from dfresearch import audio_transforms
from dfresearch.audio_transforms import (
    AUDIO_AUGMENTATION_LEVELS,
    AdditiveNoise,
    Gain,
    LowPass,
    Mp3Compress,
    OpusCompress,
    Reverberation,
    additive_noise,
    apply_random_augmentations,
    gain,
    low_pass,
    mp3_compress,
    opus_compress,
    reverberation,
)

ENTRIES = [
    Gain((-9, 9)),
    AdditiveNoise((5, 20)),
    LowPass((1000, 5000)),
    Reverberation((0.1, 0.4)),
    Mp3Compress((16, 96)),
    OpusCompress((8, 64)),
]


@pytest.fixture
def waveform():
    return sound(0.5, 16000)[:, 0]


def test_the_table_has_levels_0_to_3_and_the_first_is_empty():
    assert list(AUDIO_AUGMENTATION_LEVELS) == [0, 1, 2, 3]
    assert AUDIO_AUGMENTATION_LEVELS[0] == []
    used = {type(entry) for level in AUDIO_AUGMENTATION_LEVELS.values() for entry in level}
    assert used == {Gain, AdditiveNoise, LowPass, Reverberation, Mp3Compress, OpusCompress}


def test_functions_are_the_native_operations(waveform):
    np.testing.assert_array_equal(gain(waveform, -3), dfresearch_rs.gain(waveform, -3))
    np.testing.assert_array_equal(low_pass(waveform, 2000), dfresearch_rs.low_pass(waveform, 2000))
    np.testing.assert_array_equal(mp3_compress(waveform, 32), dfresearch_rs.mp3_compress(waveform, 32))
    np.testing.assert_array_equal(opus_compress(waveform, 32), dfresearch_rs.opus_compress(waveform, 32))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (additive_noise, (10,)),
        (reverberation, (0.3,)),
        (apply_random_augmentations, (3,)),
        *((entry, ()) for entry in ENTRIES),
    ],
)
def test_chance_comes_from_numpys_global_state(waveform, function, arguments):
    original = waveform.copy()
    np.random.seed(4)
    first = function(waveform, *arguments)
    second = function(waveform, *arguments)
    np.random.seed(4)
    np.testing.assert_array_equal(function(waveform, *arguments), first)
    assert first.shape == waveform.shape
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(waveform, original)


def test_entries_draw_from_a_generator_if_given(waveform):
    for entry in ENTRIES:
        np.random.seed(0)
        before = np.random.get_state()[2]
        first, second = (entry(waveform, np.random.default_rng(9)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert np.random.get_state()[2] == before


def test_whole_numbers_reach_both_ends_of_their_range(waveform):
    expected = {opus_compress(waveform, rate).tobytes() for rate in (8, 9, 10)}
    assert {OpusCompress((8, 10))(waveform).tobytes() for _ in range(60)} == expected


def test_random_augmentations_use_the_table(waveform, monkeypatch):
    np.testing.assert_array_equal(apply_random_augmentations(waveform, level=0), waveform)
    calls = []

    def record(samples):
        calls.append(None)
        return samples

    monkeypatch.setattr(audio_transforms, "AUDIO_AUGMENTATION_LEVELS", {1: [record] * 4})
    counts = set()
    for _ in range(100):
        calls.clear()
        np.testing.assert_array_equal(apply_random_augmentations(waveform, max_augs=3), waveform)
        counts.add(len(calls))
    assert counts == {1, 2, 3}


def test_entries_are_values_that_refuse_bad_ranges():
    assert Gain((1, 2)) == Gain(decibels=(1, 2))
    assert dataclasses.replace(Gain((1, 2)), decibels=(0.5, 2)).range == (0.5, 2)
    with pytest.raises(dfresearch_rs.AugmentError, match="gain: decibels runs from 3 to 1"):
        Gain((3, 1))
    with pytest.raises(dfresearch_rs.AugmentError, match="mp3_compress: kilobits_per_second 320"):
        Mp3Compress((70, 320))
    with pytest.raises(dfresearch_rs.AugmentError, match="low_pass: cutoff_hertz is 5; two numbers are expected"):
        LowPass(5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Gain((1, 2)).decibels = (2, 3)
