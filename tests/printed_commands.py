"""A checkout of its own for a test, in which printed commands run as they are, with short budgets."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_runs import ROOT, write_cache

import dfresearch_rs

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
        pytest.skip("which files belong to the project is known in a git checkout only")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def make_checkout(tmp_path, monkeypatch):
    """Make a repository with this checkout's files, a cache, and a `uv` that makes everything short."""
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


def run_block(checkout, block):
    """Run a block of commands as a shell would, but stop where one fails, and return its standard output."""
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=checkout, capture_output=True, text=True, timeout=300
    )
    log = checkout / "run.log"
    context = f"{block}\n{process.stdout}\n{process.stderr}\n{log.read_text() if log.exists() else ''}"
    # What was trained for a fraction of a second may be below the entrance exam's accuracy, which is said.
    excused = "every stage ran, but the accuracy" in process.stderr or "\nFAIL: accuracy" in process.stdout
    assert process.returncode == 0 or excused, context
    assert "exit code" not in process.stdout or "exit code 0" in process.stdout, context
    return process.stdout
