"""Clips through the loader: frames, sampling, augmentation, faults."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from media_files import write_clip

import dfresearch_rs

SIZE = (32, 40)
NUM_FRAMES = 8


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[tuple[Path, int]]:
    """Six clips: three containers, the last one shorter than what is loaded."""
    folder = tmp_path_factory.mktemp("clips")
    names = ["a.mp4", "b.webm", "c.avi", "d.mp4", "e.mp4", "short.mp4"]
    frames = [20, 20, 20, 20, 40, 3]
    clips = zip(names, frames, strict=True)
    # Two frames a second: each is visibly another.
    return [
        (write_clip(folder / name, frames=count, rate=2, hue=60 * number), number % 2)
        for number, (name, count) in enumerate(clips)
    ]


def make_loader(samples, **keywords):
    defaults = {"modality": "video", "batch_size": 3, "size": SIZE, "num_frames": NUM_FRAMES, "num_workers": 2}
    return dfresearch_rs.Loader(samples, **(defaults | keywords))


def clips_of(loader) -> np.ndarray:
    """The epoch's clips as [N, T, H, W, 3]."""
    return torch.cat([inputs for inputs, _ in loader]).permute(0, 1, 3, 4, 2).numpy()


def test_batches_are_tensors_of_the_documented_kind(samples):
    got = list(make_loader(samples))
    assert [labels.tolist() for _, labels in got] == [[0, 1, 0], [1, 0, 1]]
    for inputs, labels in got:
        assert type(inputs) is torch.Tensor
        assert inputs.shape == (3, NUM_FRAMES, 3, *SIZE)
        assert inputs.dtype == torch.uint8
        assert inputs.is_contiguous()
        assert labels.dtype == torch.int64


@pytest.mark.parametrize("mode", ["competition", "stretch"])
@pytest.mark.parametrize(("sampling", "frame_rate"), [("first", None), ("rate", 1.0), ("uniform", None)])
def test_a_clip_is_what_the_single_calls_make_of_it(samples, mode, sampling, frame_rate):
    got = clips_of(make_loader(samples, mode=mode, sampling=sampling, frame_rate=frame_rate))
    for (path, _), clip in zip(samples, got, strict=True):
        frames = dfresearch_rs.decode_video(path, NUM_FRAMES, sampling, frame_rate)
        np.testing.assert_array_equal(clip, dfresearch_rs.preprocess_video(frames, SIZE, mode=mode))
        images = [dfresearch_rs.preprocess_image(frame, SIZE, mode=mode) for frame in frames]
        np.testing.assert_array_equal(clip, images)


def test_a_clip_that_is_too_short_repeats_its_last_frame(samples):
    short = clips_of(make_loader(samples[-1:]))[0]
    assert not np.array_equal(short[1], short[2])
    for frame in short[3:]:
        np.testing.assert_array_equal(frame, short[2])


def test_a_folder_of_frames_is_a_clip(tmp_path):
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (11, *SIZE, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), frame[..., ::-1])
    np.testing.assert_array_equal(clips_of(make_loader([(tmp_path, 0)]))[0], frames[:NUM_FRAMES])


@pytest.mark.parametrize("num_workers", [2, 5])
def test_batches_are_bit_identical_for_any_number_of_threads(samples, num_workers):
    keywords = {"shuffle": True, "augment": 3}
    expected = list(make_loader(samples, num_workers=1, **keywords))
    got = list(make_loader(samples, num_workers=num_workers, **keywords))
    for (inputs, labels), (expected_inputs, expected_labels) in zip(got, expected, strict=True):
        assert torch.equal(inputs, expected_inputs)
        assert torch.equal(labels, expected_labels)


def test_parameters_are_the_clips_and_noise_is_the_frames(tmp_path):
    grey = np.full((*SIZE, 3), 128, np.uint8)
    for number in range(NUM_FRAMES):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), grey)
    samples = [(tmp_path, 0)]

    def augmented(operation) -> np.ndarray:
        return clips_of(make_loader(samples, augment=({1: [operation]}, 1)))[0]

    from dfresearch.transforms import ColorShift, GaussianNoise

    shifted = augmented(ColorShift(magnitude=(20, 40)))
    assert not np.array_equal(shifted[0], grey)
    for frame in shifted[1:]:
        np.testing.assert_array_equal(frame, shifted[0])

    noisy = augmented(GaussianNoise(sigma=(10, 10)))
    for first in range(NUM_FRAMES):
        for second in range(first):
            assert not np.array_equal(noisy[first], noisy[second])
    deviations = noisy.astype(float).std(axis=(1, 2, 3))
    assert np.all(np.abs(deviations - 10) < 1.5)


def test_noise_differs_in_frames_that_stand_in_for_missing_ones(samples):
    from dfresearch.transforms import GaussianNoise

    clip = clips_of(make_loader(samples[-1:], augment=({1: [GaussianNoise(sigma=(10, 10))]}, 1)))[0]
    plain = clips_of(make_loader(samples[-1:]))[0].astype(float)
    assert not np.array_equal(clip[-1], clip[-2])
    # Each is the same picture with noise of its own, not noise upon noise.
    assert np.abs(clip[-1] - plain[-1]).mean() < 1.5 * np.abs(clip[2] - plain[2]).mean()


def test_clips_are_not_mirrored(samples):
    """Level 1 flips half of all images; with the operations taken out nothing is left to do to a clip."""
    plain = clips_of(make_loader(samples))
    for epoch in range(4):
        np.testing.assert_array_equal(clips_of(make_loader(samples, augment=({1: []}, 1), epoch=epoch)), plain)


def test_what_cannot_be_decoded_is_named_and_left_out(samples, tmp_path):
    whole = samples[0][0].read_bytes()
    broken = tmp_path / "truncated.mp4"
    broken.write_bytes(whole[: len(whole) // 3])
    text = tmp_path / "text.mp4"
    text.write_text("no clip")
    listed = [samples[0], (broken, 1), samples[1], (text, 0), (tmp_path / "gone.mp4", 1)]
    loader = make_loader(listed, batch_size=5)
    ((inputs, labels),) = list(loader)
    assert inputs.shape[0] == 2
    assert labels.tolist() == [0, 1]
    reasons = dict(loader.quarantined)
    assert set(reasons) == {broken, text, tmp_path / "gone.mp4"}
    assert all(reasons.values())
    assert {path for path, _ in loader.undecodable} == {broken, text}


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": 1_000_000}, "num_frames"),
        ({"sampling": "random"}, "sampling"),
        ({"sampling": "rate"}, "frame_rate"),
        ({"sampling": "rate", "frame_rate": 0.0}, "frame_rate"),
        ({"sampling": "rate", "frame_rate": float("nan")}, "frame_rate"),
        ({"size": (0, 4)}, "size"),
        ({"mode": "crop"}, "mode"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(samples, keywords, named):
    with pytest.raises(dfresearch_rs.ArgumentError, match=named):
        make_loader(samples, **keywords)


@pytest.mark.parametrize("other", [{"sampling": "uniform"}, {"num_frames": 4}, {"augment": 1}])
def test_a_position_of_other_clips_is_refused(samples, other):
    state = make_loader(samples).state_dict()
    make_loader(samples).load_state_dict(state)
    with pytest.raises(dfresearch_rs.ArgumentError, match="saved with"):
        make_loader(samples, **other).load_state_dict(state)
