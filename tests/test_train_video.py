"""The frames that `train_video.py` trains on, and those that it is judged by."""

import pytest
import torch
import yaml
from training_runs import checkpoint, evaluated, make_workplace, settings, summary_of, train

import dfresearch_rs
import train_video


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    return make_workplace(tmp_path, monkeypatch, "video")


def clips_of(loader):
    return torch.cat([inputs for inputs, _ in loader])


def decoded(path, **options):
    frames = dfresearch_rs.decode_video(path, num_frames=train_video.NUM_FRAMES, **options)
    frames = dfresearch_rs.preprocess_video(frames, train_video.TARGET_SIZE)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("sampling", "frame_rate", "validated"),
    [
        ("first", None, {"sampling": "first"}),
        ("rate", 4.0, {"sampling": "rate", "frame_rate": 4.0}),
        # The competition knows no uniform sampling: the model is judged by what it will be fed.
        ("uniform", None, {"sampling": "first"}),
    ],
)
def test_the_validation_takes_the_frames_that_the_competition_will_take(
    workplace, monkeypatch, sampling, frame_rate, validated
):
    monkeypatch.setattr(train_video, "SAMPLING", sampling)
    monkeypatch.setattr(train_video, "FRAME_RATE", frame_rate)
    monkeypatch.setattr(train_video, "NUM_FRAMES", 2)
    loader = train_video.build_loader("val", settings("video"))
    for clip, (path, _) in zip(clips_of(loader), loader.dataset, strict=True):
        assert torch.equal(clip, decoded(path, **validated))


def test_training_takes_the_frames_of_the_knobs(workplace, monkeypatch):
    monkeypatch.setattr(train_video, "AUGMENT_LEVEL", 0)
    monkeypatch.setattr(train_video, "NUM_FRAMES", 2)
    seen = {}
    for sampling, frame_rate in (("first", None), ("rate", 4.0), ("uniform", None)):
        monkeypatch.setattr(train_video, "SAMPLING", sampling)
        monkeypatch.setattr(train_video, "FRAME_RATE", frame_rate)
        loader = train_video.build_loader("train", settings("video", batch_size=1))
        seen[sampling] = {clip.numpy().tobytes() for clip in clips_of(loader)}
        options = {"sampling": sampling, "frame_rate": frame_rate}
        assert seen[sampling] == {decoded(path, **options).numpy().tobytes() for path, _ in loader.dataset}
    assert seen["first"] != seen["rate"] != seen["uniform"]


def test_the_frame_rate_stands_in_the_configuration_and_the_evaluation_follows_it(workplace, monkeypatch, capsys):
    monkeypatch.setattr(train_video, "SAMPLING", "rate")
    monkeypatch.setattr(train_video, "FRAME_RATE", 4.0)
    assert train(modality="video") == 0
    trained = summary_of(capsys.readouterr().out)
    assert trained["num_frames"] == "4"
    content = yaml.safe_load((checkpoint("video") / "model_config.yaml").read_text())
    assert content["preprocessing"] == {"resize": [32, 32], "num_frames": 4, "frame_rate": 4.0}
    evaluated("video", None, checkpoint("video") / "model.safetensors", 8)
    scores = summary_of(capsys.readouterr().out)
    assert float(scores["brier"]) == pytest.approx(float(trained["brier"]), abs=1e-5)


@pytest.mark.parametrize(
    ("sampling", "frame_rate", "message"),
    [("rate", None, "frame_rate"), ("first", 8.0, "frame_rate"), ("last", None, "sampling"), ("rate", -1.0, "-1")],
)
def test_frames_that_cannot_be_chosen_are_one_line(workplace, monkeypatch, capsys, sampling, frame_rate, message):
    monkeypatch.setattr(train_video, "SAMPLING", sampling)
    monkeypatch.setattr(train_video, "FRAME_RATE", frame_rate)
    assert train(modality="video") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.out == ""


def test_more_frames_than_the_competition_feeds_are_refused_before_training(workplace, monkeypatch, capsys):
    monkeypatch.setattr(train_video, "NUM_FRAMES", 65)
    assert train(modality="video") == 1
    captured = capsys.readouterr()
    assert "num_frames is 65" in captured.err
    # The file that was checked is gone: its name would send the reader nowhere.
    assert "model_config.yaml" not in captured.err
    assert captured.out == ""
