"""`train_image.py` and `train_full.py` from end to end on a tiny cache, and how they fail."""

import os
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from training_runs import (
    CHECKPOINT,
    MODEL,
    ROOT,
    evaluated,
    make_workplace,
    settings,
    summary_of,
    train,
    trained_in_full,
    write_cache,
)

import dfresearch_rs
import evaluate
import train_full
import train_image
from dfresearch import data, training, training_script
from dfresearch.models import MODEL_REGISTRY
from dfresearch.models.image.forensic_cnn import ForensicCNN
from prepare import TIME_BUDGET

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


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    return make_workplace(tmp_path, monkeypatch)


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
    assert float(summary["data_wait_seconds"]) <= float(summary["training_seconds"])
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
    seen = []
    batch = training.Progress.batch
    monkeypatch.setattr(training.Progress, "batch", lambda self, *values: seen.append(values) or batch(self, *values))
    assert train(steps=3, accumulation=2) == 0
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
    export_model = training_script.export_model
    monkeypatch.setattr(
        training_script, "export_model", lambda *arguments: exported.append(export_model(*arguments)) or exported[-1]
    )
    assert train(steps=training_script.DRY_RUN_STEPS, dry_run=True) == 0
    output = capsys.readouterr().out
    assert sorted(summary_of(output)) == sorted(SUMMARY_KEYS)
    assert "the score means nothing" in output
    assert [path.suffix for path in exported] == [".zip"]
    assert not exported[0].exists()
    assert list(workplace.iterdir()) == []


def dry_run_settings(device="cpu", modality="image", **changes):
    changed = settings(**{"dry_run": True, "batch_size": 32, "max_per_class": 5000} | changes)
    training_script.shrink_to_dry_run(modality, changed, torch.device(device))
    return changed.batch_size, changed.max_per_class


def test_a_dry_run_is_small_and_smaller_on_a_cpu(workplace, monkeypatch):
    assert dry_run_settings("cuda") == (32, 64)
    assert dry_run_settings() == (2, 16)
    assert dry_run_settings(batch_size=1) == (1, 16)
    monkeypatch.setattr(training_script, "_holds_both_classes", lambda *listing: True)
    assert dry_run_settings(modality="audio") == (2, 16)
    assert dry_run_settings(modality="video") == (1, 16)
    assert dry_run_settings("cuda", modality="video") == (32, 64)
    for device in ("cpu", "cuda"):
        assert dry_run_settings(device, max_per_class=9)[1] == 9
    monkeypatch.setattr(training_script, "_holds_both_classes", lambda *listing: listing[-1] > 20)
    assert dry_run_settings() == (2, 32)
    assert dry_run_settings(max_per_class=20) == (2, 20)
    monkeypatch.setattr(training_script, "_holds_both_classes", lambda *listing: False)
    assert dry_run_settings(max_per_class=None) == (2, 64)


# Failures: no score, no checkpoint


def assert_nothing_came_of_it(workplace, captured, message):
    assert message in captured.err
    assert "sn34_score" not in captured.out
    assert [path for path in workplace.iterdir() if path.name != "runs"] == []


class NotANumber(ForensicCNN):
    """A model whose logits are NaN, always or in evaluation mode only."""

    def __init__(self, in_training=True):
        super().__init__()
        self.in_training = in_training

    def forward(self, inputs):
        logits = super().forward(inputs)
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


