"""`train_image.py`, `train_full.py` and `evaluate.py` from end to end on a tiny cache, and how they fail."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dfresearch_rs
import evaluate
import train_full
import train_image
from dfresearch import data, training

ROOT = Path(__file__).parents[1]
PER_CLASS = 24
MODEL = "forensic-cnn"
CHECKPOINT = Path("results/checkpoints/image")
CHECKPOINT_FILES = ["model.py", "model.safetensors", "model_config.yaml"]
SUMMARY_KEYS = [
    "model",
    "sn34_score",
    "accuracy",
    "mcc",
    "brier",
    "training_seconds",
    "total_seconds",
    "peak_vram_mb",
    "num_steps",
    "num_params_M",
    "num_epochs",
    "batch_size",
    "learning_rate",
    "augment_level",
    "gasbench_sn34_score",
    "data_wait_seconds",
    "samples_per_second",
    "quarantined",
]


def write_cache(cache, media_types=("real", "synthetic")):
    """Noise is real and smooth colour is synthetic: a few steps tell them apart."""
    definitions = cache / "gasbench_configs"
    definitions.mkdir(parents=True)
    generator = np.random.default_rng(0)
    entries = []
    for media_type in media_types:
        name = f"{media_type}-images"
        entries.append({"name": name, "path": f"by-hand/{name}", "modality": "image", "media_type": media_type})
        folder = cache / "datasets" / "image" / name
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = generator.integers(0, 256, (32, 32, 3) if media_type == "real" else (1, 1, 3), dtype=np.uint8)
            Image.fromarray(np.broadcast_to(pixels, (32, 32, 3)).copy()).save(folder / f"{number:06d}.png")
    lines = ["datasets:"]
    for entry in entries:
        lines += [f"  {'- ' if index == 0 else '  '}{key}: {value}" for index, (key, value) in enumerate(entry.items())]
    (definitions / "image_datasets.yaml").write_text("\n".join(lines) + "\n")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current folder for results, small images, and a cache with both classes."""
    write_cache(tmp_path / "cache")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.setattr(train_image, "TARGET_SIZE", (32, 32))
    monkeypatch.setattr(train_image, "WARMUP_STEPS", 2)
    return tmp_path / "work"


def settings(**changes):
    return train_image.Settings(
        **{"model": MODEL, "batch_size": 8, "learning_rate": 1e-2, "pretrained": False} | changes
    )


def train(steps=6, **changes):
    budget = training.Budget(steps=steps)
    return training.run_to_exit_code(lambda: train_image.run(settings(**changes), budget))


def summary_of(text):
    return dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines() if ": " in line)


# A training that ends well


def test_a_training_leaves_a_checkpoint_and_a_summary(workplace, capsys):
    assert train() == 0
    output = capsys.readouterr().out
    summary = summary_of(output)
    assert sorted(summary) == sorted(SUMMARY_KEYS)
    assert summary["model"] == MODEL
    assert summary["num_steps"] == "6"
    assert (summary["batch_size"], summary["learning_rate"]) == ("8", "0.01")
    assert summary["augment_level"] == "2"
    assert summary["quarantined"] == "0"
    assert float(summary["training_seconds"]) <= float(summary["total_seconds"])
    assert 0 <= float(summary["sn34_score"]) <= 1
    assert sorted(path.name for path in CHECKPOINT.iterdir()) == CHECKPOINT_FILES


def test_the_checkpoint_is_the_model_that_was_scored(workplace, capsys):
    assert train() == 0
    trained = summary_of(capsys.readouterr().out)
    code = evaluated("image", MODEL, CHECKPOINT / "model.safetensors", 5)
    output = capsys.readouterr().out
    scores = summary_of(output)
    for key in ("sn34_score", "gasbench_sn34_score", "accuracy", "mcc", "brier"):
        assert float(scores[key]) == pytest.approx(float(trained[key]), abs=1e-5)
    assert (code == 0) == ("PASS" in output) == (float(trained["accuracy"]) >= 0.8)


def test_the_same_seed_trains_the_same_model(workplace):
    def weights(seed):
        assert train(steps=3, seed=seed) == 0
        return (CHECKPOINT / "model.safetensors").read_bytes()

    first = weights(seed=5)
    assert weights(seed=5) == first
    assert weights(seed=6) != first


