"""Which samples there are: dataset definitions, the cache folder, and the split.

Everything is said in the arguments; `dfresearch.data` calls these functions with its own `CACHE_DIR` and definitions.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dfresearch_rs
from dfresearch_rs import DatasetReport, Samples, StoreReport

__all__ = [
    "LABEL_MAP",
    "SPLIT_SEED",
    "CacheSurvey",
    "default_cache_dir",
    "gather_samples",
    "load_dataset_config",
    "survey_cache",
]

LABEL_MAP = {"real": 0, "synthetic": 1, "semisynthetic": 1}
"""The label of each media type: whatever a generator touched is synthetic."""

# What the split is drawn with: never a training's seed, or two trainings would validate on different samples.
SPLIT_SEED = 42

# How many files a message names before it only counts them.
NAMED_FILES = 3

TABLE_HEADER = ("dataset", "type", "samples", "quarantined", "status", "reason")


def default_cache_dir() -> Path:
    """Return the folder that `DFRESEARCH_CACHE` names, or `~/.cache/dfresearch`."""
    return Path(os.environ.get("DFRESEARCH_CACHE") or "~/.cache/dfresearch").expanduser()


def load_dataset_config(cache_dir: Path, modality: str, own_dir: Path = Path("datasets")) -> dict[str, Any]:
    """Return `{"datasets": [definition, ...]}`: the competition's definitions and a person's own.

    The competition's lie in `{cache_dir}/gasbench_configs/`, a person's in `{own_dir}/{modality}.yaml`, in the current
    folder unless said otherwise. Of two definitions with one name, the person's counts.

    Raises:
        dfresearch_rs.DefinitionError: a definition is not valid; the message begins with file and line.

    Warns:
        UserWarning: a definition has unknown fields, or files of two layouts lie beside each other.
    """
    definitions, notes = dfresearch_rs.load_catalog(cache_dir / "gasbench_configs", own_dir, modality)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return {"datasets": definitions}


def gather_samples(
    cache_dir: Path,
    modality: str,
    config: Mapping[str, Any],
    split: str = "train",
    max_per_class: int | None = None,
    seed: int = SPLIT_SEED,
) -> Samples:
    """List the samples of a split, in an order that mixes classes and datasets and is always the same.

    `max_per_class` keeps the same samples of a class whatever the split, then splits. Any split but `train` and `val`
    is all samples.

    Raises:
        dfresearch_rs.ArgumentError: `max_per_class` is less than one.

    Warns:
        UserWarning: something in the cache is left out.
    """
    if max_per_class is not None and max_per_class < 1:
        raise dfresearch_rs.ArgumentError(f"max_per_class: {max_per_class} keeps nothing; None keeps everything")
    samples, report = dfresearch_rs.gather_samples(
        cache_dir, modality, _labelled_names(config), split, max_per_class, seed
    )
    for note in _notes(report):
        warnings.warn(note, stacklevel=2)
    return samples


def survey_cache(cache_dir: Path, modality: str, config: Mapping[str, Any], *, rescan: bool = False) -> "CacheSurvey":
    """Report on everything that the cache holds of a modality.

    Files are looked at where a folder has changed; with `rescan` all are, so that one is noticed that was overwritten
    in place.
    """
    report = dfresearch_rs.survey_cache(cache_dir, modality, _labelled_names(config), rescan)
    return CacheSurvey(modality, report)


@dataclass(frozen=True)
class CacheSurvey:
    """What the cache holds of a modality."""

    modality: str
    report: StoreReport

    @property
    def num_samples(self) -> int:
        """The number of usable samples."""
        return sum(dataset.samples for dataset in self.report.datasets)

    def table(self) -> str:
        """One line per dataset, the totals, and whatever a person should look at."""
        rows = [TABLE_HEADER, *(_row(dataset) for dataset in self.report.datasets)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE_HEADER))]
        lines = [
            "  ".join(
                # Numbers stand on the right.
                cell.rjust(width) if column in (2, 3) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, self._totals(), *_notes(self.report, named_quarantine=True)])

    def _totals(self) -> str:
        by_label = [0, 0]
        for dataset in self.report.datasets:
            by_label[LABEL_MAP[dataset.media_type]] += dataset.samples
        return (
            f"{self.num_samples} {self.modality} samples: {by_label[0]} real, {by_label[1]} synthetic; "
            f"{len(self.report.quarantined)} files quarantined"
        )


def _row(dataset: DatasetReport) -> tuple[str, ...]:
    counts = str(dataset.samples), str(dataset.quarantined)
    return dataset.name, dataset.media_type, *counts, dataset.status, dataset.reason


def _labelled_names(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Reduce a configuration, which a script may have written itself, to names and media types."""
    pairs = []
    for definition in config["datasets"]:
        for field in ("name", "media_type"):
            if not isinstance(definition.get(field), str):
                raise dfresearch_rs.DefinitionError(
                    f"dataset {definition!r}: the field {field!r} is missing or no text"
                )
        pairs.append((definition["name"], definition["media_type"]))
    return pairs


def _notes(report: StoreReport, *, named_quarantine: bool = False) -> list[str]:
    """Say in words what is left out, and what else is odd."""
    notes = list(report.notices)
    if report.undefined_folders:
        folders = _some(report.undefined_folders)
        notes.append(f"left out, because no definition says whether they are real: {folders}")
    if report.conflicts:
        pairs = [f"{real[0]} = {synthetic[0]}" for real, synthetic in report.conflicts]
        notes.append(f"left out, because the same bytes are called both real and synthetic: {_some(pairs)}")
    if report.unknown_manifest_files:
        lines = [f"{manifest}:{line}: {file}" for manifest, line, file in report.unknown_manifest_files]
        notes.append(f"named in a manifest, but not there: {_some(lines)}")
    if report.quarantined:
        if named_quarantine:
            notes.extend(f"quarantined: {path}: {reason}" for path, reason in report.quarantined)
        else:
            files = [f"{path}: {reason}" for path, reason in report.quarantined]
            notes.append(f"quarantined, because they cannot be used: {_some(files)}")
    if report.duplicates and named_quarantine:
        notes.append(f"{report.duplicates} samples are copies of another one with the same label")
    return notes


def _some(items: Sequence[object]) -> str:
    """Name the first few and count the rest."""
    named = "; ".join(str(item) for item in items[:NAMED_FILES])
    rest = len(items) - NAMED_FILES
    return f"{named}; and {rest} more" if rest > 0 else named