class Wrapped(nn.Module):
    """What data parallelism makes of a model's names."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, inputs):
        return self.module(inputs)


def test_an_architecture_that_was_changed_in_the_script_is_refused_before_training(workplace, monkeypatch, capsys):
    build_model = train_image.build_model

    def build(settings):
        model = build_model(settings)
        model.classifier = nn.Sequential(nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 2))
        return model

    monkeypatch.setattr(train_image, "build_model", build)
    for run in (train, trained_in_full):
        assert run() == 1
        captured = capsys.readouterr()
        assert "epoch" not in captured.out
        message = "classifier.weight is missing; classifier.bias is missing; classifier.0.weight is new; and 3 more"
        assert_nothing_came_of_it(workplace, captured, message)
        assert "Edit the architecture in python/dfresearch/models/image/forensic_cnn.py" in captured.err


@pytest.mark.parametrize("wrap", [Wrapped, lambda model: torch.compile(model, backend="eager")])
def test_a_wrapped_model_is_the_registered_one(workplace, monkeypatch, wrap):
    build_model = train_image.build_model
    monkeypatch.setattr(train_image, "build_model", lambda settings: wrap(build_model(settings)))
    assert train(steps=1) == 0
    assert evaluated("image", MODEL, CHECKPOINT / "model.safetensors", 8) in (0, 1)


@pytest.mark.parametrize("blocked", ["results", "results/checkpoints"])
def test_results_that_cannot_be_written_are_found_before_training(workplace, capsys, blocked):
    path = workplace / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file where a folder is needed")
    for run in (train, trained_in_full):
        assert run() == 1
        captured = capsys.readouterr()
        assert "results cannot be written there: Not a directory" in captured.err
        assert captured.out == ""


def test_a_model_file_that_the_competition_refuses_is_found_before_training(workplace, monkeypatch, capsys):
    source = (ROOT / "python/dfresearch/models/image/forensic_cnn.py").read_text() + "\nimport os\n"
    (workplace.parent / "refused_detector.py").write_text(source)
    monkeypatch.syspath_prepend(workplace.parent)
    refused = type("Refused", (ForensicCNN,), {"__module__": "refused_detector"})
    monkeypatch.setitem(MODEL_REGISTRY["image"], MODEL, refused)
    for run in (train, trained_in_full, lambda: train(dry_run=True)):
        assert run() == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert_nothing_came_of_it(workplace, captured, "refused_detector.py: line")


def test_what_the_system_refuses_while_saving_is_one_line(workplace, monkeypatch, capsys):
    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dfresearch_rs, "write_checkpoint", full_disk)
    assert train(steps=1) == 1
    message = f"error: the checkpoint could not be written to {CHECKPOINT}: [Errno 28] No space left"
    assert_nothing_came_of_it(workplace, capsys.readouterr(), message)


def test_a_cache_that_fails_after_the_training_does_not_cost_the_score(workplace, monkeypatch, capsys):
    save_checkpoint = train_image.save_checkpoint

    def save(*arguments):
        save_checkpoint(*arguments)
        monkeypatch.setattr(data, "survey_cache", lambda modality: 1 / 0)

    monkeypatch.setattr(train_image, "save_checkpoint", save)
    assert train(steps=1) == 0
    assert "sn34_score: " in capsys.readouterr().out


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
    arguments = training_script.parse_arguments(train_image, TIME_BUDGET, [])
    assert (arguments.model, arguments.lr, arguments.batch_size) == ("efficientnet-b4", 1e-4, 32)
    assert (arguments.time_budget, arguments.max_per_class, arguments.seed) == (600, 5000, 42)
    assert not arguments.no_pretrained
    assert not arguments.dry_run
    flags = "--model smogy-swin --lr 3e-5 --batch-size 8 --time-budget 1.5 --max-per-class 9 --no-pretrained --seed 1"
    arguments = training_script.parse_arguments(train_image, TIME_BUDGET, [*flags.split(), "--dry-run"])
    assert (arguments.model, arguments.lr, arguments.batch_size) == ("smogy-swin", 3e-5, 8)
    assert (arguments.time_budget, arguments.max_per_class, arguments.seed) == (1.5, 9, 1)
    assert arguments.no_pretrained
    assert arguments.dry_run


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch-size", "0"],
        ["--batch-size", "-3"],
        ["--batch-size", "1.5"],
        ["--time-budget", "0"],
        ["--time-budget", "nan"],
        ["--time-budget", "inf"],
        ["--max-per-class", "-1"],
        ["--seed", "-1"],
        ["--seed", str(2**32)],
        ["--lr", "-1"],
        ["--lr", "nan"],
        ["--lr", "much"],
    ],
)
def test_a_value_that_no_training_could_use_is_a_usage_error(capsys, flags):
    parsers = [partial(training_script.parse_arguments, train_image, TIME_BUDGET)]
    parsers += [] if flags[0] == "--time-budget" else [train_full.parse_arguments]
    parsers += [evaluate.parse_arguments] if flags[0] == "--batch-size" else []
    for parse in parsers:
        with pytest.raises(SystemExit) as exit_status:
            parse(flags)
        assert exit_status.value.code == 2
        assert f"error: argument {flags[0]}: {flags[1]}" in capsys.readouterr().err.replace("'", "")


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        ({"batch_size": 0}, 2, "batch_size: 0"),
        ({"max_per_class": -1}, 2, "max_per_class: -1"),
        ({"seed": -1}, 2, "seed: -1"),
        ({"seed": 2**64}, 2, "seed: 1844"),
        ({}, -1, "augment_level: -1 is none of the table's levels 0, 1, 2, 3"),
    ],
)
def test_a_knob_that_no_training_could_use_is_one_line(workplace, monkeypatch, capsys, changes, level, message):
    monkeypatch.setattr(train_image, "AUGMENT_LEVEL", level)
    assert train(**changes) == 1
    assert_nothing_came_of_it(workplace, capsys.readouterr(), f"error: {message}")


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
    assert trained_in_full(epochs=3) == 0
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
