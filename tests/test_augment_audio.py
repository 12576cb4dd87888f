"""`augment_audio` and the single operations: against SciPy, in time, repeatable, and with named errors."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from audio_files import encode, sound
from scipy import signal

import dfresearch_rs
from dfresearch import audio_transforms
from dfresearch.audio_transforms import AUDIO_AUGMENTATION_LEVELS, Gain, LowPass
from dfresearch_rs import (
    AugmentError,
    additive_noise,
    augment_audio,
    decode_audio,
    gain,
    low_pass,
    mp3_compress,
    opus_compress,
    reverberation,
)

CODECS = {mp3_compress: ("mp3", "libmp3lame"), opus_compress: ("opus", "libopus")}


@pytest.fixture
def waveform():
    return sound(1.5, 16000)[:, 0]


def entry(operation, low, high):
    return SimpleNamespace(operation=operation, range=(low, high))


def augment(waveform, table, **keywords):
    return augment_audio(waveform, 1, table={1: table}, **keywords)


def test_gain_is_of_amplitude_and_nothing_is_clipped(waveform):
    for decibels in (-40, -6, 0, 3, 20):
        np.testing.assert_allclose(gain(waveform, decibels), waveform * 10 ** (decibels / 20), rtol=1e-6)
    assert np.abs(gain(waveform, 20)).max() > 5


@pytest.mark.parametrize("decibels", [-10, 0, 10, 30])
def test_noise_has_its_power_and_is_white_and_normal(waveform, decibels):
    long = np.tile(waveform, 5)
    noise = additive_noise(long, decibels, seed=3) - long
    measured = 10 * np.log10((long.astype(float) ** 2).mean() / (noise.astype(float) ** 2).mean())
    assert abs(measured - decibels) < 0.1
    _, spectrum = signal.welch(noise, nperseg=256)
    assert spectrum[2:-2].max() / spectrum[2:-2].min() < 2
    kurtosis = (noise.astype(float) ** 4).mean() / (noise.astype(float) ** 2).mean() ** 2
    assert abs(kurtosis - 3) < 5 * np.sqrt(24 / len(noise))
    np.testing.assert_array_equal(additive_noise(waveform, decibels, 3), additive_noise(waveform, decibels, 3))
    assert not np.array_equal(additive_noise(waveform, decibels, 3), additive_noise(waveform, decibels, 4))


def test_silence_gets_no_noise():
    silence = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(additive_noise(silence, 0), silence)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("cutoff", [300, 1000, 3400])
def test_low_pass_is_scipys_windowed_filter_without_delay(rate, cutoff):
    waveform = sound(1, rate)[:, 0]
    taps = signal.firwin(513, cutoff, fs=rate)
    expected = signal.convolve(waveform.astype(float), taps)[256 : 256 + len(waveform)]
    np.testing.assert_allclose(low_pass(waveform, cutoff, rate), expected, atol=3e-6)


def test_a_cutoff_from_half_the_rate_on_changes_nothing(waveform):
    for cutoff in (8000, 20_000):
        np.testing.assert_array_equal(low_pass(waveform, cutoff), waveform)


@pytest.mark.parametrize("seconds", [0.05, 0.4, 1.3])
def test_reverberation_is_a_convolution_with_a_decaying_room(waveform, seconds):
    impulse = np.zeros(round(seconds * 16000) + 1, np.float32)
    impulse[0] = 1
    room = reverberation(impulse, seconds, seed=8).astype(float)
    assert abs((room**2).sum() - 1) < 1e-4
    assert abs(room[0] ** 2 - 0.5) < 1e-4
    expected = signal.convolve(waveform.astype(float), room)[: len(waveform)]
    np.testing.assert_allclose(reverberation(waveform, seconds, seed=8), expected, atol=5e-6)
    # Schroeder's backward integration falls by 60 dB in the given time; measured between -5 and -25 dB.
    decay = 10 * np.log10(np.cumsum(room[:0:-1] ** 2)[::-1] / (room[1:] ** 2).sum())
    first, last = np.argmax(decay < -5), np.argmax(decay < -25)
    assert abs((last - first) * 3 / 16000 / seconds - 1) < 0.15


@pytest.mark.parametrize("compress", CODECS)
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_codec_is_in_time_and_of_the_same_length(compress, rate):
    for length in (1, 100, 3000, 20_011):
        waveform = sound(length / rate, rate, seed=2)[:, 0]
        result = compress(waveform, 64, rate)
        assert result.shape == waveform.shape
        assert np.isfinite(result).all()
    correlation = signal.correlate(result, waveform)
    assert np.argmax(correlation) == len(waveform) - 1
    assert np.corrcoef(result, waveform)[0, 1] > 0.95
    np.testing.assert_array_equal(result, compress(waveform, 64, rate))


@pytest.mark.parametrize("compress", CODECS)
def test_a_codec_does_what_the_encoder_does_to_a_file(tmp_path, waveform, compress):
    """The file's decode has its own treatment of the ends; in between it is the same encoder's work."""
    extension, encoder = CODECS[compress]
    path = encode(tmp_path / f"a.{extension}", waveform[:, None], 16000, "-c:a", encoder, "-b:a", "32k")
    of_file = decode_audio(path)[2000:20_000]
    np.testing.assert_allclose(compress(waveform, 32)[2000:20_000], of_file, atol=2e-3)


@pytest.mark.parametrize("compress", CODECS)
def test_a_lower_bit_rate_loses_more(waveform, compress):
    errors = [np.square(compress(waveform, rate) - waveform).mean() for rate in (8, 24, 96)]
    assert errors[0] > errors[1] > errors[2]


def test_the_result_is_a_function_of_the_arguments(waveform):
    original = waveform.copy()
    for level in AUDIO_AUGMENTATION_LEVELS:
        first = augment_audio(waveform, level, seed=7, epoch=2, sample=5)
        assert first.shape == waveform.shape
        assert first.dtype == np.float32
        np.testing.assert_array_equal(first, augment_audio(waveform, level, seed=7, epoch=2, sample=5))
    np.testing.assert_array_equal(waveform, original)
    places = [{"seed": 7}, {"seed": 8}, {"seed": 7, "epoch": 1}, {"seed": 7, "sample": 1}]
    assert len({augment_audio(waveform, 3, **place).tobytes() for place in places}) == len(places)


def test_level_0_changes_nothing(waveform):
    for sample in range(20):
        np.testing.assert_array_equal(augment_audio(waveform, 0, sample=sample), waveform)
        np.testing.assert_array_equal(augment_audio(waveform, 0, table={}, sample=sample), waveform)


def test_one_or_two_operations_are_drawn_evenly_in_random_order(waveform):
    calls = []

    def recorder(name):
        def record(samples):
            calls.append(name)
            return samples

        return record

    table = [recorder(name) for name in "abcd"]
    drawn, samples = Counter(), 4000
    for sample in range(samples):
        calls.clear()
        np.testing.assert_array_equal(augment(waveform[:10], table, sample=sample), waveform[:10])
        drawn["".join(calls)] += 1
    assert set(drawn) == set("abcd") | {a + b for a in "abcd" for b in "abcd" if a != b}
    for names, count in drawn.items():
        expected = samples / (8 if len(names) == 1 else 24)
        assert abs(count - expected) < 5 * np.sqrt(expected)


def test_ranges_of_a_table_are_used(waveform):
    for sample in range(5):
        np.testing.assert_array_equal(
            augment(waveform, [LowPass((1234, 1234))], sample=sample), low_pass(waveform, 1234)
        )
    assert {len(augment(waveform, [entry("mp3_compress", 32, 33)], sample=s)) for s in range(4)} == {len(waveform)}
    louder = {float(augment(np.ones(1, np.float32), [Gain((0, 20))], sample=sample)[0]) for sample in range(200)}
    assert 1 <= min(louder) < 1.1
    assert 9 < max(louder) <= 10


def test_default_table_is_that_of_audio_transforms(waveform, monkeypatch):
    monkeypatch.setattr(audio_transforms, "AUDIO_AUGMENTATION_LEVELS", {9: [lambda samples: samples * 0]})
    assert not augment_audio(waveform, 9).any()
    with pytest.raises(dfresearch_rs.ArgumentError, match="2 is not in the table, whose levels are 9"):
        augment_audio(waveform, 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry("gaussian_blur", 1, 2), "gaussian_blur: no such operation; there are gain, additive_noise, low_pass"),
        (entry("gain", 2, 1), "gain: decibels runs from 2 to 1"),
        (entry("low_pass", 10, 500), "low_pass: cutoff_hertz 10 is not between 100 and 192000"),
        (entry("mp3_compress", 8, 320), "mp3_compress: kilobits_per_second 320 is not between 8 and 160"),
        (entry("opus_compress", 6.5, 20), "opus_compress: kilobits_per_second 6.5 is not a whole number"),
        (entry("reverberation", 0, 1), "reverberation: rt60_seconds 0 "),
        (entry("additive_noise", 0, float("nan")), "additive_noise: snr_decibels NaN"),
    ],
)
def test_a_bad_entry_is_named(waveform, bad, message):
    with pytest.raises(AugmentError, match=message):
        augment(waveform, [bad])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda waveform: gain(waveform, 1000), "gain: decibels 1000"),
        (lambda waveform: mp3_compress(waveform, -5), "mp3_compress: kilobits_per_second 0 is not between"),
        (lambda waveform: opus_compress(waveform, 32, 44100), "opus_compress: there is no sampling rate of 44100 Hz"),
        (lambda waveform: reverberation(waveform, 9), "reverberation: rt60_seconds 9"),
        (
            lambda waveform: reverberation(waveform, 5, sample_rate=2**32 - 1),
            "reverberation: a sampling rate of 4294967295",
        ),
    ],
)
def test_a_single_operation_names_what_it_refuses(waveform, call, message):
    with pytest.raises(AugmentError, match=message):
        call(waveform)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 4), np.float32), np.zeros(4), np.zeros(0, np.float32), np.full(3, np.inf, np.float32), [1.0]]
)
def test_a_bad_waveform_is_refused(bad):
    with pytest.raises(dfresearch_rs.ArgumentError, match="waveform: "):
        augment_audio(bad)


def test_a_callable_is_applied_with_a_seeded_rng_if_it_accepts_one(waveform):
    def shuffle(samples, rng):
        return rng.permuted(samples)

    def plain(samples):
        samples *= -1
        return samples

    results = [augment(waveform, [shuffle], sample=sample).tobytes() for sample in (1, 1, 2)]
    assert results[0] == results[1] != results[2]
    np.testing.assert_array_equal(augment(waveform, [plain]), -waveform)
    np.testing.assert_array_equal(augment(waveform, [lambda samples: samples[::-1]]), waveform[::-1])


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda samples: None, "<lambda>: must return a float32 array .*, not NoneType"),
        (lambda samples: samples.astype(float), "must return a float32 array .*, not float64"),
        (lambda samples: samples[:5], "returned 5 samples for a waveform of 24000"),
        (lambda samples: samples / np.float32(0) * 0, "returned samples that are not finite"),
        (lambda samples: {}["missing"], "KeyError: 'missing'"),
    ],
)
def test_a_callable_that_fails_is_named(waveform, operation, message):
    with np.errstate(all="ignore"), pytest.raises(AugmentError, match=message):
        augment(waveform, [operation])


@pytest.mark.parametrize("compress", [mp3_compress, opus_compress])
def test_no_loudness_ends_the_process(compress):
    tone = np.sin(np.arange(4000) * 0.2).astype(np.float32)
    for peak in (1e4, 1e12, 1e30):
        result = compress(tone * np.float32(peak), 32)
        assert np.isfinite(result).all()
        assert np.abs(result).max() > 0.1 * peak
