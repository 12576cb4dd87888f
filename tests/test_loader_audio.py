"""Recordings through the loader: window, augmentation, faults."""

from pathlib import Path

import numpy as np
import pytest
import torch
from audio_files import wave_file
from media_files import write_recording

import dfresearch_rs

SECONDS = 0.5
LENGTH = 8000


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[tuple[Path, int]]:
    """Six recordings of several formats, rates and lengths, the last one shorter than what is loaded."""
    folder = tmp_path_factory.mktemp("recordings")
    kinds = [("a.wav", 2.0, 16000), ("b.flac", 1.5, 44100), ("c.mp3", 2.5, 22050)]
    kinds += [("d.ogg", 1.0, 48000), ("e.wav", 3.0, 8000), ("short.wav", 0.2, 16000)]
    return [
        (write_recording(folder / name, seconds, rate, 200 + 50 * number), number % 2)
        for number, (name, seconds, rate) in enumerate(kinds)
    ]


def make_loader(samples, **keywords):
    defaults = {"modality": "audio", "batch_size": 3, "duration_seconds": SECONDS, "num_workers": 2, "seed": 4}
    return dfresearch_rs.Loader(samples, **(defaults | keywords))


def windows_of(loader) -> np.ndarray:
    """The epoch's windows as [N, n]."""
    return torch.cat([inputs for inputs, _ in loader]).numpy()


def test_batches_are_tensors_of_the_documented_kind(samples):
    got = list(make_loader(samples, duration_seconds=6.0))
    assert [labels.tolist() for _, labels in got] == [[0, 1, 0], [1, 0, 1]]
    for inputs, labels in got:
        assert type(inputs) is torch.Tensor
        assert inputs.shape == (3, 96000)
        assert inputs.dtype == torch.float32
        assert inputs.is_contiguous()
        assert labels.dtype == torch.int64


@pytest.mark.parametrize("sample_rate", [16000, 8000])
def test_a_window_is_what_the_single_calls_make_of_it(samples, sample_rate):
    got = windows_of(make_loader(samples, sample_rate=sample_rate))
    for (path, _), window in zip(samples, got, strict=True):
        waveform = dfresearch_rs.decode_audio(path, sample_rate)
        expected = dfresearch_rs.preprocess_audio(waveform, sample_rate, SECONDS)
        np.testing.assert_array_equal(window, expected)


def test_a_recording_that_is_too_short_ends_in_silence(samples):
    waveform = dfresearch_rs.decode_audio(samples[-1][0])
    assert len(waveform) < LENGTH
    for crop in ("center", "random"):
        window = windows_of(make_loader(samples[-1:], crop=crop))[0]
        np.testing.assert_array_equal(window, np.pad(waveform, (0, LENGTH - len(waveform))))


def test_random_windows_are_windows_and_differ_by_epoch_and_sample(samples):
    path = samples[0][0]
    waveform = dfresearch_rs.decode_audio(path)
    starts = set()
    loader = make_loader([(path, 0)] * 4, crop="random", batch_size=4)
    for _ in range(8):
        for window in windows_of(loader):
            matches = np.flatnonzero(waveform[: len(waveform) - LENGTH + 1] == window[0])
            (start,) = [start for start in matches if np.array_equal(waveform[start:][:LENGTH], window)]
            starts.add(start)
    assert len(starts) > 24
    assert min(starts) < 0.2 * (len(waveform) - LENGTH)
    assert max(starts) > 0.8 * (len(waveform) - LENGTH)


@pytest.mark.parametrize("num_workers", [2, 5])
def test_batches_are_bit_identical_for_any_number_of_threads(samples, num_workers):
    keywords = {"shuffle": True, "crop": "random", "augment": 3}
    expected = list(make_loader(samples, num_workers=1, **keywords))
    got = list(make_loader(samples, num_workers=num_workers, **keywords))
    for (inputs, labels), (expected_inputs, expected_labels) in zip(got, expected, strict=True):
        assert torch.equal(inputs, expected_inputs)
        assert torch.equal(labels, expected_labels)


def test_a_callable_in_the_table_gets_the_window(samples):
    def halve(waveform, rng=None):
        assert waveform.dtype == np.float32
        assert waveform.shape == (LENGTH,)
        return waveform * np.float32(0.5)

    plain = windows_of(make_loader(samples))
    np.testing.assert_array_equal(windows_of(make_loader(samples, augment=({1: [halve]}, 1))), plain / 2)


def test_what_cannot_be_decoded_is_named_and_left_out(samples, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no recording")
    empty = tmp_path / "empty.wav"
    empty.touch()
    listed = [samples[0], (text, 1), samples[1], (empty, 0), (tmp_path / "gone.wav", 1)]
    loader = make_loader(listed, batch_size=5)
    ((inputs, labels),) = list(loader)
    assert inputs.shape[0] == 2
    assert labels.tolist() == [0, 1]
    assert set(dict(loader.quarantined)) == {text, empty, tmp_path / "gone.wav"}
    assert {path for path, _ in loader.undecodable} == {text, empty}


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"crop": "left"}, "crop"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 999}, "sample_rate"),
        ({"duration_seconds": 0.0}, "duration_seconds"),
        ({"duration_seconds": float("nan")}, "duration_seconds"),
        ({"duration_seconds": 1e9}, "duration_seconds"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(samples, keywords, named):
    with pytest.raises(dfresearch_rs.ArgumentError, match=named):
        make_loader(samples, **keywords)


def test_a_codec_without_the_sampling_rate_is_refused_before_anything_is_loaded(samples):
    from dfresearch.audio_transforms import Mp3Compress, OpusCompress

    table = {1: [Mp3Compress(kilobits_per_second=(32, 64))], 2: [OpusCompress(kilobits_per_second=(16, 32))]}
    assert len(windows_of(make_loader(samples, sample_rate=44100, augment=(table, 1)))) == len(samples)
    with pytest.raises(dfresearch_rs.AugmentError, match="opus_compress: there is no sampling rate of 44100 Hz"):
        make_loader(samples, sample_rate=44100, augment=(table, 2))


def test_a_file_that_asks_for_absurd_memory_does_not_end_the_epoch(samples, tmp_path):
    """Its rate is prime and near 2^31: libswresample would need a filter of 17 GB."""
    absurd = tmp_path / "absurd.wav"
    content = bytearray(wave_file(np.zeros(2000, np.int16), 16000))
    content[24:28] = (1_999_999_973).to_bytes(4, "little")
    absurd.write_bytes(content)
    loader = make_loader([samples[0], (absurd, 1), samples[1]])
    ((inputs, _),) = list(loader)
    assert inputs.shape[0] == 2
    assert [path for path, _ in loader.undecodable] == [absurd]


def test_a_recording_of_absurd_loudness_is_left_out_where_it_would_be_augmented(samples, tmp_path):
    from dfresearch.audio_transforms import Mp3Compress

    loud = tmp_path / "loud.wav"
    loud.write_bytes(wave_file(np.full(8000, 3e38, np.float32), 16000))
    listed = [samples[0], (loud, 1), samples[1]]
    assert len(windows_of(make_loader(listed))) == 3
    loader = make_loader(listed, augment=({1: [Mp3Compress(kilobits_per_second=(32, 64))]}, 1))
    assert np.isfinite(windows_of(loader)).all()
    assert [path for path, _ in loader.undecodable] == [loud]


def test_a_position_of_other_windows_is_refused(samples):
    state = make_loader(samples).state_dict()
    make_loader(samples).load_state_dict(state)
    with pytest.raises(dfresearch_rs.ArgumentError, match="saved with"):
        make_loader(samples, crop="random").load_state_dict(state)
