"""The commands of `program.md` run as they are printed, on a tiny cache and with short budgets."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from training_runs import write_cache

import dfresearch_rs
from dfresearch.experiment.ledger import COLUMNS, STATUSES, read_ledger

ROOT = Path(__file__).parents[1]
PROGRAM = (ROOT / "program.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```$", PROGRAM, re.MULTILINE | re.DOTALL)]
# What the experiment "label smoothing 0.1" changes.
BEFORE = "functional.cross_entropy(model(inputs), labels)"
AFTER = "functional.cross_entropy(model(inputs), labels, label_smoothing=0.1)"

# Stands for uv: runs the command with this Python, a model that is small, and budgets that are short.
UV = """\
#!{python}
import os, sys
run, *command = sys.argv[1:]
assert run == "run", sys.argv
if command[0] == "python":
    command = command[1:]
command = ["forensic-cnn" if word == "efficientnet-b4" else word for word in command]
if command[0].startswith("train_"):
    command += ["--batch-size", "8", "--lr", "1e-2"]
    if command[0] == "train_full.py":
        command[command.index("--hours") + 1] = "1e-6"
    else:
        command += ["--model", "forensic-cnn", "--time-budget", "0.5"]
os.execv({python!r}, [{python!r}, *command])
"""


def tracked_files():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("the program's branches and commits need a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of its own with this checkout's files, a cache, and a `uv` that makes everything short."""
    checkout = tmp_path / "dfresearch"
    for name in tracked_files():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    native = Path(dfresearch_rs._native.__file__)
    (checkout / "python/dfresearch_rs" / native.name).symlink_to(native)
    write_cache(tmp_path / "cache")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").write_text(UV.format(python=sys.executable))
    (tmp_path / "bin/uv").chmod(0o755)
    for name, value in {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{checkout / 'python'}{os.pathsep}{checkout}",
        "DFRESEARCH_CACHE": str(tmp_path / "cache"),
        "DFRESEARCH_PRETRAINED": "0",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{role}_NAME": "nobody" for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": "nobody@localhost" for role in ("AUTHOR", "COMMITTER")},
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    git(checkout, "init", "--quiet", "--initial-branch", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "Begin")
    return checkout


def git(checkout, *arguments):
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(checkout, block):
    """Run a block as a shell would, but stop where a command fails."""
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=checkout, capture_output=True, text=True, timeout=300
    )
    log = checkout / "run.log"
    context = f"{block}\n{process.stdout}\n{process.stderr}\n{log.read_text() if log.exists() else ''}"
    # A full training of a fraction of a second may end below the entrance exam's accuracy, and says so.
    excused = "train_full.py" in block and "every stage ran, but the accuracy" in process.stderr
    assert process.returncode == 0 or excused, context
    assert "exit code" not in process.stdout or "exit code 0" in process.stdout, context
    return process.stdout


def test_every_command_runs_as_it_is_printed(checkout):
    script = checkout / "train_image.py"
    commits = []
    for block in BLOCKS:
        if "git commit -am" in block:
            assert BEFORE in script.read_text()
            script.write_text(script.read_text().replace(BEFORE, AFTER))
        elif "git reset --hard HEAD~1" in block and git(checkout, "log", "-1", "--format=%s") == "Begin":
            git(checkout, "commit", "--quiet", "--allow-empty", "-m", "Try something that crashes")
        run(checkout, block)
        commits.append(git(checkout, "log", "-1", "--format=%s"))

    assert git(checkout, "branch", "--show-current") == "autoresearch/mar05"
    assert "Try label smoothing 0.1" in commits
    assert commits[-1] == "Begin"
    # Taking experiments back took neither their lines nor their records, and left nothing for git to see.
    entries = read_ledger(checkout / "results.tsv")
    assert [entry.status for entry in entries] == ["keep", "keep", "discard", "crash"]
    assert entries[0].commit != entries[1].commit == entries[2].commit
    assert (checkout / "results/best-image/model.safetensors").is_file()
    assert (checkout / "results/exports/image_detector_forensic-cnn.zip").is_file()
    assert len(list((checkout / "runs").glob("*_meta.json"))) == 4
    (checkout / "STATE.md").write_text("what I believe")
    assert git(checkout, "status", "--porcelain") == ""


def test_the_blocks_are_what_the_test_believes():
    assert len(BLOCKS) == 11
    every_fence = re.findall(r"^ *```(\w*)$", PROGRAM, re.MULTILINE)
    # The two others are the examples of the record and of the working memory.
    assert sorted(kind for kind in every_fence if kind) == ["markdown"] + ["sh"] * len(BLOCKS)


def test_the_example_record_is_one(tmp_path):
    (example,) = re.findall(r"^```\n(commit\t.*?)^```$", PROGRAM, re.MULTILINE | re.DOTALL)
    (tmp_path / "results.tsv").write_text(example)
    entries = read_ledger(tmp_path / "results.tsv")
    assert {entry.status for entry in entries} == set(STATUSES)
    assert [entry.line() for entry in entries] == example.splitlines()[1:]
    assert example.splitlines()[0].split("\t") == list(COLUMNS)


def test_files_that_are_named_exist():
    # Made by the researcher or by a run.
    made = {"results.tsv", "STATE.md", "run.log"}
    names = set(re.findall(r"`([\w/.-]+\.(?:py|md|tsv|log))`", PROGRAM)) - made
    assert {"prepare.py", "train_image.py", "train_video.py", "train_audio.py"} <= names
    assert [name for name in names if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_the_commands_hold_for_every_modality(modality):
    assert (ROOT / f"train_{modality}.py").is_file()
    assert (ROOT / f"python/dfresearch/models/{modality}").is_dir()


def test_the_table_names_the_summary_keys():
    source = (ROOT / "python/dfresearch/training_script.py").read_text(encoding="utf-8")
    (body,) = re.findall(r"^def summarize\(.*?^    }$", source, re.MULTILINE | re.DOTALL)
    keys = set(re.findall(r'^ +"(\w+)":', body, re.MULTILINE)) | {"augment_level", "num_frames"}
    rows = re.findall(r"^\| (`[^|]*`) \|", PROGRAM, re.MULTILINE)
    named = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert named == keys
