"""A full training: its stages, what it trains on, what it keeps, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import load
from training_runs import CHECKPOINT, MODEL, PER_CLASS, ROOT, make_workplace, summary_of, write_cache

import evaluate
import prepare
import train_full
import train_image
from dfresearch import training

EXPORT = Path(f"results/exports/image_detector_{MODEL}.zip")
SHORT = ["--model", MODEL, "--no-pretrained", "--lr", "1e-2", "--batch-size", "8"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    # What a test of --workers leaves in the script is taken back.
    monkeypatch.setattr(train_image, "NUM_WORKERS", train_image.NUM_WORKERS)
    return make_workplace(tmp_path, monkeypatch)


def train(*arguments):
    parsed = train_full.parse_arguments([*SHORT, *arguments])
    return training.run_to_exit_code(lambda: train_full.run(parsed))


def stages(output):
    return re.findall(r"^=== (\w+) ===$", output, re.MULTILINE)


@pytest.fixture
def downloads(monkeypatch):
    """Give `prepare` a download that only writes down what it is asked for."""
    calls = []
    monkeypatch.setattr(prepare, "download_datasets", lambda *names, **options: calls.append((names, options)))
    return calls


# Stages


def test_a_download_gets_what_the_command_line_says(workplace, downloads, capsys):
    assert train("--download-only", "--workers", "7", "--max-samples", "9") == 0
    assert downloads == [(("image",), {"max_workers": 7, "max_samples": 9})]
    assert stages(capsys.readouterr().out) == ["download"]


def test_every_stage_runs_after_a_download(workplace, downloads, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    assert train("--epochs", "1") == 0
    assert downloads == [(("image",), {"max_workers": train_image.NUM_WORKERS, "max_samples": 2000})]
    assert stages(capsys.readouterr().out) == ["download", "verify", "train", "evaluate", "export"]


def test_an_empty_cache_ends_before_the_training(workplace, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(train_full.prepare.data, "CACHE_DIR", tmp_path / "empty")
    assert train("--skip-download") == 1
    captured = capsys.readouterr()
    assert "nothing to train on" in captured.err
    assert stages(captured.out) == ["verify"]


# Data


def number_of_samples(output):
    trained, validated = re.search(r": (\d+) samples to train on, (\d+) to validate on", output).groups()
    return int(trained) + int(validated)


def test_all_samples_are_used_and_fewer_where_asked_for(workplace, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    monkeypatch.setattr(train_image, "MAX_PER_CLASS", 10)
    assert train("--skip-download", "--skip-export", "--epochs", "1") == 0
    assert number_of_samples(capsys.readouterr().out) == 2 * PER_CLASS
    assert train("--skip-download", "--skip-export", "--epochs", "1", "--max-per-class", "20") == 0
    output = capsys.readouterr().out
    assert number_of_samples(output) == 2 * 20
    assert stages(output) == ["verify", "train", "evaluate"]
    assert not EXPORT.exists()


def test_workers_decode(workplace, monkeypatch):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    asked = []
    make_dataloader = train_image.make_dataloader

    def make(*names, **options):
        asked.append(options["num_workers"])
        return make_dataloader(*names, **options)

    monkeypatch.setattr(train_image, "make_dataloader", make)
    assert train("--skip-download", "--skip-export", "--epochs", "1", "--workers", "1") == 0
    assert asked == [1, 1]


def test_a_sample_cache_that_is_full_is_told(workplace, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_GB", "0.000001")
    assert train("--skip-download", "--skip-export", "--epochs", "1") == 0
    errors = capsys.readouterr().err
    assert errors.count("sample cache: ") == 1
    assert "no further samples are kept" in errors


# What is kept


def test_the_best_epoch_is_what_is_evaluated_and_exported(workplace, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    order = iter([0.1, 0.3, 0.2])
    real_scores, weights = [], []
    evaluate_epoch, save_checkpoint = train_image.evaluate, train_image.save_checkpoint

    def score(*arguments):
        real_scores.append(evaluate_epoch(*arguments))
        return real_scores[-1] | {"sn34_score": next(order)}

    def save(*arguments):
        save_checkpoint(*arguments)
        weights.append((CHECKPOINT / "model.safetensors").read_bytes())

    monkeypatch.setattr(train_image, "evaluate", score)
    monkeypatch.setattr(train_image, "save_checkpoint", save)
    assert train("--skip-download", "--epochs", "3") == 0
    output = capsys.readouterr().out

    assert len(weights) == 2
    assert "the checkpoint is that of epoch 2" in output
    # The evaluation loads the files, in float32; its score is the best epoch's own.
    evaluated = summary_of(output.split("=== evaluate ===")[1])
    assert float(evaluated["brier"]) == pytest.approx(real_scores[1]["brier"], abs=1e-4)
    assert float(evaluated["brier"]) != pytest.approx(real_scores[2]["brier"], abs=1e-6)
    with zipfile.ZipFile(EXPORT) as archive:
        exported = load(archive.read("model.safetensors"))
    best = load(weights[1])
    assert exported.keys() == best.keys()
    assert all(exported[name].equal(best[name]) for name in best)


def test_hours_that_end_within_an_epoch_are_evaluated(workplace, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    assert train("--skip-download", "--skip-export", "--hours", "1e-7") == 0
    output = capsys.readouterr().out
    assert "epoch 1: sn34_score" in output
    assert summary_of(output)["num_epochs"] == "1"
    assert summary_of(output)["num_steps"] == "1"
    assert CHECKPOINT.is_dir()


def test_a_training_that_diverges_leaves_its_best_epoch(workplace, monkeypatch, capsys):
    finite_loss = training.finite_loss
    monkeypatch.setattr(
        training,
        "finite_loss",
        lambda loss, step, rate: finite_loss(loss * (float("nan") if step > 7 else 1), step, rate),
    )
    assert train("--skip-download", "--epochs", "9") == 1
    captured = capsys.readouterr()
    assert "holds the best epoch so far, " in captured.out
    assert "error: the loss is nan" in captured.err
    assert (CHECKPOINT / "model.safetensors").is_file()
    assert not EXPORT.exists()
    (record,) = Path("runs").glob("*_meta.json")
    assert json.loads(record.read_text())["status"] == "failed"


# Exit codes


def test_a_model_below_the_entrance_exam_is_exported_and_fails(workplace, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 1.01)
    assert train("--skip-download", "--epochs", "1") == 1
    assert "below the entrance exam's" in capsys.readouterr().err
    assert EXPORT.is_file()


def test_an_export_that_fails_is_the_exit_code(workplace, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "PASS_ACCURACY", 0.0)
    Path("results").mkdir()
    Path("results/exports").write_text("a file where the folder should be")
    assert train("--skip-download", "--epochs", "1") == 1
    assert "not exported" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--hours", "0"],
        ["--hours", "1", "--epochs", "1"],
        ["--skip-download", "--download-only"],
        ["--max-samples", "0"],
        ["--workers", "0"],
        ["--modality", "video", "--model", MODEL + "-of-another-kind"],
    ],
)
def test_what_no_training_could_use_is_a_usage_error(flags):
    with pytest.raises(SystemExit) as caught:
        train_full.parse_arguments(flags)
    assert caught.value.code == 2


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_every_modality_has_its_script(modality):
    arguments = train_full.parse_arguments(["--modality", modality])
    script = train_full.TRAINING_SCRIPTS[modality]
    assert arguments.model == script.MODEL
    settings = train_full.settings_of(arguments)
    assert (settings.learning_rate, settings.batch_size) == (script.LEARNING_RATE, script.BATCH_SIZE)
    assert settings.max_per_class is None
    assert settings.pretrained


# As a command


def start(tmp_path, *arguments):
    write_cache(tmp_path / "cache")
    environment = os.environ | {
        "DFRESEARCH_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{ROOT}",
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train_full.py"), *SHORT, "--skip-download", *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_log_holds_all_output(tmp_path):
    process = start(tmp_path, "--epochs", "1")
    output, errors = process.communicate(timeout=300)
    (log,) = (tmp_path / "runs").glob("full_image_*.log")
    logged = log.read_text()
    assert output.startswith(f"log: {log.relative_to(tmp_path)}\n")
    assert sorted(logged.splitlines()) == sorted([*output.splitlines(), *errors.splitlines()])
    passed = "PASS: " in output
    assert process.returncode == (0 if passed else 1)
    assert ("error: every stage ran" in errors) == (not passed)
    assert (tmp_path / EXPORT).is_file()
    (record,) = (tmp_path / "runs").glob("*_meta.json")
    record = json.loads(record.read_text())
    assert (record["script"], record["status"], record["settings"]["epochs"]) == ("train_full.py", "finished", 1)
    assert record["summary"]["model"] == MODEL


def test_ctrl_c_leaves_the_best_epoch_and_says_so(tmp_path):
    process = start(tmp_path, "--hours", "1", "--log-file", "my.log")
    for line in process.stdout:
        if "(checkpoint written)" in line:
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "holds the best epoch so far, " in output
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert (tmp_path / CHECKPOINT / "model.safetensors").is_file()
    assert "holds the best epoch so far, " in (tmp_path / "my.log").read_text()
    assert [path.suffix for path in (tmp_path / "runs").iterdir()] == [".json"]


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    process = start(tmp_path, "--log-file", "missing/my.log")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.startswith("error: the log cannot be written: ")
    assert errors.count("\n") == 1
    assert output == ""
