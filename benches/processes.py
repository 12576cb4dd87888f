"""Measurements that need a process of their own: run a bench's function in a fresh Python and take its answer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

KIBIBYTE = 1024


def memory_bytes() -> dict[str, int]:
    """Resident bytes of this process: all of it, and the part that no file backs."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"resident": "VmRSS", "anonymous": "RssAnon", "peak": "VmHWM"}
    return {name: int(fields[field].split()[0]) * KIBIBYTE for name, field in names.items()}


def run_alone(script: str, **settings: object) -> Any:
    """Run `script --alone SETTINGS`, a bench that answers with a line of JSON.

    Raises:
        RuntimeError: it failed; its last words are the message.
    """
    command = [sys.executable, str(Path(__file__).parent / script), "--alone", json.dumps(settings)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{script}: {finished.stderr.strip()[-2000:]}")
    return json.loads(finished.stdout.splitlines()[-1])
