"""Every run leaves a record, whatever becomes of it, and W&B never costs a run."""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from dfresearch import results
from dfresearch.experiment import runs, start_run, wandb_mirror

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    # No checkout above the temporary folder has a say in it.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def record_of(run):
    return json.loads(run.path.read_text(encoding="utf-8"))


def git(folder, *arguments):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_record_says_what_ran_where_and_what_came_of_it(workplace, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_image.py", "--model", "two words"])
    with start_run("image", "train_image.py", {"model": "forensic-cnn", "lr": 1e-3, "folder": Path("a")}) as run:
        begun = record_of(run)
        run.finish({"sn34_score": np.float64(0.75), "steps": torch.tensor(3), "loss": float("nan")})
    ended = record_of(run)

    assert run.path.parent == Path("runs")
    assert run.path.name.endswith("_meta.json")
    assert (begun["status"], begun["finished_at"], begun["summary"]) == ("running", None, None)
    assert (ended["status"], ended["error"]) == ("finished", None)
    assert ended["summary"] == {"sn34_score": 0.75, "steps": 3, "loss": "nan"}
    assert ended["settings"] == {"model": "forensic-cnn", "lr": 1e-3, "folder": "a"}
    assert (ended["modality"], ended["script"]) == ("image", "train_image.py")
    assert shlex.split(ended["command"]) == sys.argv
    assert ended["process_id"] == os.getpid()
    assert ended["host"]["torch"] == torch.__version__
    assert ended["host"]["device"] == (torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu")
    assert datetime.fromisoformat(ended["finished_at"]) >= datetime.fromisoformat(ended["started_at"])
    assert datetime.fromisoformat(ended["started_at"]).utcoffset() is not None
    assert begun.keys() == ended.keys()
    assert [path.name for path in Path("runs").iterdir()] == [run.path.name]


def test_the_commit_and_whether_files_differ_are_recorded(workplace):
    assert (record := record_of(start_run("image", "a.py", {})))["commit"] is None
    assert record["dirty"] is None
    git(workplace, "init", "--quiet")
    Path(".gitignore").write_text("/runs/\n")
    git(workplace, "add", ".gitignore")
    git(workplace, "commit", "--quiet", "-m", "Begin")
    record = record_of(start_run("image", "a.py", {}))
    assert (record["commit"], record["dirty"]) == (git(workplace, "rev-parse", "HEAD"), False)
    Path("new_model.py").touch()
    assert record_of(start_run("image", "a.py", {}))["dirty"] is True


def test_the_commit_is_that_of_the_script_and_not_of_the_current_folder(workplace):
    checkout = workplace / "checkout"
    checkout.mkdir()
    (checkout / "train_image.py").touch()
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "Begin")
    record = record_of(start_run("image", str(checkout / "train_image.py"), {}))
    assert record["commit"] == git(checkout, "rev-parse", "HEAD")
    assert record["script"] == "train_image.py"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("no such thing"), "failed", "ValueError: no such thing"),
        (KeyboardInterrupt(), "interrupted", None),
        (SystemExit(1), "failed", "SystemExit: 1"),
        (SystemExit(0), "finished", None),
        (SystemExit(), "finished", None),
    ],
)
def test_the_way_a_run_ends_is_recorded(error, status, text):
    with pytest.raises(type(error)), start_run("audio", "a.py", {}) as run:
        raise error
    record = record_of(run)
    assert (record["status"], record["error"]) == (status, text)
    assert record["finished_at"] is not None


def test_an_error_after_the_summary_keeps_the_summary():
    with pytest.raises(OSError, match="full"), start_run("image", "a.py", {}) as run:  # noqa: PT012
        run.finish({"sn34_score": 0.5})
        raise OSError("the disk is full")
    assert record_of(run)["status"] == "failed"
    assert record_of(run)["summary"] == {"sn34_score": 0.5}


def test_a_run_that_ends_without_a_summary_is_finished():
    with start_run("image", "a.py", {}) as run:
        pass
    assert record_of(run)["status"] == "finished"
    assert record_of(run)["summary"] is None