def test_accumulated_batches_make_fewer_steps(workplace, monkeypatch, capsys):
    monkeypatch.setattr(train_image, "GRADIENT_ACCUMULATION", 2)
    seen = []
    batch = training.Progress.batch
    monkeypatch.setattr(training.Progress, "batch", lambda self, *values: seen.append(values) or batch(self, *values))
    assert train(steps=3) == 0
    assert len(seen) == 6
    assert summary_of(capsys.readouterr().out)["num_steps"] == "3"


def truncate_when_the_model_is_built(monkeypatch, is_chosen):
    """Cut the end off files after the loaders have listed them; 30 bytes of a PNG hold pixels."""
    build_model = train_image.build_model

    def build(settings):
        for split in ("train", "val"):
            for path, label in data.gather_samples("image", split):
                if is_chosen(split, path, label):
                    path.write_bytes(path.read_bytes()[:-30])
        return build_model(settings)

    monkeypatch.setattr(train_image, "build_model", build)


def test_a_bad_file_is_counted_and_the_epoch_goes_on(workplace, monkeypatch, capsys):
    bad = data.gather_samples("image", "train")[0][0]
    truncate_when_the_model_is_built(monkeypatch, lambda split, path, label: path == bad)
    assert train(steps=20) == 0
    assert summary_of(capsys.readouterr().out)["quarantined"] == "1"


def test_a_file_that_was_quarantined_before_is_counted_again(workplace, capsys):
    bad = data.gather_samples("image", "train")[0][0]
    bad.write_bytes(b"<html>not found</html>")
    for _ in range(2):
        assert train(steps=1) == 0
        assert summary_of(capsys.readouterr().out)["quarantined"] == "1"


# Dry run


def test_a_dry_run_runs_every_stage_and_keeps_nothing(workplace, monkeypatch, capsys):
    exported = []
    export_model = train_image.export_model
    monkeypatch.setattr(
        train_image, "export_model", lambda *arguments: exported.append(export_model(*arguments)) or exported[-1]
    )
    assert train(steps=train_image.DRY_RUN_STEPS, dry_run=True) == 0
    output = capsys.readouterr().out
    assert sorted(summary_of(output)) == sorted(SUMMARY_KEYS)
    assert "the score means nothing" in output
    assert [path.suffix for path in exported] == [".zip"]
    assert not exported[0].exists()
    assert list(workplace.iterdir()) == []


# Failures: no score, no checkpoint


def assert_nothing_came_of_it(workplace, captured, message):
    assert message in captured.err
    assert "sn34_score" not in captured.out
    assert list(workplace.iterdir()) == []


class NotANumber(nn.Module):
    """A model whose logits are NaN, always or in evaluation mode only."""

    def __init__(self, in_training=True):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.in_training = in_training

    def forward(self, inputs):
        logits = self.scale * inputs.float().mean((1, 2, 3)).unsqueeze(1)
        return logits * torch.nan if self.in_training or not self.training else logits


@pytest.mark.parametrize(("in_training", "message"), [(True, "the loss is nan at step 0"), (False, "NaN or infinite")])
def test_a_training_that_diverged_ends_without_a_score(workplace, monkeypatch, capsys, in_training, message):
    monkeypatch.setattr(train_image, "build_model", lambda settings: NotANumber(in_training))
    assert train() == 1
    assert_nothing_came_of_it(workplace, capsys.readouterr(), message)


def test_no_data_is_an_error_with_the_way_out(workplace, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "empty")
    with pytest.warns(UserWarning, match="prepare.py --modality image"):
        assert train() == 1
    assert_nothing_came_of_it(workplace, capsys.readouterr(), "no image samples in the train split")


def test_one_class_is_an_error(workplace, monkeypatch, tmp_path, capsys):
    write_cache(tmp_path / "one", media_types=("real",))
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "one")
    assert train() == 1
    assert_nothing_came_of_it(workplace, capsys.readouterr(), "holds no synthetic image samples")


def test_a_validation_class_that_cannot_be_decoded_gives_no_score(workplace, monkeypatch, capsys):
    truncate_when_the_model_is_built(monkeypatch, lambda split, path, label: (split, label) == ("val", 1))
    assert train() == 1
    captured = capsys.readouterr()
    assert "samples to train on" in captured.out
    assert_nothing_came_of_it(workplace, captured, "val split holds no synthetic")


