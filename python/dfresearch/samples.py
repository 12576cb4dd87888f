"""Which samples there are: dataset definitions, the cache folder, and the split.

Everything is said in the arguments; `dfresearch.data` calls these functions with its own `CACHE_DIR` and definitions.
"""

import os
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import dfresearch_rs
from dfresearch_rs import DatasetReport, Samples, StoreReport

__all__ = [
    "LABEL_MAP",
    "SPLIT_SEED",
    "CacheSurvey",
    "DatasetChoice",
    "aligned",
    "default_cache_dir",
    "gather_samples",
    "load_dataset_config",
    "pack_listing",
    "survey_cache",
    "unpack_listing",
]

LABEL_MAP = {"real": 0, "synthetic": 1, "semisynthetic": 1}
"""The label of each media type: whatever a generator touched is synthetic."""

# What the split is drawn with: never a training's seed, or two trainings would validate on different samples.
SPLIT_SEED = 42

# Names of files hold little that more effort would find.
FASTEST_COMPRESSION = 1

# How many files a message names before it only counts them.
NAMED_FILES = 3

# What is told of a dataset as data.
REPORT_FIELDS = (
    "name",
    "media_type",
    "samples",
    "quarantined",
    "conflicting",
    "other_files",
    "status",
    "reason",
)
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


def pack_listing(listing: Samples, root: Path) -> dict[str, bytes]:
    """Return paths and labels in little memory; what lies in `root` is found in another `root` as well."""
    prefix = f"{root}/"
    paths, labels = [], bytearray()
    for path, label in listing:
        paths.append(str(path).removeprefix(prefix))
        labels.append(label)
    packed = {"paths": "\0".join(paths).encode(), "labels": bytes(labels)}
    return {name: zlib.compress(content, level=FASTEST_COMPRESSION) for name, content in packed.items()}


def unpack_listing(packed: Mapping[str, bytes], root: Path) -> Samples:
    """Return the samples that `pack_listing` packed, in their order."""
    paths, labels = zlib.decompress(packed["paths"]).decode(), zlib.decompress(packed["labels"])
    names = paths.split("\0") if labels else []
    return Samples([(os.path.join(root, name), label) for name, label in zip(names, labels, strict=True)])


