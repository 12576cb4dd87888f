"""The `dfresearch` command finds the checkout's scripts and passes arguments and exit codes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from dfresearch import cli

ECHO = "import sys; print(__file__.rsplit('/', 1)[-1], *sys.argv[1:]); sys.exit(7)"


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout; its scripts print their name and arguments and exit with 7."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "dfresearch"\n')
    for script in ("prepare.py", "train_image.py", "train_video.py", "train_audio.py", "evaluate.py", "export.py"):
        (tmp_path / script).write_text(ECHO)
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-m", "dfresearch.cli", *arguments]
    path = str(Path(cli.__file__).parents[1])
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["prepare", "--demo", "--modality", "image"], "prepare.py --demo --modality image"),
        (["train"], "train_image.py"),
        (["train", "--modality", "image", "--lr", "-1e-3", "--dry-run"], "train_image.py --lr -1e-3 --dry-run"),
        (["train", "--modality", "video", "--model", "r3d-18"], "train_video.py --model r3d-18"),
        (["train", "--modality=audio", "--dry-run"], "train_audio.py --dry-run"),
        (["train", "--model", "hiera", "--modality", "video"], "train_video.py --model hiera"),
        (["train", "--modality=audio", "--no-pretrained"], "train_audio.py --no-pretrained"),
        (["train", "--help"], "train_image.py --help"),
        (["evaluate", "--weights", "a b.safetensors"], "evaluate.py --weights a b.safetensors"),
        (["evaluate", "--modality", "audio"], "evaluate.py --modality audio"),
        (["export", "--modality", "video", "--model", "hiera"], "export.py --modality video --model hiera"),
        (["export", "--help"], "export.py --help"),
    ],
)
def test_a_command_is_the_script_with_its_arguments_and_exit_code(checkout, arguments, printed):
    process = run(checkout, *arguments)
    assert process.stdout == printed + "\n"
    assert process.returncode == 7
    assert process.stderr == ""


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
@pytest.mark.parametrize("command", ["train", "evaluate", "export", "prepare"])
def test_this_checkout_has_a_script_for_every_command_and_modality(command, modality):
    assert cli.find_script(command, modality, Path(__file__).parents[1]).is_file()


def test_help_lists_the_commands(tmp_path):
    for arguments in ([], ["--help"]):
        process = run(tmp_path, *arguments)
        assert process.returncode == 0
        assert all(f"dfresearch {command}" in process.stdout for command in ("prepare", "train", "evaluate", "export"))


def test_an_unknown_command_names_the_known_ones(checkout):
    process = run(checkout, "tarin")
    assert process.returncode == 2
    assert "'tarin' is none of the commands prepare, train, evaluate, export" in process.stderr


@pytest.mark.parametrize("project", [None, "not toml [", '[project]\nname = "another"\n'])
def test_outside_of_a_checkout_nothing_runs(checkout, project):
    (checkout / "pyproject.toml").unlink()
    if project is not None:
        (checkout / "pyproject.toml").write_text(project)
    process = run(checkout, "prepare")
    assert process.returncode == 2
    assert f"{checkout} is not a dfresearch checkout" in process.stderr
    assert process.stdout == ""


def test_a_modality_without_a_script_is_named(checkout):
    process = run(checkout, "train", "--modality", "smell")
    assert process.returncode == 2
    assert "train_smell.py is missing" in process.stderr
