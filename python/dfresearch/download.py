"""Fetching datasets into the cache: what there is to fetch, the fetch itself, and what came of it."""

from collections import Counter
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
"""The status of a plan for which there is nothing to do; so is that of what is kept."""
GOOD = "OK"
"""The status of a dataset that has all of its samples."""
PLAN_KEPT, KEPT = "kept", "KEPT"
"""What a plan and a report say of a dataset that was filled by hand or by another program, and is used as it is."""
UNKNOWN = "?"
# As many datasets may say the same in a plan before it is said once, below.
SAME_NOTES = 3


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
    common = _common_notes(plans)
    for each in plans:
        size = UNKNOWN if each.bytes is None else shown_bytes(each.bytes)
        counts = (_count(each.files), _count(None if each.status == PLAN_KEPT else each.samples))
        note = f"({common.index(each.note) + 1})" if each.note in common else each.note
        rows.append((each.name, each.media_type, each.status, *counts, size, note))
    to_fetch = [each for each in plans if each.status not in (COMPLETE, PLAN_KEPT)]
    sizes = [each.bytes for each in to_fetch if each.bytes is not None]
    kept = sum(each.status == PLAN_KEPT for each in plans)
    parts = [
        f"{len(plans) - len(to_fetch) - kept} complete",
        *([f"{kept} kept"] if kept else []),
        f"{len(to_fetch)} to fetch",
    ]
    totals = f"{len(plans)} datasets: {', '.join(parts)}{_total_size(sizes, len(to_fetch))}"
    notes = [f"({number}) {note}" for number, note in enumerate(common, start=1)]
    return "\n".join([*samples.aligned(rows, numbers=(3, 4, 5)), *notes, totals])


def report_table(report: "PrepareReport") -> str:
    """One line for each dataset that is not whole, with the reason; what was filled by hand; and the totals."""
    lines = []
    kept = sum(each.status == KEPT for each in report.datasets)
    broken = [each for each in report.datasets if each.status not in (GOOD, KEPT)]
    if broken:
        rows = [("dataset", "status", "samples", "reason")]
        rows += [(each.name, each.status, f"{each.samples}/{each.wanted}", each.reason) for each in broken]
        lines = samples.aligned(rows, numbers=(2,))
    count = sum(each.samples for each in report.datasets)
    size = shown_bytes(sum(each.bytes for each in report.datasets))
    whole = len(report.datasets) - len(broken) - kept
    if kept:
        lines.append(
            f"{kept} {KEPT}: filled by hand or by another program and used as they are; to have one fetched, remove "
            "its folder"
        )
    parts = [f"{whole} {GOOD}", *([f"{kept} {KEPT}"] if kept else []), f"{len(broken)} not"]
    lines.append(f"{len(report.datasets)} datasets: {', '.join(parts)}; {count} samples, {size} fetched")
    return "\n".join(lines)


def _total_size(sizes: Sequence[int], count: int) -> str:
    """Say how much there is to fetch in `count` datasets, of which those with a known size have `sizes`."""
    if not count:
        return ""
    if not sizes:
        return "; how large they are is not known"
    some = "" if len(sizes) == count else f" in the {len(sizes)} whose size is known"
    return f"; at most {shown_bytes(sum(sizes))}{some}"


def _common_notes(plans: "Sequence[DatasetPlan]") -> list[str]:
    """Return the notes that more than a few datasets share, such as that the hub cannot be reached."""
    counts = Counter(each.note for each in plans if each.note)
    return [note for note, count in counts.items() if count > SAME_NOTES]


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else str(count)
