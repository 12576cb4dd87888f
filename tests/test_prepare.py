"""`prepare.py`: constants, the evaluation that every score comes from, and the data commands."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import prepare
from dfresearch import data, demo
from dfresearch.training import TrainingError, run_to_exit_code


class Constant(nn.Module):
    """A model that gives the logits it was made with, batch after batch, and remembers how it was called."""

    def __init__(self, *batches):
        super().__init__()
        self.dropout = nn.Dropout()
        self.frozen = nn.BatchNorm1d(1)
        self.batches = iter(batches)
        self.modes = []

    def forward(self, inputs):
        self.modes.append((self.training, torch.is_grad_enabled(), inputs.device.type))
        return next(self.batches)


def batch(*labels):
    return torch.zeros(len(labels), 3, 4, 4, dtype=torch.uint8), torch.tensor(labels)


# Constants


def test_the_constants_are_those_that_scripts_import():
    assert prepare.TIME_BUDGET == 600
    assert prepare.TARGET_IMAGE_SIZE == prepare.TARGET_VIDEO_SIZE == (224, 224)
    assert (prepare.NUM_VIDEO_FRAMES, prepare.AUDIO_SAMPLE_RATE) == (16, 16000)
    assert (prepare.AUDIO_DURATION, prepare.AUDIO_SAMPLES) == (6.0, 96000)
    assert prepare.DEFAULT_IMAGE_BATCH_SIZE == 32
    assert prepare.DEFAULT_VIDEO_BATCH_SIZE == 4
    assert prepare.DEFAULT_AUDIO_BATCH_SIZE == 16
    assert (prepare.LABEL_REAL, prepare.LABEL_SYNTHETIC) == (0, 1)


# Evaluation


def test_the_score_of_hand_made_predictions():
    scores = prepare.compute_sn34_score([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9])
    # One false positive: tp 2, tn 1, fp 1, fn 0.
    mcc = (2 * 1 - 1 * 0) / math.sqrt(3 * 2 * 2 * 1)
    brier = (0.01 + 0.36 + 0.09 + 0.01) / 4
    assert scores["mcc"] == pytest.approx(mcc, abs=1e-12)
    assert scores["brier"] == pytest.approx(brier, abs=1e-12)
    assert scores["accuracy"] == 0.75
    assert scores["sn34_score"] == pytest.approx(
        math.sqrt(((mcc + 1) / 2) ** 1.2 * (1 - brier) ** 1.8),
        abs=1e-12,
    )


def test_other_exponents_change_the_documented_score_alone():
    labels, probabilities = [0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9]
    default = prepare.compute_sn34_score(labels, probabilities)
    other = prepare.compute_sn34_score(labels, probabilities, alpha=2.0, beta=0.5)
    expected = math.sqrt(default["mcc_norm"] ** 2.0 * default["brier_norm"] ** 0.5)
    assert other.pop("sn34_score") == pytest.approx(expected, abs=1e-12)
    assert default.pop("sn34_score") != pytest.approx(expected, abs=1e-3)
    assert other == default


def test_no_samples_have_the_documented_values():
    scores = prepare.compute_sn34_score([], [])
    keys = ("sn34_score", "mcc", "mcc_norm", "brier", "brier_norm", "accuracy")
    assert [scores[key] for key in keys] == [0, 0, 0.5, 0.25, 0.75, 0]


def test_two_logits_go_through_a_softmax():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]])
    scores = prepare.evaluate_model(Constant(logits[:2], logits[2:]), [batch(0, 1), batch(1)], device="cpu")
    probabilities = [1 / (1 + math.exp(2.0 - 1.0)), 1 / (1 + math.exp(-3.0)), 0.5]
    expected = prepare.compute_sn34_score([0, 1, 1], probabilities)
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_one_logit_goes_through_a_sigmoid(shape):
    logits = torch.tensor([-1.0, 2.0]).reshape(shape)
    scores = prepare.evaluate_model(Constant(logits), [batch(0, 1)], device="cpu")
    expected = prepare.compute_sn34_score([0, 1], [1 / (1 + math.e), 1 / (1 + math.exp(-2.0))])
    assert scores == pytest.approx(expected, abs=1e-6)


def test_logits_of_half_precision_are_widened_before_the_softmax():
    logits = torch.tensor([[0.0, 9.0], [9.0, 0.0]], dtype=torch.bfloat16)
    scores = prepare.evaluate_model(Constant(logits), [batch(1, 0)], device="cpu")
    # A softmax in bfloat16 would round 1 / (1 + e^9) away from 1 - p.
    assert scores["brier"] == pytest.approx((1 / (1 + math.exp(9.0))) ** 2, rel=1e-3)


@pytest.mark.parametrize("was_training", [True, False])
def test_every_module_gets_its_mode_back(was_training):
    model = Constant(torch.zeros(1, 2), torch.zeros(1, 2)).train(was_training)
    model.frozen.eval()
    prepare.evaluate_model(model, [batch(0), batch(1)], device="cpu")
    assert model.modes == [(False, False, "cpu")] * 2
    assert model.training is model.dropout.training is was_training
    assert model.frozen.training is False


def test_a_failing_model_gets_its_mode_back_too():
    model = Constant(torch.zeros(1, 5)).train()
    with pytest.raises(ValueError, match=r"\(1, 5\) for 1 samples"):
        prepare.evaluate_model(model, [batch(0)], device="cpu")
    assert model.training


def test_logits_may_be_an_attribute_of_the_output():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    scores = prepare.evaluate_model(Constant(SimpleNamespace(logits=logits)), [batch(0, 1)], device="cpu")
    assert scores == prepare.evaluate_model(Constant(logits), [batch(0, 1)], device="cpu")
    with pytest.raises(ValueError, match="the model gave a tuple"):
        prepare.evaluate_model(Constant((logits, logits)), [batch(0, 1)], device="cpu")


def test_scores_take_lists_arrays_and_tensors():
    labels, probabilities = [0, 0, 1, 1], [0.125, 0.625, 0.75, 0.875]
    expected = prepare.compute_sn34_score(labels, probabilities)
    for convert in (np.array, torch.tensor):
        assert prepare.compute_sn34_score(convert(labels), convert(probabilities)) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_an_error(bad):
    logits = torch.tensor([[0.0, bad], [0.0, 1.0]])
    with pytest.raises(TrainingError, match="1 logits that are NaN or infinite"):
        prepare.evaluate_model(Constant(logits), [batch(0, 1)], device="cpu")


def test_without_cuda_the_cpu_evaluates_and_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = Constant(torch.tensor([[0.0, 1.0]]))
    with pytest.warns(UserWarning, match="no CUDA device"):
        prepare.evaluate_model(model, [batch(1)])
    assert model.modes == [(False, False, "cpu")]


def test_a_loader_without_batches_scores_as_no_samples():
    assert prepare.evaluate_model(Constant(), [], device="cpu") == prepare.compute_sn34_score([], [])


# Data commands


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two datasets that are defined, of which one is empty, and an empty folder of own definitions."""
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    definitions = tmp_path / "cache" / "gasbench_configs" / "image_datasets.yaml"
    definitions.parent.mkdir(parents=True)
    definitions.write_text(
        "datasets:\n"
        "  - {name: photos, path: local/photos, modality: image, media_type: real}\n"
        "  - {name: renders, path: local/renders, modality: image, media_type: synthetic}\n"
    )
    folder = tmp_path / "cache" / "datasets" / "image" / "photos"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    return tmp_path / "cache"