def test_without_a_written_checkpoint_there_is_no_score(workplace, monkeypatch, capsys):
    def full_disk(*arguments):
        raise dfresearch_rs.SubmissionError("model.safetensors: no space left")

    monkeypatch.setattr(dfresearch_rs, "write_checkpoint", full_disk)
    assert train() == 1
    assert_nothing_came_of_it(workplace, capsys.readouterr(), "no space left")


def test_a_failed_training_leaves_the_last_checkpoint(workplace, monkeypatch, capsys):
    assert train() == 0
    before = {path.name: path.read_bytes() for path in CHECKPOINT.iterdir()}
    monkeypatch.setattr(train_image, "build_model", lambda settings: NotANumber(in_training=False))
    assert train() == 1
    assert {path.name: path.read_bytes() for path in CHECKPOINT.iterdir()} == before


# As a command


def start(script, cache, *arguments, **options):
    environment = os.environ | {
        "DFRESEARCH_CACHE": str(cache),
        "PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{ROOT}",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_ctrl_c_ends_a_training_cleanly(tmp_path):
    write_cache(tmp_path / "cache")
    process = start(
        "train_image.py",
        tmp_path / "cache",
        "--model",
        MODEL,
        "--batch-size",
        "4",
        "--time-budget",
        "600",
        cwd=tmp_path,
    )
    for line in process.stdout:
        if line.startswith("epoch 1:"):
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert "sn34_score" not in output
    assert not (tmp_path / "results").exists()


def test_the_command_line_sets_the_knobs():
    arguments = train_image.parse_arguments([])
    assert (arguments.model, arguments.lr, arguments.batch_size) == ("efficientnet-b4", 1e-4, 32)
    assert (arguments.time_budget, arguments.max_per_class, arguments.seed) == (600, 5000, 42)
    assert not arguments.no_pretrained
    assert not arguments.dry_run
    flags = "--model smogy-swin --lr 3e-5 --batch-size 8 --time-budget 1.5 --max-per-class 9 --no-pretrained --seed 1"
    arguments = train_image.parse_arguments([*flags.split(), "--dry-run"])
    assert (arguments.model, arguments.lr, arguments.batch_size) == ("smogy-swin", 3e-5, 8)
    assert (arguments.time_budget, arguments.max_per_class, arguments.seed) == (1.5, 9, 1)
    assert arguments.no_pretrained
    assert arguments.dry_run


def test_the_knobs_are_the_documented_ones():
    assert (train_image.AUGMENT_LEVEL, train_image.WARMUP_STEPS, train_image.GRADIENT_ACCUMULATION) == (2, 100, 1)
    assert (train_image.DROPOUT, train_image.WEIGHT_DECAY, train_image.MAX_GRADIENT_NORM) == (0.3, 1e-4, 1.0)


# Full-length training


def test_a_full_training_keeps_its_best_epoch(workplace, monkeypatch, capsys):
    scores = iter([0.5, 0.75, 0.25])
    evaluate_epoch = train_image.evaluate
    monkeypatch.setattr(
        train_image, "evaluate", lambda *arguments: evaluate_epoch(*arguments) | {"sn34_score": next(scores)}
    )
    written = []
    save_checkpoint = train_image.save_checkpoint
    monkeypatch.setattr(
        train_image, "save_checkpoint", lambda *arguments: written.append(1) or save_checkpoint(*arguments)
    )
    assert training.run_to_exit_code(lambda: train_full.run("image", settings(max_per_class=None), 3)) == 0
    output = capsys.readouterr().out
    assert len(written) == 2
    assert "the checkpoint is that of epoch 2" in output
    summary = summary_of(output)
    assert summary["sn34_score"] == "0.75"
    assert summary["num_epochs"] == "3"
    assert sorted(path.name for path in CHECKPOINT.iterdir()) == CHECKPOINT_FILES


def test_a_full_training_takes_every_sample_by_default():
    arguments = train_full.parse_arguments(["--modality", "image", "--model", MODEL, "--epochs", "2"])
    assert arguments.max_per_class is None
    assert (arguments.model, arguments.epochs) == (MODEL, 2)
    with pytest.raises(SystemExit):
        train_full.parse_arguments(["--epochs", "0"])
    with pytest.raises(SystemExit):
        train_full.parse_arguments(["--model", "no-such-model"])


# Evaluation of a checkpoint


def evaluated(*arguments):
    return training.run_to_exit_code(lambda: evaluate.run(*arguments))


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