@dataclass(frozen=True)
class DatasetChoice:
    """Which datasets a command is about."""

    patterns: Sequence[str] = ()
    """Shell patterns of names, of which one has to match; none means every name."""
    media_type: str | None = None
    """`real`, `synthetic` or `semisynthetic`; None means all."""

    def keeps(self, name: str, media_type: str) -> bool:
        """Tell whether a dataset is among them."""
        return (not self.patterns or any(fnmatchcase(name, pattern) for pattern in self.patterns)) and (
            self.media_type in (None, media_type)
        )

    def among(self, definitions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the definitions that are chosen.

        Raises:
            dfresearch_rs.ArgumentError: a pattern fits no definition at all, or nothing is chosen of some.
        """
        self.require([definition["name"] for definition in definitions])
        chosen = [definition for definition in definitions if self.keeps(definition["name"], definition["media_type"])]
        if definitions and not chosen:
            raise dfresearch_rs.ArgumentError(f"media_type: none of the chosen datasets is {self.media_type}")
        return chosen

    def require(self, names: Sequence[str]) -> None:
        """Make sure that every pattern fits one of `names`.

        Raises:
            dfresearch_rs.ArgumentError: one fits none, as after a slip of the finger.
        """
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise dfresearch_rs.ArgumentError(
                    f"datasets: {pattern!r} fits none of {len(names)} names"
                    + (f", such as {names[0]}" if names else "")
                )


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
    choice: DatasetChoice = DatasetChoice()
    """The datasets that are shown and counted; what the report says of the others is left out."""

    def narrowed(self, choice: DatasetChoice) -> "CacheSurvey":
        """Return the survey of some of its datasets."""
        return replace(self, choice=choice)

    @property
    def datasets(self) -> list[DatasetReport]:
        """The datasets that are chosen."""
        return [dataset for dataset in self.report.datasets if self.choice.keeps(dataset.name, dataset.media_type)]

    @property
    def num_samples(self) -> int:
        """The number of usable samples."""
        return sum(dataset.samples for dataset in self.datasets)

    def table(self) -> str:
        """One line per dataset, the totals, and whatever a person should look at."""
        rows = [TABLE_HEADER, *(_row(dataset) for dataset in self.datasets)]
        lines = aligned(rows, numbers=(2, 3))
        return "\n".join([*lines, self._totals(), *_notes(self.report, self._concerns, named_quarantine=True)])

    def as_dict(self) -> dict[str, Any]:
        """Return what `table` says as data that JSON can hold."""
        real, synthetic = self._by_label()
        return {
            "samples": self.num_samples,
            "real": real,
            "synthetic": synthetic,
            "datasets": [{field: getattr(dataset, field) for field in REPORT_FIELDS} for dataset in self.datasets],
            "quarantined": [
                {"file": str(path), "reason": reason}
                for path, reason in self.report.quarantined
                if self._concerns(path)
            ],
            "conflicts": [
                {"real": [str(path) for path in real_files], "synthetic": [str(path) for path in synthetic_files]}
                for real_files, synthetic_files in self.report.conflicts
                if any(map(self._concerns, [*real_files, *synthetic_files]))
            ],
            "undefined_folders": [str(folder) for folder in self.report.undefined_folders if self._concerns(folder)],
            "missing_files": [
                {"manifest": str(manifest), "line": line, "file": file}
                for manifest, line, file in self.report.unknown_manifest_files
                if self._concerns(manifest)
            ],
            "duplicates": self.report.duplicates,
            "notices": list(self.report.notices),
        }

    def _concerns(self, path: Path) -> bool:
        """Tell whether a file is of a chosen dataset; without a choice, everything concerns us."""
        if self.choice == DatasetChoice():
            return True
        return any(dataset.name in path.parts for dataset in self.datasets)

    def _by_label(self) -> tuple[int, int]:
        by_label = [0, 0]
        for dataset in self.datasets:
            by_label[LABEL_MAP[dataset.media_type]] += dataset.samples
        return by_label[0], by_label[1]

    def _totals(self) -> str:
        real, synthetic = self._by_label()
        return (
            f"{self.num_samples} {self.modality} samples: {real} real, {synthetic} synthetic; "
            f"{sum(dataset.quarantined for dataset in self.datasets)} files quarantined"
        )


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[str]:
    """Return the lines of a table; the columns `numbers` stand on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


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


def _everything(_path: Path) -> bool:
    return True


def _notes(
    report: StoreReport, concerns: Callable[[Path], bool] = _everything, *, named_quarantine: bool = False
) -> list[str]:
    """Say in words what is left out, and what else is odd, of the files that concern somebody."""
    notes = list(report.notices)
    folders = [folder for folder in report.undefined_folders if concerns(folder)]
    if folders:
        notes.append(f"left out, because no definition says whether they are real: {_some(folders)}")
    pairs = [
        f"{real[0]} = {synthetic[0]}" for real, synthetic in report.conflicts if any(map(concerns, [*real, *synthetic]))
    ]
    if pairs:
        notes.append(f"left out, because the same bytes are called both real and synthetic: {_some(pairs)}")
    lines = [
        f"{manifest}:{line}: {file}" for manifest, line, file in report.unknown_manifest_files if concerns(manifest)
    ]
    if lines:
        notes.append(f"named in a manifest, but not there: {_some(lines)}")
    files = [f"{path}: {reason}" for path, reason in report.quarantined if concerns(path)]
    if named_quarantine:
        notes.extend(f"quarantined: {file}" for file in files)
    elif files:
        notes.append(f"quarantined, because they cannot be used: {_some(files)}")
    if report.duplicates and named_quarantine:
        notes.append(f"{report.duplicates} samples are copies of another one with the same label")
    return notes


def _some(items: Sequence[object]) -> str:
    """Name the first few and count the rest."""
    named = "; ".join(str(item) for item in items[:NAMED_FILES])
    rest = len(items) - NAMED_FILES
    return f"{named}; and {rest} more" if rest > 0 else named