def command(*arguments):
    return run_to_exit_code(lambda: prepare.run(prepare.parse_arguments(arguments)))


def test_verify_prints_a_line_per_dataset(cache, capsys):
    assert command("--verify", "--modality", "image") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["photos", "real", "3", "0", "OK"] in lines
    assert ["renders", "synthetic", "0", "0", "MISSING"] in [line[:5] for line in lines]


def test_verify_takes_all_modalities_unless_one_is_named(cache, capsys):
    assert command("--verify") == 0
    output = capsys.readouterr().out
    assert all(f" {modality} samples: " in output for modality in prepare.MODALITIES)


def test_verify_fails_when_nothing_is_usable(cache, capsys):
    assert command("--verify", "--modality", "video") == 1
    assert "no usable sample" in capsys.readouterr().err


def test_verify_cache_returns_the_number_of_samples(cache):
    assert prepare.verify_cache("image") == 3


def test_verify_shows_the_datasets_that_are_chosen(cache, capsys):
    assert command("--verify", "--modality", "image", "--datasets", "ren*") == 1
    lines = [line.split()[:1] for line in capsys.readouterr().out.splitlines()]
    assert ["renders"] in lines
    assert ["photos"] not in lines
    assert command("--verify", "--modality", "image", "--media-type", "real") == 0
    assert "3 image samples: 3 real, 0 synthetic" in capsys.readouterr().out


