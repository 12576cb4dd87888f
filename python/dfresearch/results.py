"""Where trainings leave their results: `results/` in the current folder, or `DFRESEARCH_RESULTS`."""

import os
from pathlib import Path

__all__ = ["checkpoint_directory", "exports_directory"]


def checkpoint_directory(modality: str) -> Path:
    """Return the folder of a modality's checkpoint: weights, configuration and model source."""
    return _results_directory() / "checkpoints" / modality


def exports_directory() -> Path:
    """Return the folder that submissions are written to."""
    return _results_directory() / "exports"


def _results_directory() -> Path:
    return Path(os.environ.get("DFRESEARCH_RESULTS") or "results")
