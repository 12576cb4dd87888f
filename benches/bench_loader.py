"""Files to batches: hand-written PyTorch DataLoaders against ours, on the same files, all modalities.

Usage: python benches/bench_loader.py [--media FOLDER] [--rounds N] [--seconds S] [--only NAME ...]

For each work of the report: the baseline, and ours without a sample cache, in the epoch that fills it and in later
ones, in alternating rounds. Then what the report leaves out: other settings, first epochs without a sample cache alone.
What both sides deliver is compared before anything is timed. Without --media a corpus is made in .bench/ once.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import baselines.video
from corpus import Sample, prepare_corpus
from measure import Batches, Spread, alternate, epoch_rate, format_rate, ratios, steady_rate
from works import CORES, Work, all_works, compare_outputs

import dfresearch_rs
from dfresearch.data import PREFETCHED_BATCHES


def measure_work(work: Work, rounds: int, steady_seconds: float) -> dict[str, Any]:
    """The baseline, and ours without a sample cache, in its first epoch and in later ones: rates and ratios."""
    compare_outputs(work)
    with work.warm_loader() as warm:
        figures = alternate(
            {
                "baseline": lambda: epoch_rate(work.baseline),
                "uncached": work.uncached_rate,
                "first": work.first_epoch_rate,
                "steady": lambda: steady_rate(warm, steady_seconds),
            },
            rounds,
        )
        kept = warm.sample_cache_report()
    row: dict[str, Any] = {
        "work": work.name,
        "title": work.title,
        "samples": len(work.samples),
        "batch_size": work.batch_size,
        "cache_bytes": kept.bytes,
    }
    for name, values in figures.items():
        row[name] = Spread.of(values).as_dict()
    for name in ("uncached", "first", "steady"):
        row[f"{name}_ratio"] = ratios(figures[name], figures["baseline"]).as_dict()
    row["first_to_uncached"] = ratios(figures["first"], figures["uncached"]).as_dict()
    return row


def print_work(row: dict[str, Any]) -> None:
    print(f"{row['title']}, {row['samples']} samples: baseline {format_rate(row['baseline']['median'])}/s", flush=True)
    for name in ("uncached", "first", "steady"):
        ratio = row[f"{name}_ratio"]
        print(
            f"  ours, {name:<9} {format_rate(row[name]['median']):>8}/s   {ratio['median']:8.2f} times the baseline"
            f"   (rounds {ratio['least']:.2f} to {ratio['greatest']:.2f})",
            flush=True,
        )


# --- settings that the report leaves out ------------------------------------------------------------------------------


def native_loader(work: Work, samples: list[Sample], **settings: object) -> dfresearch_rs.Loader:
    """Ours with settings that `make_dataloader` does not have, without a sample cache."""
    return dfresearch_rs.Loader(
        samples,
        modality=work.modality,
        batch_size=work.batch_size,
        augment=work.level or None,
        shuffle=True,
        drop_last=True,
        num_workers=CORES,
        prefetch=PREFETCHED_BATCHES,
        **settings,
    )


def variants(work: Work) -> dict[str, tuple[Callable[[], Batches], Callable[[], Batches]]]:
    """The baseline's loader and ours by title."""
    found: dict[str, tuple[Callable[[], Batches], Callable[[], Batches]]] = {}
    if work.modality == "image":
        found["the whole picture, antialiased"] = (
            work.baseline,
            lambda: native_loader(work, work.samples, mode="stretch"),
        )
        if ".jpg" in work.suffixes:
            found["not saved again"] = (work.baseline, lambda: native_loader(work, work.samples, recompress=False))
    elif work.modality == "video":
        found["frames of the whole clip on both sides"] = (
            lambda: baselines.video.baseline_loader(work.samples, work.batch_size, augment=True, sampling="uniform"),
            lambda: native_loader(work, work.samples, sampling="uniform"),
        )
    else:
        wav = [sample for sample in work.samples if sample[0].suffix == ".wav"]
        if len(wav) >= 2 * work.batch_size:
            found["wav alone"] = (lambda: work.baseline_of(wav), lambda: native_loader(work, wav, crop="random"))
    return found


def print_variants(work: Work, rounds: int) -> None:
    for title, (theirs, ours) in variants(work).items():
        figures = alternate(
            {"theirs": lambda make=theirs: epoch_rate(make), "ours": lambda make=ours: epoch_rate(make)}, rounds
        )
        ratio = ratios(figures["ours"], figures["theirs"])
        print(
            f"  {title}, no sample cache: {ratio.median:.2f} times the baseline"
            f"   (rounds {ratio.least:.2f} to {ratio.greatest:.2f})",
            flush=True,
        )


def main() -> None:
    works = {work.name: work for work in all_works()}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="least seconds of later epochs in a round")
    parser.add_argument("--only", nargs="+", choices=works, default=list(works))
    arguments = parser.parse_args()
    corpus = prepare_corpus(arguments.media)
    Path(".bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="views-", dir=".bench") as folder:
        for name in arguments.only:
            works[name].prepare(corpus, Path(folder))
            print_work(measure_work(works[name], arguments.rounds, arguments.seconds))
            print_variants(works[name], arguments.rounds)


if __name__ == "__main__":
    main()
