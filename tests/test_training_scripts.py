"""`train_video.py` and `train_audio.py` from end to end on a tiny cache.

What the scripts share with `train_image.py` is tested there; here is what depends on the modality.
"""

import itertools
import json
from pathlib import Path

import pytest
import torch
import yaml
from training_runs import MODELS, SCRIPTS, checkpoint, evaluated, make_workplace, settings, summary_of, train

from dfresearch import data, training, training_script
from prepare import TIME_BUDGET

MODALITIES = ("video", "audio")
# model, learning rate, batch size, level, per class, warm-up, accumulation, dropout
DOCUMENTED_KNOBS = {
    "image": ("efficientnet-b4", 1e-4, 32, 2, 5000, 100, 1, 0.3),
    "video": ("r3d-18", 3e-4, 4, 1, 2000, 50, 4, 0.3),
    "audio": ("wav2vec2", 1e-4, 16, 0, 3000, 100, 2, 0.2),
}


@pytest.fixture(params=MODALITIES)
def modality(request, tmp_path, monkeypatch):
    """A modality whose script runs in an empty folder, on a cache of small files."""
    make_workplace(tmp_path, monkeypatch, request.param)
    return request.param


# The scripts side by side


@pytest.mark.parametrize("modality", SCRIPTS)
def test_the_knobs_are_the_documented_ones(modality):
    script = SCRIPTS[modality]
    assert DOCUMENTED_KNOBS[modality] == (
        script.MODEL,
        script.LEARNING_RATE,
        script.BATCH_SIZE,
        script.AUGMENT_LEVEL,
        script.MAX_PER_CLASS,
        script.WARMUP_STEPS,
        script.GRADIENT_ACCUMULATION,
        script.DROPOUT,
    )
    assert (modality, 1e-4, 1.0) == (script.MODALITY, script.WEIGHT_DECAY, script.MAX_GRADIENT_NORM)


@pytest.mark.parametrize("modality", SCRIPTS)
def test_the_command_line_sets_the_knobs(modality):
    script, name = SCRIPTS[modality], MODELS[modality]
    arguments = training_script.parse_arguments(script, TIME_BUDGET, [])
    assert (arguments.model, arguments.lr, arguments.batch_size) == (
        script.MODEL,
        script.LEARNING_RATE,
        script.BATCH_SIZE,
    )
    assert (arguments.time_budget, arguments.max_per_class, arguments.seed) == (600, script.MAX_PER_CLASS, 42)
    flags = f"--model {name} --lr 3e-5 --batch-size 8 --time-budget 1.5 --max-per-class 9 --no-pretrained --seed 1"
    arguments = training_script.parse_arguments(script, TIME_BUDGET, [*flags.split(), "--dry-run"])
    assert (arguments.model, arguments.lr, arguments.batch_size) == (name, 3e-5, 8)
    assert (arguments.time_budget, arguments.max_per_class, arguments.seed) == (1.5, 9, 1)
    assert arguments.no_pretrained
    assert arguments.dry_run


def test_the_scripts_have_the_same_sections_in_the_same_order():
    def sections(script):
        lines = Path(script.__file__).read_text().splitlines()
        return [line for before, line in itertools.pairwise(lines) if before.startswith("# ----")][::2]

    expected = sections(SCRIPTS["image"])
    assert len(expected) == 6
    assert all(sections(script) == expected for script in SCRIPTS.values())


# A training that ends well


def test_a_training_leaves_a_checkpoint_that_is_the_model_that_was_scored(modality, capsys):
    assert train(modality=modality) == 0
    trained = summary_of(capsys.readouterr().out)
    assert (trained["model"], trained["num_steps"], trained["quarantined"]) == (MODELS[modality], "6", "0")
    assert ("num_frames" in trained) == (modality == "video")
    names = sorted(path.name for path in checkpoint(modality).iterdir())
    assert names == ["model.py", "model.safetensors", "model_config.yaml"]
    code = evaluated(modality, MODELS[modality], checkpoint(modality) / "model.safetensors", 5)
    output = capsys.readouterr().out
    scores = summary_of(output)
    for key in ("sn34_score", "gasbench_sn34_score", "accuracy", "mcc", "brier"):
        assert float(scores[key]) == pytest.approx(float(trained[key]), abs=1e-5)
    assert (code == 0) == ("PASS" in output) == (float(trained["accuracy"]) >= 0.8)


def test_the_same_seed_trains_the_same_model(modality):
    def weights(seed):
        assert train(steps=2, seed=seed, modality=modality) == 0
        return (checkpoint(modality) / "model.safetensors").read_bytes()

    first = weights(seed=5)
    assert weights(seed=5) == first
    assert weights(seed=6) != first


