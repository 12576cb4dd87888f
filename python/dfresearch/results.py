"""Where trainings leave their results: `results/` and `runs/` in the current folder.

`DFRESEARCH_RESULTS` names another folder for results and takes the records of runs along, into its own `runs/`;
`DFRESEARCH_RUNS` moves those alone.
"""

import os
from pathlib import Path

__all__ = ["checkpoint_directory", "exports_directory", "runs_directory"]


def checkpoint_directory(modality: str) -> Path:
    """Return the folder of a modality's checkpoint: weights, configuration and model source."""
    return _results_directory() / "checkpoints" / modality


def exports_directory() -> Path:
    """Return the folder that submissions are written to."""
    return _results_directory() / "exports"


def runs_directory() -> Path:
    """Return the folder of the records of runs and of the logs of full trainings."""
    if named := os.environ.get("DFRESEARCH_RUNS"):
        return Path(named).expanduser()
    return _results_directory() / "runs" if os.environ.get("DFRESEARCH_RESULTS") else Path("runs")


def _results_directory() -> Path:
    # `.env` is read by no shell: a `~` there is still one.
    return Path(os.environ.get("DFRESEARCH_RESULTS") or "results").expanduser()
