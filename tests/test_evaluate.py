"""`evaluate.py`: which checkpoints it scores, and how it refuses the others."""

from pathlib import Path

import pytest
import torch
import yaml
from training_runs import CHECKPOINT, MODEL, evaluated, make_workplace, summary_of, train

import dfresearch_rs
import evaluate
from dfresearch import training


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    return make_workplace(tmp_path, monkeypatch)


def test_missing_weights_are_named(workplace, capsys):
    assert evaluated("image", None, CHECKPOINT / "model.safetensors", 8) == 1
    assert "results/checkpoints/image/model.safetensors: no such weights" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(workplace, capsys):
    assert train(steps=1) == 0
    assert evaluated("image", "efficientnet-b4", CHECKPOINT / "model.safetensors", 8) == 1
    assert "forensic-cnn, not of efficientnet-b4" in capsys.readouterr().err


def test_bare_weights_need_a_model_name(workplace, capsys):
    assert train(steps=1) == 0
    bare = Path("bare/model.safetensors")
    bare.parent.mkdir()
    bare.write_bytes((CHECKPOINT / "model.safetensors").read_bytes())
    assert evaluated("image", None, bare, 8) == 1
    assert "--model" in capsys.readouterr().err
    passed = evaluated("image", MODEL, bare, 8) == 0
    output = capsys.readouterr().out
    assert ("PASS" in output, "FAIL" in output) == (passed, not passed)
    assert passed == (float(summary_of(output)["accuracy"]) >= 0.8)


def edited(name, edit):
    path = CHECKPOINT / name
    path.write_text(edit(path.read_text()))


def truncate_weights():
    path = CHECKPOINT / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_weights():
    dfresearch_rs.save_safetensors({"classifier.weight": torch.zeros(2, 3)}, CHECKPOINT / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate_weights, "model.safetensors does not load through model.py: SafetensorError"),
        (other_weights, "model.safetensors does not load through model.py: RuntimeError"),
        (lambda: edited("model_config.yaml", lambda text: "name: [broken"), "model_config.yaml: line"),
        (lambda: edited("model_config.yaml", lambda text: ""), "model_config.yaml: is empty"),
        (lambda: edited("model_config.yaml", lambda text: text + "dtype: fp8\n"), 'dtype is "fp8"'),
        (lambda: edited("model_config.yaml", lambda text: text.replace("model:", "model: 3 #")), "model_config.yaml"),
        (lambda: edited("model.py", lambda text: "this is no Python"), "model.py: line 1"),
        (lambda: edited("model.py", lambda text: "import torch\n1 / 0\n" + text[text.index("def ") :]), "model.py"),
    ],
)
def test_a_damaged_checkpoint_is_one_error_without_a_traceback(workplace, capsys, damage, message):
    assert train(steps=1) == 0
    capsys.readouterr()
    damage()
    assert evaluated("image", MODEL, CHECKPOINT / "model.safetensors", 8) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.out == ""


def test_a_model_file_that_the_competition_refuses_is_not_executed(workplace, capsys):
    assert train(steps=1) == 0
    edited("model.py", lambda text: text + '\nimport os\n\nos.mkdir("executed")\n')
    assert evaluated("image", MODEL, CHECKPOINT / "model.safetensors", 8) == 1
    assert 'imports "os"' in capsys.readouterr().err
    assert not Path("executed").exists()


def test_a_checkpoint_of_another_modality_is_refused(workplace, capsys):
    assert train(steps=1) == 0
    edited("model_config.yaml", lambda text: yaml.safe_dump(yaml.safe_load(text) | {"modality": "audio"}))
    assert evaluated("image", None, CHECKPOINT / "model.safetensors", 8) == 1
    assert "of a model for audio, not for image" in capsys.readouterr().err


class AskedForDataError(Exception):
    """The evaluation has come as far as its data."""


@pytest.mark.parametrize(
    ("modality", "preprocessing", "inputs"),
    [
        ("image", {"resize": [40, 24]}, {"target_size": (40, 24)}),
        (
            "video",
            {"resize": [40, 24], "num_frames": 8},
            {"target_size": (40, 24), "num_frames": 8, "sampling": "first"},
        ),
        (
            "video",
            {"resize": [40, 24], "num_frames": 8, "frame_rate": 5},
            {"target_size": (40, 24), "num_frames": 8, "sampling": "rate", "frame_rate": 5},
        ),
        ("audio", {"sample_rate": 16000, "duration_seconds": 6.0}, {}),
    ],
)
def test_the_data_is_what_the_configuration_makes_the_competition_feed(
    tmp_path, monkeypatch, modality, preprocessing, inputs
):
    def make_dataloader(*arguments, **options):
        raise AskedForDataError(arguments, options)

    monkeypatch.setattr(evaluate, "make_dataloader", make_dataloader)
    monkeypatch.setattr(evaluate, "load_detector", lambda *arguments: torch.nn.Linear(1, 2))
    (tmp_path / "model.safetensors").write_bytes(b"")
    config = {"modality": modality, "preprocessing": preprocessing, "model": {"num_classes": 2}}
    (tmp_path / "model_config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(AskedForDataError) as asked:
        evaluate.run(modality, None, tmp_path / "model.safetensors", 3)
    arguments, options = asked.value.args
    assert arguments == (modality,)
    assert {"sampling": "first", **options} == {"split": "val", "batch_size": 3, "sampling": "first"} | inputs


def test_more_frames_than_the_competition_feeds_are_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    config = {"modality": "video", "preprocessing": {"resize": [8, 8], "num_frames": 65}}
    (tmp_path / "model_config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(dfresearch_rs.SubmissionError, match="num_frames is 65: 1 to 64 frames are expected"):
        evaluate.read_config(tmp_path / "model.safetensors", "video", None)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_without_weights_of_any_modality_the_place_is_named(tmp_path, modality):
    weights = evaluate.parse_arguments(["--modality", modality]).weights
    assert weights == Path(f"results/checkpoints/{modality}/model.safetensors")
    with pytest.raises(training.TrainingError, match=f"checkpoints/{modality}/model.safetensors: no such weights"):
        evaluate.read_config(weights, modality, None)