@pytest.mark.parametrize("has_hard_links", [True, False])
def test_runs_of_one_second_do_not_share_a_record(monkeypatch, has_hard_links):
    monkeypatch.setattr(runs, "_timestamp", lambda: "20260101-000000")
    if not has_hard_links:

        def refuse(*arguments, **options):
            raise PermissionError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda number: start_run("image", "a.py", {"number": number}), range(24)))
    assert len({run.path for run in started}) == 24
    for number, run in enumerate(started):
        run.finish({"number": number})
    assert [record_of(run)["settings"]["number"] for run in started] == list(range(24))
    assert [record_of(run)["summary"]["number"] for run in started] == list(range(24))
    assert len(list(Path("runs").iterdir())) == 24


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "runs"),
        ({"DFRESEARCH_RESULTS": "elsewhere"}, "elsewhere/runs"),
        ({"DFRESEARCH_RESULTS": "elsewhere", "DFRESEARCH_RUNS": "records"}, "records"),
    ],
)
def test_the_environment_moves_the_records(monkeypatch, variables, folder):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start_run("image", "a.py", {}).path.parent == Path(folder)


@pytest.mark.parametrize("variable", ["DFRESEARCH_RESULTS", "DFRESEARCH_RUNS"])
def test_a_tilde_that_no_shell_expanded_is_the_home_folder(tmp_path, monkeypatch, variable):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/elsewhere")
    assert results.runs_directory().is_relative_to(tmp_path / "elsewhere")
    assert results.checkpoint_directory("image").is_relative_to(tmp_path) is (variable == "DFRESEARCH_RESULTS")