def test_what_is_said_of_files_is_narrowed_too(cache, capsys):
    broken = cache / "datasets/image/photos/broken.png"
    broken.write_bytes(b"no picture")
    (cache / "datasets/image/unknown").mkdir()
    (cache / "datasets/image/unknown/a.png").write_bytes(b"no picture either")
    assert command("--verify", "--modality", "image", "--datasets", "ren*") == 1
    output = capsys.readouterr().out
    assert "0 files quarantined" in output
    assert str(broken) not in output
    assert "no definition" not in output
    assert command("--verify", "--modality", "image") == 0
    output = capsys.readouterr().out
    assert "1 files quarantined" in output
    assert f"quarantined: {broken}" in output
    assert "no definition" in output


@pytest.mark.parametrize("arguments", [["--verify"], ["--check"], ["--verify", "--modality", "image"]])
def test_a_pattern_that_fits_nothing_is_an_error(cache, capsys, arguments):
    assert command(*arguments, "--datasets", "ren*", "--datasets", "rendres") == 1
    assert "'rendres' fits none of" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(cache):
    root = Path(prepare.__file__).parent
    environment = {**os.environ, "DFRESEARCH_CACHE": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join([str(root / "python"), str(root)])
    reader, writer = os.pipe()
    os.close(reader)
    command_line = [sys.executable, root / "prepare.py", "--verify"]
    finished = subprocess.run(
        command_line, stdout=writer, stderr=subprocess.PIPE, env=environment, cwd=cache, text=True, check=False
    )
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (141, "")


def test_verify_as_json_is_nothing_but_json(cache, capsys):
    (cache / "datasets" / "image" / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (cache / "datasets" / "image" / "stray").mkdir()
    Image.new("RGB", (8, 8)).save(cache / "datasets" / "image" / "stray" / "a.png")
    assert command("--verify", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(prepare.MODALITIES)
    image = found["image"]
    assert (image["samples"], image["real"], image["synthetic"]) == (3, 3, 0)
    photos, renders = image["datasets"]
    assert (photos["name"], photos["media_type"], photos["samples"], photos["quarantined"]) == ("photos", "real", 3, 1)
    assert (renders["status"], renders["samples"]) == ("MISSING", 0)
    assert [Path(entry["file"]).name for entry in image["quarantined"]] == ["broken.jpg"]
    assert [Path(folder).name for folder in image["undefined_folders"]] == ["stray"]
    assert found["video"]["datasets"] == []


@pytest.mark.parametrize("modality", prepare.MODALITIES)
@pytest.mark.parametrize("error", [ValueError("nothing to build it from"), demo.ToolError("nothing to build it from")])
def test_demonstration_data_that_cannot_be_built_is_one_line(monkeypatch, capsys, modality, error):
    def fail(_root):
        raise error

    monkeypatch.setattr(demo, f"build_{modality}_demo", fail)
    assert command("--demo", "--modality", modality) == 1
    assert capsys.readouterr().err == f"error: no demonstration data for {modality}: nothing to build it from\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--demo", "--verify"],
        ["--dry-run", "--check"],
        ["--json"],
        ["--check", "--rescan"],
        ["--max-samples", "0"],
        ["--workers", "-1"],
        ["--max-disk-gb", "0"],
        ["--media-type", "fake"],
    ],
)
def test_command_lines_that_mean_nothing_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        prepare.parse_arguments(arguments)
    assert "usage:" in capsys.readouterr().err


def test_a_cache_that_is_a_file_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    assert run_to_exit_code(lambda: prepare.run(prepare.parse_arguments(["--verify"]))) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/cache/")
    assert "Not a directory" in error
