"""Fetching datasets into the cache: what there is to fetch, the fetch itself, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dfresearch_rs
from dfresearch import progress, samples
from dfresearch.progress import shown_bytes

if TYPE_CHECKING:
    from dfresearch_rs import ConfigRefresh, DatasetPlan, PrepareReport

__all__ = ["DownloadSettings", "download", "plan", "plan_table", "refresh_configs", "report_table"]

DEFAULT_MAX_SAMPLES = 500
DEFAULT_WORKERS = 4
# The order in which files of a dataset are taken: with another seed, other samples are fetched.
DEFAULT_SEED = 42

COMPLETE = "complete"
"""The status of a plan for which there is nothing to do."""
GOOD = "OK"
"""The status of a dataset that has all of its samples."""
UNKNOWN = "?"


@dataclass(frozen=True)
class DownloadSettings:
    """How much is fetched, and how."""

    max_samples: int = DEFAULT_MAX_SAMPLES
    """Of each dataset."""
    workers: int = DEFAULT_WORKERS
    """Datasets at a time."""
    seed: int = DEFAULT_SEED
    retry: bool = False
    """Whether what failed, or came in part, is tried again."""
    max_disk_bytes: int | None = None
    """What the cache may grow to; None means the disk."""

    def as_options(self) -> dict[str, Any]:
        """Return them as the native functions take them."""
        return {
            "max_samples": self.max_samples,
            "workers": self.workers,
            "seed": self.seed,
            "retry": self.retry,
            "max_disk_bytes": self.max_disk_bytes,
        }


def refresh_configs(cache_dir: Path, force: bool) -> "ConfigRefresh":
    """Bring the competition's definitions in the cache up to date."""
    return dfresearch_rs.refresh_configs(cache_dir, force)


def download(
    cache_dir: Path, definitions: Sequence[Mapping[str, Any]], settings: DownloadSettings, *, show: bool
) -> "PrepareReport":
    """Fetch datasets; `show` prints what is going on, and at the end which of them are not whole, and why."""
    options = settings.as_options()
    chosen = [dict(definition) for definition in definitions]
    if not show:
        return dfresearch_rs.prepare_datasets(cache_dir, chosen, **options, progress=None)
    with progress.download_display() as display:
        report = dfresearch_rs.prepare_datasets(cache_dir, chosen, **options, progress=display.update)
        display.finish(report)
    print(report_table(report))
    return report


def plan(cache_dir: Path, definitions: Sequence[Mapping[str, Any]], settings: DownloadSettings) -> "list[DatasetPlan]":
    """Tell what `download` would do."""
    return dfresearch_rs.plan_datasets(cache_dir, [dict(each) for each in definitions], **settings.as_options())


def plan_table(plans: "Sequence[DatasetPlan]") -> str:
    """One line for each dataset, and the totals; `?` stands for what is known only once a dataset is fetched."""
    rows = [("dataset", "type", "plan", "files", "samples", "size", "note")]
    for each in plans:
        size = UNKNOWN if each.bytes is None else shown_bytes(each.bytes)
        counts = (_count(each.files), _count(each.samples))
        rows.append((each.name, each.media_type, each.status, *counts, size, each.note))
    to_fetch = [each for each in plans if each.status != COMPLETE]
    sizes = [each.bytes for each in to_fetch if each.bytes is not None]
    totals = (
        f"{len(plans)} datasets: {len(plans) - len(to_fetch)} complete, {len(to_fetch)} to fetch; "
        f"{shown_bytes(sum(sizes))} in the {len(sizes)} whose size is known"
    )
    return "\n".join([*samples.aligned(rows, numbers=(3, 4, 5)), totals])


def report_table(report: "PrepareReport") -> str:
    """One line for each dataset that is not whole, with the reason, and the totals."""
    lines = []
    broken = [each for each in report.datasets if each.status != GOOD]
    if broken:
        rows = [("dataset", "status", "samples", "reason")]
        rows += [(each.name, each.status, f"{each.samples}/{each.wanted}", each.reason) for each in broken]
        lines = samples.aligned(rows, numbers=(2,))
    count = sum(each.samples for each in report.datasets)
    size = shown_bytes(sum(each.bytes for each in report.datasets))
    whole = len(report.datasets) - len(broken)
    lines.append(f"{len(report.datasets)} datasets: {whole} {GOOD}, {len(broken)} not; {count} samples, {size}")
    return "\n".join(lines)


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else str(count)