def test_secrets_of_the_environment_are_blotted_out(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_tell_anyone")
    monkeypatch.setenv("SHORT_KEY", "image")
    with (
        pytest.raises(RuntimeError),
        start_run("image", "a.py", {"url": "https://user:hf_do_not_tell_anyone@host"}) as run,
    ):
        raise RuntimeError("401 for hf_do_not_tell_anyone")
    text = run.path.read_text(encoding="utf-8")
    assert "do_not_tell" not in text
    assert record_of(run)["error"] == "RuntimeError: 401 for [redacted]"
    assert record_of(run)["modality"] == "image"


def test_a_record_that_cannot_be_written_is_a_warning(capsys):
    Path("runs").write_text("a file where the folder should be")
    with start_run("image", "a.py", {}) as run:
        run.finish({"sn34_score": 0.5})
    assert run.path is None
    assert capsys.readouterr().err.startswith("warning: this run leaves no record: runs: ")


def test_an_end_that_cannot_be_written_is_a_warning_and_keeps_the_beginning(capsys, monkeypatch):
    with start_run("image", "a.py", {}) as run:

        def refuse(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", refuse)
        run.finish({"sn34_score": 0.5})
    assert "the end of this run is not recorded" in capsys.readouterr().err
    assert record_of(run)["status"] == "running"
    assert len(list(Path("runs").iterdir())) == 1


# W&B

FAKE_WANDB = """
    import json, os, pathlib, time
    LOG = pathlib.Path({log!r})

    def log(**entry):
        with LOG.open("a") as file:
            file.write(json.dumps(entry) + "\\n")

    class Run:
        summary = {{}}

        def finish(self, exit_code):
            {at_finish}
            log(summary=dict(self.summary), exit_code=exit_code)

    def init(**options):
        {at_init}
        log(**options)
        return Run()
"""


@pytest.fixture
def fake_wandb(workplace, monkeypatch):
    """Install a package `wandb` that writes down what it is told, after what `at_init` and `at_finish` do."""

    def install(at_init="pass", at_finish="pass", at_import=""):
        package = workplace / "site" / "wandb"
        package.mkdir(parents=True)
        log = workplace / "wandb.log"
        source = textwrap.dedent(FAKE_WANDB).format(log=str(log), at_init=at_init, at_finish=at_finish)
        (package / "__init__.py").write_text(at_import + source)
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
        return log

    return install


def test_a_run_is_mirrored_where_wandb_is_configured(fake_wandb, monkeypatch, capfd):
    log = fake_wandb()
    monkeypatch.setenv("WANDB_ENTITY", "somebody")
    # wandb leaves such a folder behind; it is not the package.
    Path("wandb").mkdir()
    with start_run("video", "train_video.py", {"model": "hiera"}) as run:
        run.finish({"sn34_score": 0.5})
    begun, ended = [json.loads(line) for line in log.read_text().splitlines()]
    assert (begun["project"], begun["entity"], begun["tags"]) == ("dfresearch", "somebody", ["video"])
    assert begun["name"] == run.path.name.removesuffix("_meta.json")
    assert begun["config"]["model"] == "hiera"
    assert "0123456789abcdef" not in log.read_text()
    assert ended == {"summary": {"sn34_score": 0.5, "status": "finished"}, "exit_code": 0}
    assert capfd.readouterr().err == ""


def test_the_environment_names_the_project_and_a_failed_run_is_one_there(fake_wandb, monkeypatch):
    log = fake_wandb()
    monkeypatch.setenv("WANDB_PROJECT", "my-project")
    with pytest.raises(ValueError, match="wrong"), start_run("image", "a.py", {}):
        raise ValueError("wrong")
    begun, ended = [json.loads(line) for line in log.read_text().splitlines()]
    assert begun["project"] == "my-project"
    assert ended == {"summary": {"status": "failed"}, "exit_code": 1}


@pytest.mark.parametrize(
    "faults",
    [
        {"at_init": "raise RuntimeError('no network')"},
        {"at_finish": "raise RuntimeError('no network')"},
        {"at_import": "raise RuntimeError('no network')\n"},
    ],
)
def test_whatever_wandb_raises_is_one_warning(fake_wandb, faults, capfd):
    fake_wandb(**faults)
    with start_run("image", "a.py", {}) as run:
        run.finish({"sn34_score": 0.5})
    assert record_of(run)["status"] == "finished"
    assert capfd.readouterr().err == "warning: W&B: RuntimeError: no network\n"


@pytest.mark.parametrize("at", ["at_init", "at_finish"])
def test_wandb_that_hangs_holds_no_run_up_and_ends_by_itself(fake_wandb, at, capfd, monkeypatch):
    fake_wandb(**{at: "time.sleep(3600)"})
    monkeypatch.setattr(wandb_mirror, "WAIT_SECONDS", 0.2)
    with start_run("image", "a.py", {}) as run:
        process = run._mirror._process
        run.finish({})
    assert process.poll() is None
    assert f"warning: W&B: the upload goes on without this run, in process {process.pid}" in capfd.readouterr().err
    process.kill()
    process.wait()


def test_the_watchdog_ends_a_mirror_that_hangs(fake_wandb, workplace):
    fake_wandb(at_init="time.sleep(3600)")
    script = workplace / "impatient_mirror.py"
    source = Path(wandb_mirror.__file__).read_text(encoding="utf-8")
    assert "UPLOAD_SECONDS = 600" in source
    script.write_text(source.replace("UPLOAD_SECONDS = 600", "UPLOAD_SECONDS = 0.1"), encoding="utf-8")
    process = subprocess.run([sys.executable, "-P", script], input="{}\n", text=True, timeout=120)
    assert process.returncode == 1


def test_a_run_that_is_killed_ends_there_too(fake_wandb, workplace):
    log = fake_wandb()
    code = "import sys, time; from dfresearch.experiment import start_run; " \
        "run = start_run('image', 'a.py', {}); print(run.path, flush=True); time.sleep(3600)"  # fmt: skip
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT / "python")])
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    record = Path(process.stdout.readline().strip())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(600):
        if log.exists() and len(log.read_text().splitlines()) == 2:
            break
        time.sleep(0.1)
    assert json.loads(log.read_text().splitlines()[1]) == {"summary": {"status": "killed"}, "exit_code": 1}
    assert json.loads(record.read_text())["status"] == "running"


def test_without_a_key_wandb_is_not_asked(fake_wandb, monkeypatch, capfd):
    log = fake_wandb()
    monkeypatch.delenv("WANDB_API_KEY")
    with start_run("image", "a.py", {}) as run:
        assert run._mirror is None
    assert not log.exists()
    assert capfd.readouterr().err == ""


# A folder ./wandb without `__init__.py` is found as a namespace, which is no package to use.
@pytest.mark.parametrize("found", [None, ModuleSpec("wandb", None)])
def test_a_key_without_the_package_is_a_warning(monkeypatch, capfd, found):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setattr(wandb_mirror.importlib.util, "find_spec", lambda name: found)
    with start_run("image", "a.py", {}) as run:
        assert run._mirror is None
    assert capfd.readouterr().err == (
        "warning: W&B: WANDB_API_KEY is set but wandb is not installed (uv sync --extra wandb): "
        "this run is not sent there\n"
    )
