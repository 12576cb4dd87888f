"""A record of every run: `runs/{timestamp}_meta.json`, written when the run begins and again when it ends.

    with start_run("image", "train_image.py", {"model": "efficientnet-b4", "learning_rate": 1e-4}) as run:
        scores = ...
        run.finish({"sn34_score": scores["sn34_score"]})

A run that was killed leaves `"status": "running"` and the number of a process that is gone. A record that cannot be
written is a warning: no training is lost because of one. Where `WANDB_API_KEY` is set and wandb is installed, the run
is mirrored to W&B by a process of its own, see `wandb_mirror`.
"""

import contextlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from dfresearch.experiment.wandb_mirror import WandbMirror, start_mirror
from dfresearch.results import runs_directory

__all__ = ["Run", "start_run"]

GIT_TIMEOUT_SECONDS = 10
# Runs that begin in one second are numbered; nobody starts more of them.
MOST_RUNS_PER_SECOND = 1000
# Environment variables whose values never stand in a record, wherever they were quoted from.
SECRET_VARIABLES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
# A shorter value ("0", "none") is no secret, and would blot out half of the record.
SHORTEST_SECRET = 8
REDACTED = "[redacted]"


def start_run(modality: str, script: str, settings: Mapping[str, Any]) -> "Run":
    """Begin the record of a run and return it; use it in a `with` block.

    Args:
        modality: "image", "video" or "audio".
        script: the script's file, as `__file__` or by its name; its folder's commit is recorded.
        settings: the knobs of this run; what JSON has no type for is recorded as text.

    The record's keys: `status` (`running`, `finished`, `failed`, `interrupted`), `started_at`, `finished_at` (UTC, ISO
    8601), `modality`, `script`, `command`, `settings`, `commit` and `dirty` (null outside of a git checkout; new files
    count as changes), `host` (`python`, `torch`, `device`, `platform`), `process_id`, `summary`, `error`.
    """
    commit, dirty = _commit(Path(script))
    record = {
        "status": "running",
        "started_at": _now().isoformat(timespec="seconds"),
        "finished_at": None,
        "modality": modality,
        "script": Path(script).name,
        "command": shlex.join(sys.argv),
        "settings": dict(settings),
        "commit": commit,
        "dirty": dirty,
        "host": _host(),
        "process_id": os.getpid(),
        "summary": None,
        "error": None,
    }
    return Run(record, runs_directory())


class Run:
    """The record of one run. Leaving its `with` block ends it: finished, failed or interrupted."""

    def __init__(self, record: dict[str, Any], folder: Path) -> None:
        """Write the first state of `record` into `folder` and start the mirror where one is wanted."""
        self._record = record
        self._mirror: WandbMirror | None = None
        self.path: Path | None = None
        """The record's file; None when it could not be written."""
        try:
            self.path = _write_new(folder, _timestamp(), self._text())
        except OSError as error:
            _warn(f"this run leaves no record: {folder}: {error.strerror or error}")
        name = self.path.name.removesuffix("_meta.json") if self.path else _timestamp()
        safe = json.loads(self._text())
        config = {
            **safe["settings"],
            **{key: safe[key] for key in ("modality", "script", "command", "commit", "dirty", "host")},
        }
        self._mirror = start_mirror(name=name, modality=record["modality"], config=config, folder=folder)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Record what came of the run; it is written at once."""
        self._record["summary"] = dict(summary)
        self._end("finished")

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code):
            if self._record["status"] == "running":
                self._end("finished")
        elif isinstance(error, KeyboardInterrupt):
            self._end("interrupted")
        else:
            self._record["error"] = f"{type(error).__name__}: {error}"
            self._end("failed")
        if self._mirror is not None:
            safe = json.loads(self._text())
            self._mirror.finish(safe["status"], safe["summary"] or {})
            self._mirror = None

    def _end(self, status: str) -> None:
        self._record["status"] = status
        self._record["finished_at"] = _now().isoformat(timespec="seconds")
        if self.path is None:
            return
        try:
            _replace(self.path, self._text())
        except OSError as error:
            _warn(f"the end of this run is not recorded: {self.path}: {error.strerror or error}")

    def _text(self) -> str:
        return json.dumps(_without_secrets(_plain(self._record)), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Turn a value into what JSON has: NaN and infinity, which it lacks, become text as everything unknown does."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic) or (isinstance(value, torch.Tensor) and value.numel() == 1):
        return _plain(value.item())
    return str(value)


def _without_secrets(value: Any) -> Any:
    """Blot out what the environment calls a key, a token or a password: an error message may quote one."""
    secrets = [
        secret
        for name, secret in os.environ.items()
        if SECRET_VARIABLES.search(name) and len(secret) >= SHORTEST_SECRET
    ]
    return _blot(value, secrets) if secrets else value


def _blot(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _blot(entry, secrets) for key, entry in value.items()}
    if isinstance(value, list):
        return [_blot(entry, secrets) for entry in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REDACTED)
    return value


def _commit(script: Path) -> tuple[str | None, bool | None]:
    """Return the commit that the script's folder is at, and whether files differ from it."""
    folder = script.resolve().parent if script.is_file() else Path.cwd()
    try:
        commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        return commit, bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    process = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=GIT_TIMEOUT_SECONDS
    )
    return process.stdout.strip()


def _host() -> dict[str, str]:
    device = "cpu"
    if torch.cuda.is_available():
        # A driver that is there and broken is the training's to report.
        with contextlib.suppress(RuntimeError):
            device = torch.cuda.get_device_name(0)
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "platform": platform.platform(),
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _timestamp() -> str:
    return _now().strftime("%Y%m%d-%H%M%S")


def _write_new(folder: Path, timestamp: str, text: str) -> Path:
    """Write `{timestamp}_meta.json`, or the first free `{timestamp}-{n}_meta.json`; never over another run's."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(folder, text)
    try:
        for number in range(1, MOST_RUNS_PER_SECOND):
            path = folder / f"{timestamp}{'' if number == 1 else f'-{number}'}_meta.json"
            try:
                _claim(temporary, path)
            except FileExistsError:
                continue
            return path
        raise FileExistsError(f"{MOST_RUNS_PER_SECOND} runs began in one second")
    finally:
        temporary.unlink(missing_ok=True)


def _claim(temporary: Path, path: Path) -> None:
    """Give the temporary file its name unless another has it.

    A hard link does both at once; where the file system has none, an empty file takes the name first.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        path.touch(exist_ok=False)
        os.replace(temporary, path)


def _replace(path: Path, text: str) -> None:
    temporary = _write_temporary(path.parent, text)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_temporary(folder: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # mkstemp's file is the owner's alone; a record is like any other file.
        os.fchmod(descriptor, 0o644)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return Path(name)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