def test_a_dry_run_runs_every_stage_and_keeps_nothing(modality, capsys):
    assert train(steps=training_script.DRY_RUN_STEPS, dry_run=True, modality=modality) == 0
    captured = capsys.readouterr()
    assert "the score means nothing" in captured.out
    assert summary_of(captured.out)["num_steps"] == "2"
    assert list(Path.cwd().iterdir()) == []


def test_a_run_leaves_a_record_of_its_knobs_and_its_summary(modality, capsys):
    assert train(steps=1, modality=modality) == 0
    summary = summary_of(capsys.readouterr().out)
    (path,) = Path("runs").glob("*_meta.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["modality"]) == ("finished", modality)
    assert record["script"] == f"train_{modality}.py"
    assert record["settings"]["model"] == MODELS[modality]
    assert record["settings"]["warmup_steps"] == 2
    assert all(isinstance(value, str | int | float | list | None) for value in record["settings"].values())
    assert record["summary"].keys() == summary.keys()
    assert record["summary"]["sn34_score"] == pytest.approx(float(summary["sn34_score"]), rel=1e-5)


# Bad files


def test_a_file_that_turns_bad_is_counted_and_the_epoch_goes_on(modality, monkeypatch, capsys):
    script = SCRIPTS[modality]
    bad = data.gather_samples(modality, "train")[0][0]
    build_model = script.build_model

    def build(chosen):
        bad.write_bytes(b"<html>not found</html>")
        return build_model(chosen)

    monkeypatch.setattr(script, "build_model", build)
    assert train(steps=6, modality=modality) == 0
    assert summary_of(capsys.readouterr().out)["quarantined"] == "1"


# Accumulated gradients


@pytest.mark.parametrize("modality", SCRIPTS)
def test_a_group_that_an_epoch_leaves_unfinished_goes_on_in_the_next(monkeypatch, modality):
    """Three epochs of three batches, in groups of two: steps after batches 2, 4, 6, 8, the ninth stays without one."""
    script = SCRIPTS[modality]
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1])) for _ in range(3)]
    monkeypatch.setattr(script, "WARMUP_STEPS", 0)
    clipped = []
    step = training.MixedPrecision.step
    model = torch.nn.Linear(3, 2)

    def look(self, optimizer, norm):
        clipped.append([parameter.grad.clone() for parameter in model.parameters()])
        step(self, optimizer, norm)

    monkeypatch.setattr(training.MixedPrecision, "step", look)
    # Weights that stay, so that what each step should see is known beforehand.
    monkeypatch.setattr(script, "build_optimizer", lambda model, settings: torch.optim.SGD(model.parameters(), lr=0.0))
    budget = training.Budget(steps=100)
    record = script.train(
        model,
        batches,
        budget,
        settings(modality, learning_rate=1e-30, accumulation=2),
        torch.device("cpu"),
        after_epoch=lambda epoch: budget.finish() if epoch == 3 else None,
    )
    assert (record.steps, record.epochs, record.samples) == (4, 3, 36)

    def gradients(*numbers):
        model.zero_grad()
        for number in numbers:
            inputs, labels = batches[number]
            (torch.nn.functional.cross_entropy(model(inputs), labels) / 2).backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    for seen, numbers in zip(clipped, [(0, 1), (2, 0), (1, 2), (0, 1)], strict=True):
        torch.testing.assert_close(seen, gradients(*numbers))


# What the checkpoint says of itself


def test_a_configuration_that_the_competition_refuses_is_found_before_training(modality, monkeypatch, capsys):
    script = SCRIPTS[modality]
    config = script.checkpoint_config
    key, value = {"video": ("num_frames", 65), "audio": ("sample_rate", 44100)}[modality]

    def refused(chosen):
        content = config(chosen)
        content["preprocessing"][key] = value
        return content

    monkeypatch.setattr(script, "checkpoint_config", refused)
    assert train(modality=modality) == 1
    captured = capsys.readouterr()
    assert key in captured.err
    assert captured.out == ""


def test_the_configuration_is_that_of_the_knobs(modality):
    assert train(steps=1, modality=modality) == 0
    content = yaml.safe_load((checkpoint(modality) / "model_config.yaml").read_text())
    assert content["modality"] == modality
    expected = {
        "video": {"resize": [32, 32], "num_frames": 4},
        "audio": {"sample_rate": 16000, "duration_seconds": 6.0},
    }
    assert content["preprocessing"] == expected[modality]
