"""The ledger of experiments: `results.tsv`, one line an experiment, tried and taken back ones included.

    uv run python -m dfresearch.experiment.ledger keep "label smoothing 0.1"
    uv run python -m dfresearch.experiment.ledger crash "batch size 128: out of memory"

appends a line: the current commit, the scores and the memory that the summary in `run.log` states, and what is said on
the command line. A crash has no scores: they are written as 0. The file is tab-separated, with a header:

    commit	sn34_score	accuracy	memory_gb	status	description
    a1b2c3d	0.781250	0.8420	9.9	keep	baseline

It is no part of the research's commits: taking an experiment back must not take its line back.
"""

import argparse
import fcntl
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from dfresearch_rs import DfresearchError

__all__ = ["LEDGER", "STATUSES", "Experiment", "LedgerError", "append_experiment", "read_ledger", "read_summary"]

LEDGER = Path("results.tsv")
STATUSES = ("keep", "discard", "crash")
COMMIT = re.compile(r"[0-9a-f]{7,40}")
COMMIT_LENGTH = 7
MEBIBYTES_PER_GIBIBYTE = 1024
SUMMARY_LINE = re.compile(r"([A-Za-z][A-Za-z0-9_]*): (.*)")


class LedgerError(DfresearchError, ValueError):
    """A line of the ledger, or what should become one, is not what a ledger holds."""


@dataclass(frozen=True)
class Experiment:
    """One line of the ledger.

    Raises:
        LedgerError: a value is none that the ledger can hold; the message names the column.
    """

    commit: str
    """The commit that was tried: 7 to 40 hexadecimal digits."""
    sn34_score: float
    """0 to 1; 0 for a crash."""
    accuracy: float
    """0 to 1; 0 for a crash."""
    memory_gb: float
    """Most GPU memory at once, in GiB; 0 on a CPU."""
    status: str
    """"keep", "discard" or "crash"."""
    description: str
    """What was tried, in one line that someone understands who sees nothing else."""

    def __post_init__(self) -> None:
        if not COMMIT.fullmatch(self.commit):
            raise LedgerError(f"commit: {self.commit!r} is not 7 to 40 hexadecimal digits")
        for name in ("sn34_score", "accuracy"):
            if not 0 <= getattr(self, name) <= 1:
                raise LedgerError(f"{name}: {getattr(self, name)} is not from 0 to 1")
        if not 0 <= self.memory_gb < math.inf:
            raise LedgerError(f"memory_gb: {self.memory_gb} is no amount of memory")
        if self.status not in STATUSES:
            raise LedgerError(f"status: {self.status!r} is none of {', '.join(STATUSES)}")
        if not self.description.strip():
            raise LedgerError("description: it is empty; say what was tried")
        # Whatever splitlines() splits at would end the line for some reader.
        if "\t" in self.description or self.description.splitlines() != [self.description]:
            raise LedgerError(
                f"description: {self.description!r} has a tab or a line break, which end columns and lines"
            )
        # The command line may hold bytes that are no text.
        if any("\ud800" <= letter <= "\udfff" for letter in self.description):
            raise LedgerError(f"description: {self.description!r} is not UTF-8 text")

    def line(self) -> str:
        """Return the line as the file has it, without its end."""
        numbers = f"{self.sn34_score:.6f}\t{self.accuracy:.4f}\t{self.memory_gb:.1f}"
        return f"{self.commit}\t{numbers}\t{self.status}\t{self.description}"


COLUMNS = tuple(field.name for field in fields(Experiment))


def read_ledger(path: Path = LEDGER) -> list[Experiment]:
    """Read every experiment of a ledger, the oldest first.

    Raises:
        FileNotFoundError: there is no ledger.
        LedgerError: a line is broken; the message begins with file and line number.
    """
    return _parse(path.read_bytes(), path)


def append_experiment(experiment: Experiment, path: Path = LEDGER) -> None:
    """Append a line; a ledger that is missing is begun with its header. Two that append at once both get their line.

    Raises:
        LedgerError: the ledger has a broken line; nothing is written.
    """
    with _lock(path.parent):
        content = path.read_bytes() if path.exists() else b""
        if not content:
            content = "\t".join(COLUMNS).encode() + b"\n"
        _parse(content, path)
        content += (b"" if content.endswith(b"\n") else b"\n") + experiment.line().encode() + b"\n"
        _replace(path, content)


