"""The commands of `program.md` run as they are printed, on a tiny cache and with short budgets."""

import re
import textwrap

import pytest
from printed_commands import git, make_checkout, run_block
from training_runs import ROOT

from dfresearch.experiment.ledger import COLUMNS, STATUSES, read_ledger

PROGRAM = (ROOT / "program.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```$", PROGRAM, re.MULTILINE | re.DOTALL)]
# What the experiment "label smoothing 0.1" changes.
BEFORE = "functional.cross_entropy(model(inputs), labels)"
AFTER = "functional.cross_entropy(model(inputs), labels, label_smoothing=0.1)"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    return make_checkout(tmp_path, monkeypatch)


def test_every_command_runs_as_it_is_printed(checkout):
    script = checkout / "train_image.py"
    commits = []
    for block in BLOCKS:
        if "git commit -am" in block:
            assert BEFORE in script.read_text()
            script.write_text(script.read_text().replace(BEFORE, AFTER))
        elif "git reset --hard HEAD~1" in block and git(checkout, "log", "-1", "--format=%s") == "Begin":
            git(checkout, "commit", "--quiet", "--allow-empty", "-m", "Try something that crashes")
        run_block(checkout, block)
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
