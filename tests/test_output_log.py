"""What a process prints is in its log, whoever prints it and however the process ends."""

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dfresearch.experiment.output_log import copied_output, new_log

ROOT = Path(__file__).parents[1]


def run(folder, body, before_the_end="pass"):
    """Run `body` inside of `copied_output("a.log")` in a process of its own, and `before_the_end` after it."""
    code = (
        "import ctypes, os, subprocess, sys\nfrom pathlib import Path\n"
        "from dfresearch.experiment.output_log import copied_output\n"
        "print('before')\nwith copied_output(Path('a.log')):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    command = [sys.executable, "-c", f"{code}\nprint('after')\n{before_the_end}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_output_of_every_kind_is_shown_and_copied(tmp_path):
    process = run(
        tmp_path,
        """
        print("python")
        print("python error", file=sys.stderr)
        os.write(1, b"descriptor\\n")
        ctypes.CDLL(None).system(b"echo library")
        subprocess.run([sys.executable, "-c", "import sys; print('child'); print('child error', file=sys.stderr)"])
        """,
    )
    assert process.returncode == 0
    out = {"python", "descriptor", "library", "child"}
    errors = {"python error", "child error"}
    assert set(process.stdout.splitlines()) == out | {"before", "after"}
    assert set(process.stderr.splitlines()) == errors
    assert set((tmp_path / "a.log").read_text().splitlines()) == out | errors


def test_lines_of_two_streams_are_not_mixed(tmp_path):
    process = run(
        tmp_path,
        """
        subprocess.run("for i in $(seq 500); do printf o; printf ut; echo; done & "
                       "for i in $(seq 500); do printf e >&2; printf rr >&2; echo >&2; done; wait", shell=True)
        print("no end of line", end="")
        """,
    )
    assert process.returncode == 0
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert sorted(lines) == ["err"] * 500 + ["no end of line"] + ["out"] * 500


def test_who_stops_reading_does_not_stop_the_log(tmp_path):
    code = (
        "from pathlib import Path\nfrom dfresearch.experiment.output_log import copied_output\n"
        "with copied_output(Path('a.log')):\n    for number in range(20000): print(number)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert (tmp_path / "a.log").read_text().splitlines() == [str(number) for number in range(20000)]


def test_the_last_words_of_a_killed_process_are_copied(tmp_path):
    process = run(tmp_path, "print('last words', flush=True)\nos.kill(os.getpid(), 9)")
    assert process.returncode == -9
    assert "last words" in process.stdout
    for _ in range(100):
        if (tmp_path / "a.log").read_text():
            break
        time.sleep(0.05)
    assert (tmp_path / "a.log").read_text() == "last words\n"


def test_a_child_that_goes_on_holds_nobody_up(tmp_path):
    process = run(
        tmp_path,
        """
        from dfresearch.experiment import output_log
        output_log.WAIT_SECONDS = 0.1
        print(subprocess.Popen(["sleep", "3600"], start_new_session=True).pid, flush=True)
        """,
        before_the_end="os.kill(int(Path('a.log').read_text()), 9)",
    )
    assert process.returncode == 0
    assert "after" in process.stdout


def test_a_log_is_appended_to(tmp_path):
    (tmp_path / "a.log").write_text("earlier\n")
    run(tmp_path, "print('later')")
    assert (tmp_path / "a.log").read_text() == "earlier\nlater\n"


def test_a_log_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), copied_output(tmp_path / "missing" / "a.log"):
        raise AssertionError("the block ran")


def test_two_logs_of_one_second_have_names_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda number: new_log(tmp_path / "runs", "full_audio"), range(24)))
    assert len(set(paths)) == 24
    assert all(path.is_file() and path.name.startswith("full_audio_") and path.suffix == ".log" for path in paths)


def test_a_full_disk_costs_the_log_and_not_the_training(tmp_path):
    # Every write to this device fails as on a full disk.
    (tmp_path / "a.log").symlink_to("/dev/full")
    process = run(
        tmp_path,
        """
        import time
        for number in range(2000):
            print("line", number, flush=True)
        time.sleep(0.5)
        print("the end of the training", flush=True)
        """,
    )
    assert process.returncode == 0
    lines = process.stdout.splitlines()
    assert lines[:2] == ["before", "line 0"]
    assert lines[-3:] == ["line 1999", "the end of the training", "after"]
    assert process.stderr == "warning: the log is not complete: a.log: No space left on device\n"