def read_summary(path: Path) -> dict[str, str]:
    """Return the `key: value` lines after the last line `---` of a log; nothing when there is no such line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    begins = [number for number, line in enumerate(lines) if line == "---"]
    matches = map(SUMMARY_LINE.fullmatch, lines[begins[-1] + 1 :] if begins else [])
    return {match[1]: match[2] for match in matches if match}


def _parse(content: bytes, path: Path) -> list[Experiment]:
    try:
        # Not splitlines(): a description may hold what only some readers take for the end of a line.
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise LedgerError(f"{path}:{number}: this is not UTF-8 text") from error
    experiments = []
    for number, raw in enumerate(lines, start=1):
        line = raw.removesuffix("\r")
        if number == 1:
            if tuple(line.split("\t")) != COLUMNS:
                raise LedgerError(
                    f"{path}:1: the first line names the columns, separated by tabs: {' '.join(COLUMNS)}; "
                    f"here it is {line!r}"
                )
        elif line:
            try:
                experiments.append(_parse_line(line))
            except LedgerError as error:
                raise LedgerError(f"{path}:{number}: {error}") from error
    return experiments


def _parse_line(line: str) -> Experiment:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise LedgerError(f"{len(cells)} columns, separated by tabs, instead of {len(COLUMNS)}: {line!r}")
    commit, sn34_score, accuracy, memory_gb, status, description = cells
    numbers = {"sn34_score": sn34_score, "accuracy": accuracy, "memory_gb": memory_gb}
    return Experiment(
        commit=commit,
        **{name: _number(name, text) for name, text in numbers.items()},
        status=status,
        description=description,
    )


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LedgerError(f"{name}: {text!r} is no number") from None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a lock on the file itself would stay with the one that is replaced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, path.stat().st_mode if path.exists() else 0o644)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------------
# Command
# ---------------------------------------------------------------------------------------------------------------------


def current_commit() -> str:
    """Return the abbreviated commit of the current folder's checkout.

    Raises:
        LedgerError: there is none.
    """
    command = ["git", "rev-parse", f"--short={COMMIT_LENGTH}", "--verify", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise LedgerError("there is no commit here to write down; name it with --commit") from error


def experiment_of_log(commit: str, status: str, description: str, log: Path) -> Experiment:
    """Build the line of an experiment from the summary in its log; a crash has no scores.

    Raises:
        LedgerError: the log, or a value in it, is missing: the run crashed.
    """
    if status == "crash":
        return Experiment(commit, 0.0, 0.0, 0.0, status, description)
    if not log.is_file():
        raise LedgerError(f"{log}: there is no such log; name it with --log")
    summary = read_summary(log)
    keys = ("sn34_score", "accuracy", "peak_vram_mb")
    missing = [key for key in keys if key not in summary]
    if missing:
        raise LedgerError(f"{log} ends without {', '.join(missing)}: the run did not reach its summary; is it a crash?")
    score, accuracy, memory = (_number(key, summary[key]) for key in keys)
    return Experiment(commit, score, accuracy, memory / MEBIBYTES_PER_GIBIBYTE, status, description)


def main(arguments: Sequence[str] | None = None) -> int:
    """Append the line that the command line describes, print it, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dfresearch.experiment.ledger", description="Append an experiment to the ledger."
    )
    parser.add_argument("status", choices=STATUSES)
    parser.add_argument("description", help="what was tried, in one line")
    parser.add_argument("--log", type=Path, default=Path("run.log"), help="the run's output (default: %(default)s)")
    parser.add_argument("--commit", help="what was tried (default: the current commit)")
    parser.add_argument("--ledger", type=Path, default=LEDGER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        commit = current_commit() if options.commit is None else options.commit
        experiment = experiment_of_log(commit, options.status, options.description, options.log)
        append_experiment(experiment, options.ledger)
    except (LedgerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(experiment.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
