import importlib
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import export
from dfresearch.models import MODEL_REGISTRY, model_module
from dfresearch.submission import check_archive_loads
from dfresearch_rs import SubmissionError, save_safetensors, write_checkpoint

SOURCE = '''"""A detector small enough for tests."""

import torch
from safetensors.torch import load_file
from torch import nn


class Tiny(nn.Module):
    def __init__(self, num_classes=2, pretrained=True, dropout=0.0):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, x):
        return self.head(x.to(self.head.weight.dtype).mean(dim=(-1, -2)))


def load_model(weights_path, num_classes=2):
    model = Tiny(num_classes)
    model.load_state_dict(load_file(weights_path))
    model.train(False)
    return model
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A registered detector; its checkpoint lies in results/checkpoints/image of the working folder."""
    (tmp_path / "tiny_detector.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("tiny_detector")
    monkeypatch.setitem(MODEL_REGISTRY["image"], "tiny", module.Tiny)
    model = module.Tiny()
    config = export.generate_model_config("image", "tiny", {"resize": (8, 12)})
    folder = Path("results/checkpoints/image")
    write_checkpoint(folder, config, export.generate_model_py("image", "tiny"), model.state_dict())
    yield folder
    del sys.modules["tiny_detector"]


def test_the_archive_lies_where_the_commands_say(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        archive = export.export_model("image", "tiny")
    assert archive == Path("results/exports/image_detector_tiny.zip")
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    with zipfile.ZipFile(archive) as submission:
        assert submission.read("model.py").decode() == SOURCE
        assert yaml.safe_load(submission.read("model_config.yaml"))["preprocessing"] == {"resize": [8, 12]}
    check_archive_loads(archive)


# What each modality's model is tried with: batch, dtype, smallest and largest value.
TRIALS = {
    "video": ({"resize": (8, 12), "num_frames": 3}, "(2, 3, 3, 8, 12)", "uint8", (0, 255)),
    "audio": ({}, "(2, 96000)", "float32", (-1, 1)),
}


@pytest.mark.parametrize("modality", TRIALS)
def test_clips_and_recordings_are_tried_as_the_competition_feeds_them(tmp_path, monkeypatch, modality):
    preprocessing, shape, dtype, (low, high) = TRIALS[modality]
    source = SOURCE.replace(
        "        return self.head(x.to(self.head.weight.dtype).mean(dim=(-1, -2)))",
        f"""        if tuple(x.shape) != {shape} or x.dtype != torch.{dtype} or x.min() < {low} or x.max() > {high}:
            raise ValueError(f"fed with {{x.dtype}} {{tuple(x.shape)}}")
        return self.head(x.float().flatten(1)[:, :3])""",
    )
    assert "fed with" in source
    (tmp_path / f"tiny_{modality}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"tiny_{modality}")
    monkeypatch.setitem(MODEL_REGISTRY[modality], "tiny", module.Tiny)
    config = export.generate_model_config(modality, "tiny", preprocessing)
    folder = Path("results/checkpoints") / modality
    write_checkpoint(folder, config, export.generate_model_py(modality, "tiny"), module.Tiny().state_dict())
    assert export.export_model(modality, "tiny") == Path(f"results/exports/{modality}_detector_tiny.zip")
    wrong = source.replace("[:, :3])", "[:, :3])[:1]")
    (folder / "model.py").write_text(wrong)
    with pytest.raises(SubmissionError, match=r"not logits \(2, 2\)"):
        export.export_model(modality, "tiny")
    del sys.modules[f"tiny_{modality}"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (SOURCE.replace("num_classes)\n\n    def", "3)\n\n    def"), "size mismatch"),
        (SOURCE.replace("return model", "return None"), "not a torch.nn.Module"),
        (SOURCE.replace("return self.head(", "return torch.zeros(2, 1) + self.head("), None),
        (SOURCE.replace(".mean(dim=(-1, -2)))", ".mean(dim=(-1, -2)))[:1]"), r"not logits \(2, 2\)"),
        (SOURCE.replace("return self.head(", "return torch.nan * self.head("), "not finite"),
        (SOURCE.replace("import torch\n", "import torch\nimport timm.nowhere\n"), "nowhere"),
    ],
)
def test_a_submission_must_load_and_run(tiny, broken, message):
    (tiny / "model.py").write_text(broken)
    if message is None:
        assert export.export_model("image", "tiny").exists()
        return
    with pytest.raises(SubmissionError, match=message):
        export.export_model("image", "tiny")
    assert list(Path("results/exports").iterdir()) == []


def test_the_configured_dtype_is_tried(tiny):
    config = (tiny / "model_config.yaml").read_text()
    (tiny / "model_config.yaml").write_text(config + "dtype: bf16\n")
    assert export.export_model("image", "tiny").exists()


def test_weights_that_are_not_finite_are_warned_of(tiny):
    source = SOURCE.replace(
        "        self.head = ", "        self.register_buffer('mask', torch.zeros(1))\n        self.head = "
    )
    (tiny / "model.py").write_text(source)
    state = {"head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2), "mask": torch.tensor([-torch.inf])}
    save_safetensors(state, tiny / "model.safetensors")
    with pytest.warns(UserWarning, match="NaN or infinity in mask"):
        export.export_model("image", "tiny")


def test_another_models_checkpoint_is_refused(tiny, monkeypatch):
    monkeypatch.setitem(MODEL_REGISTRY["image"], "other", MODEL_REGISTRY["image"]["tiny"])
    with pytest.raises(SubmissionError, match="is dfresearch-tiny, not dfresearch-other"):
        export.export_model("image", "other")
    (tiny / "model_config.yaml").write_text("modality: audio\n")
    with pytest.raises(SubmissionError, match="of modality audio, not image"):
        export.export_model("image", "tiny")


def test_what_is_missing_is_said(tiny):
    (tiny / "model_config.yaml").unlink()
    (tiny / "model.py").unlink()
    with pytest.warns(UserWarning, match="is missing: written with the defaults"):
        export.export_model("image", "tiny")
    assert (tiny / "model.py").read_text() == SOURCE
    (tiny / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"run train_image\.py first"):
        export.export_model("image", "tiny")
    with pytest.raises(ValueError, match="nonesuch"):
        export.export_model("image", "nonesuch")


def test_configurations_say_what_was_trained():
    config = export.generate_model_config("video", "r3d-18", {"num_frames": 8, "frame_rate": 5, "resize": (112, 96)})
    assert config == {
        "name": "dfresearch-r3d-18",
        "version": "1.0.0",
        "modality": "video",
        "preprocessing": {"resize": [112, 96], "num_frames": 8, "frame_rate": 5},
        "model": {"num_classes": 2, "weights_file": "model.safetensors"},
    }
    assert yaml.safe_load(yaml.dump(config)) == config
    assert export.generate_model_config("video", "x", {"frame_rate": None})["preprocessing"] == {
        "resize": [224, 224],
        "num_frames": 16,
    }
    assert export.generate_model_config("audio", "ast")["preprocessing"] == {
        "sample_rate": 16000,
        "duration_seconds": 6.0,
    }
    image = export.generate_model_config("image", "x", {"target_size": (64, 32)})
    assert image["preprocessing"] == {"resize": [64, 32]}
    assert export.PREPROCESSING_CONFIGS["video"] == {"resize": [224, 224], "num_frames": 16}
    with pytest.raises(ValueError, match="smell"):
        export.generate_model_config("smell", "x")


def test_every_registered_model_is_acceptable():
    for modality, models in export.MODEL_MODULES.items():
        assert list(models) == list(MODEL_REGISTRY[modality])
        for name, module in models.items():
            assert module == model_module(modality, name)
            assert "def load_model(" in export.generate_model_py(modality, name)


def test_a_class_without_a_file_is_refused(monkeypatch):
    class Loose(torch.nn.Module):
        pass

    monkeypatch.setattr(Loose, "__module__", "nowhere_at_all")
    monkeypatch.setitem(MODEL_REGISTRY["image"], "loose", Loose)
    with pytest.raises(SubmissionError, match="file of its own"):
        export.generate_model_py("image", "loose")


def test_the_command_prints_what_comes_next(tiny, capsys):
    assert export.main(["--modality", "image", "--model", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "gasbench run --image-model results/checkpoints/image/ --small" in printed
    assert "gascli d push --image-model results/exports/image_detector_tiny.zip" in printed


def test_the_command_reads_the_settings_file(tmp_path):
    (tmp_path / "export.py").write_bytes(Path(export.__file__).read_bytes())
    (tmp_path / ".env").write_text("DFRESEARCH_RESULTS=elsewhere\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_DOTENV_DISABLED"}
    environment["PYTHONPATH"] = str(Path(export.__file__).parent / "python")
    command = [sys.executable, "export.py", "--modality", "image", "--model", "forensic-cnn"]
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "no weights at elsewhere/checkpoints/image/model.safetensors" in finished.stderr


def test_the_command_fails_with_a_reason(tmp_path):
    script = Path(export.__file__)
    command = [sys.executable, str(script), "--modality", "image", "--model", "nonesuch", "--output-dir", str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert "nonesuch" in finished.stderr
    assert "Traceback" not in finished.stderr
