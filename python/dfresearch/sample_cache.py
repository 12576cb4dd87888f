"""Where preprocessed samples are kept and how much room they get: what the caller and the environment say.

`DFRESEARCH_SAMPLE_CACHE_DIR` names the folder, or says `off`; `DFRESEARCH_SAMPLE_CACHE_GB` is the room in gigabytes.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

import dfresearch_rs
from dfresearch.training import TrainingError

if TYPE_CHECKING:
    from dfresearch.batch_loader import BatchLoader

BYTES_PER_GIGABYTE = 10**9

FOLDER = "sample_cache"
OFF = "off"


@dataclass(frozen=True)
class SampleCacheSettings:
    """A folder for records of preprocessed samples."""

    folder: Path
    gigabytes: float | None
    """None: a quarter of the free disk, at most 50."""
    is_chosen: bool
    """Whether somebody named the folder; otherwise nobody misses it where it cannot be made."""


def resolve(cache_dir: Path, choice: bool | str | os.PathLike[str]) -> SampleCacheSettings | None:
    """Return the sample cache of a script; None when there is to be none.

    Args:
        cache_dir: the folder of the datasets, in which the sample cache lies by default.
        choice: True for the environment's folder or the default one, False or "off" for none, or a folder.

    Raises:
        ArgumentError: `choice` is none of these, or the environment's size is no number of gigabytes.
    """
    named = os.environ.get("DFRESEARCH_SAMPLE_CACHE_DIR", "").strip()
    if not isinstance(choice, bool):
        named = os.fspath(choice).strip() if isinstance(choice, str | os.PathLike) else ""
        if not named:
            raise dfresearch_rs.ArgumentError(f'sample_cache: {choice!r} is not True, False, "off" or a folder')
    gigabytes = _gigabytes()
    if choice is False or named.lower() == OFF or gigabytes == 0:
        return None
    folder = Path(named).expanduser() if named else Path(cache_dir) / FOLDER
    # Files are added to it as long as the loader lives, wherever the process has gone meanwhile.
    return SampleCacheSettings(folder.absolute(), gigabytes, is_chosen=bool(named))


def failure(error: OSError) -> str:
    """Say in one line which file of a sample cache could not be used, and why."""
    return str(error) if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"


def line(cache_dir: Path, modality: str) -> str | None:
    """Say in one line what is kept of a modality, or why nobody knows; None where it is nothing."""
    settings = resolve(cache_dir, True)
    try:
        stores = [] if settings is None else dfresearch_rs.survey_sample_cache(settings.folder)
    except OSError as error:
        return f"sample cache: it cannot be read: {failure(error)}"
    stores = [store for store in stores if store.modality == modality]
    if settings is None or not stores:
        return None
    records, size = sum(store.records for store in stores), sum(store.bytes for store in stores)
    stale = sum(not store.is_current for store in stores)
    made = f", {stale} of {len(stores)} stores made by another version, which make way first" if stale else ""
    return f"sample cache: {records} records, {size / BYTES_PER_GIGABYTE:.2f} GB in {settings.folder}{made}"


def _gigabytes() -> float | None:
    text = os.environ.get("DFRESEARCH_SAMPLE_CACHE_GB", "").strip()
    if not text:
        return None
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < float("inf"):
        raise dfresearch_rs.ArgumentError(
            f"DFRESEARCH_SAMPLE_CACHE_GB: {text!r} is no size in gigabytes; 20 or 0.5, for example"
        )
    return gigabytes


def warm(loader: "BatchLoader", modality: str, stream: TextIO) -> int:
    """Decode every sample of a loader that its sample cache lacks, say on `stream` what came of it, and count them.

    Raises:
        TrainingError: the sample cache is off.
    """
    total = len(loader.dataset)
    if total == 0:
        return 0
    with tqdm(total=total, unit="sample", desc=modality, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        report = loader.warm(lambda done, _: bar.update(done - bar.n))
    state = loader.sample_cache_report()
    if report is None or state is None:
        raise TrainingError(
            "the sample cache is off: see DFRESEARCH_SAMPLE_CACHE_DIR and DFRESEARCH_SAMPLE_CACHE_GB in the environment"
        )
    print(
        f"{modality}: {total} samples: {report.present} were kept already, {report.added} were decoded and kept",
        file=stream,
    )
    if report.not_kept:
        reason = "the sample cache is full" if state.is_full else "they are too large to be kept"
        print(f"  {report.not_kept} are decoded in training every time: {reason}", file=stream)
    for path, reason in report.failed:
        print(f"  left out: {path}: {reason}", file=stream)
    size = f"{state.bytes / BYTES_PER_GIGABYTE:.2f} GB, of at most {state.max_bytes / BYTES_PER_GIGABYTE:.1f} GB in all"
    print(f"  {state.records} records in {state.folder}: {size}", file=stream)
    for notice in state.notices:
        print(f"  {notice}", file=stream)
    return total
