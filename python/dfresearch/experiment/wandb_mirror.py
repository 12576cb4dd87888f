"""Mirrors a run to Weights & Biases, from a process of its own, so that no training fails or waits because of it.

```text
 training ── start: one JSON line ──►┌───────────────────────────────┐
          ── end:   one JSON line ──►│ this file as a script: wandb  │──► network
          ── (killed: end of file) ─►└───────────────────────────────┘
```

The mirror runs where `WANDB_API_KEY` is set and wandb is installed (`uv sync --extra wandb`). `WANDB_PROJECT` (default
"dfresearch"), `WANDB_ENTITY` and wandb's other variables hold. Whatever goes wrong is one line on standard error.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["WandbMirror", "start_mirror"]

DEFAULT_PROJECT = "dfresearch"
# How long the end of a training waits for the last upload, and how long the upload may go on after it.
WAIT_SECONDS = 20
UPLOAD_SECONDS = 600


class WandbMirror:
    """The process that talks to W&B."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Keep the process, whose standard input takes one JSON line at the start and one at the end."""
        self._process = process

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over one message; a process that is gone has said why."""
        if self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Hand over the end of the run and wait a while for its upload."""
        self.send({"status": status, "summary": dict(summary)})
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            _warn(f"the upload goes on without this run, in process {self._process.pid}")


def start_mirror(*, name: str, modality: str, config: Mapping[str, Any], folder: Path) -> WandbMirror | None:
    """Start the mirror of a run; None where it is not wanted, wandb is not installed, or no process can be started.

    Args:
        name: the run's name there.
        modality: becomes a tag.
        config: what JSON can hold.
        folder: where wandb keeps its files.
    """
    if not os.environ.get("WANDB_API_KEY"):
        return None
    if not _wandb_is_installed():
        _warn("WANDB_API_KEY is set but wandb is not installed (uv sync --extra wandb): this run is not sent there")
        return None
    # -P: a folder ./wandb, which wandb itself may have made, is not taken for the package.
    command = [sys.executable, "-P", __file__]
    try:
        # A session of its own: Ctrl-C ends the training, which then tells the mirror.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
    except OSError as error:
        _warn(str(error))
        return None
    mirror = WandbMirror(process)
    mirror.send(
        {
            "project": os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT,
            "entity": os.environ.get("WANDB_ENTITY") or None,
            "name": name,
            "tags": [modality],
            "config": dict(config),
            "dir": str(folder),
        }
    )
    return mirror


def _wandb_is_installed() -> bool:
    try:
        specification = importlib.util.find_spec("wandb")
    except (ImportError, ValueError):
        return False
    # A folder without `__init__.py` has no origin.
    return specification is not None and specification.origin is not None


def _warn(message: str) -> None:
    print(f"warning: W&B: {message}", file=sys.stderr, flush=True)


def main() -> int:
    """Be the process: read the start, begin the run there, read the end, finish it."""
    try:
        _mirror()
    except Exception as error:  # whatever wandb raises: its errors are no reason to look at a training
        lines = str(error).strip().splitlines()
        _warn(f"{type(error).__name__}: {lines[0] if lines else 'no message'}")
    return 0


def _mirror() -> None:
    start = sys.stdin.readline()
    if not start:
        return
    ends: list[str] = []

    def await_end() -> None:
        ends.append(sys.stdin.readline())
        # From here on nobody waits: what hangs, be it the start, must not stay for ever.
        watchdog = threading.Timer(UPLOAD_SECONDS, os._exit, [1])
        watchdog.daemon = True
        watchdog.start()

    reader = threading.Thread(target=await_end, daemon=True)
    reader.start()
    import wandb

    run = wandb.init(**json.loads(start))
    reader.join()
    message = json.loads(ends[0]) if ends[0] else {"status": "killed", "summary": {}}
    run.summary.update({**message["summary"], "status": message["status"]})
    run.finish(exit_code=0 if message["status"] == "finished" else 1)


if __name__ == "__main__":
    sys.exit(main())
