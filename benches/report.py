"""Measure everything in one go and write benches/REPORT.md with its two plots.

Usage: python benches/report.py [--quick] [--media FOLDER] [--rounds N] [--peers-python PATH] [--only SECTION ...]
       python benches/report.py --from-json benches/report.json

`--quick` shows in a few minutes that everything runs; its figures are worth nothing. Without --media a corpus is made
in .bench/ once and used again. Peers that are not in this environment are looked for in that of --peers-python.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_ceiling import measure_ceiling
from bench_indexed import SIZES, measure_size
from bench_loader import measure_work
from bench_peers import measure_peers, peer_works
from bench_scaling import EPOCHS, MEMORY_WORK, measure_memory, measure_threads
from bench_scaling import WORKS as THREADED_WORKS
from bench_starvation import STEP_MILLISECONDS, measure_starvation
from bench_starvation import WORKS as STARVED_WORKS
from corpus import prepare_corpus
from machine import CpuTime, describe_commit, describe_machine, describe_versions
from measure import format_rate
from report_markdown import write_markdown
from report_plots import plot_starvation, plot_throughput
from works import Work, all_works

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int
    starvation_rounds: int
    steady_seconds: float
    short_seconds: float
    epochs: int
    sizes: tuple[int, ...]
    steps: tuple[float, ...]
    peers_python: str | None


def full_settings(rounds: int, peers_python: str | None) -> Settings:
    return Settings(rounds, max(3, rounds - 2), 3.0, 1.0, EPOCHS, SIZES, STEP_MILLISECONDS, peers_python)


def quick_settings(peers_python: str | None) -> Settings:
    return Settings(1, 1, 0.3, 0.2, 4, SIZES[:2], (0.5, 5, 50), peers_python)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the sections -----------------------------------------------------------------------------------------------------


def table_section(works: dict[str, Work], settings: Settings) -> list[dict[str, Any]]:
    rows = []
    for work in works.values():
        rows.append(measure_work(work, settings.rounds, settings.steady_seconds))
        row = rows[-1]
        say(
            f"{work.title}: baseline {format_rate(row['baseline']['median'])}/s, first epoch"
            f" {row['first_ratio']['median']:.2f}x, steady state {row['steady_ratio']['median']:.2f}x"
        )
    return rows


def ceiling_section(works: dict[str, Work], settings: Settings) -> dict[str, Any]:
    return measure_ceiling(works["image-png-0"], settings.rounds, settings.short_seconds)


def threads_section(works: dict[str, Work], settings: Settings) -> list[dict[str, Any]]:
    return [measure_threads(works[name], settings.rounds, settings.short_seconds) for name in THREADED_WORKS]


def memory_section(works: dict[str, Work], settings: Settings) -> dict[str, Any]:
    return measure_memory(works[MEMORY_WORK], settings.epochs)


def indexed_section(works: dict[str, Work], settings: Settings) -> list[dict[str, Any]]:
    folder = next(iter(works.values())).view.parent
    return [measure_size(folder, count, settings.rounds, settings.short_seconds) for count in settings.sizes]


def peers_section(works: dict[str, Work], settings: Settings) -> list[dict[str, Any]]:
    chosen = [works[work.name] for work in peer_works()]
    return [measure_peers(work, settings.rounds, settings.short_seconds, settings.peers_python, say) for work in chosen]


def starvation_section(works: dict[str, Work], settings: Settings) -> list[dict[str, Any]]:
    return [
        measure_starvation(works[name], settings.starvation_rounds, settings.short_seconds, settings.steps)
        for name in STARVED_WORKS
    ]


SECTIONS: dict[str, Callable[[dict[str, Work], Settings], Any]] = {
    "works": table_section,
    "ceiling": ceiling_section,
    "threads": threads_section,
    "memory": memory_section,
    "indexed": indexed_section,
    "peers": peers_section,
    "starvation": starvation_section,
}


def measure_all(corpus: Path, settings: Settings, sections: list[str]) -> dict[str, Any]:
    """Run the sections one after the other; what else the machine did meanwhile is noted for each."""
    measured: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": settings.rounds,
        "starvation_rounds": settings.starvation_rounds,
        "steady_seconds": settings.steady_seconds,
        **describe_commit(),
        "sections": {},
    }
    scratch = Path(".bench")
    scratch.mkdir(exist_ok=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="views-", dir=scratch) as folder:
        works = {work.name: work for work in all_works()}
        for work in works.values():
            work.prepare(corpus, Path(folder))
        for name in sections:
            load, cpu, start = os.getloadavg()[0], CpuTime.now(), time.monotonic()
            say(f"--- {name}")
            measured[name] = SECTIONS[name](works, settings)
            measured["sections"][name] = {
                "seconds": round(time.monotonic() - start, 1),
                "load_before": round(load, 2),
                "others": round(CpuTime.now().others_since(cpu), 3),
            }
    measured["seconds"] = round(time.monotonic() - begin)
    return measured


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round of everything: a smoke test")
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5, help="of every figure (default 5)")
    parser.add_argument("--peers-python", help="Python of an environment with peers that are not in this one")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections alone; the report lacks the others")
    parser.add_argument("--from-json", type=Path, help="measure nothing: write the report anew from these figures")
    parser.add_argument("--output", type=Path, default=FOLDER, help="where to write (default: beside this file)")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    if arguments.from_json is not None:
        measured = json.loads(arguments.from_json.read_text())
    else:
        settings = (
            quick_settings(arguments.peers_python)
            if arguments.quick
            else full_settings(arguments.rounds, arguments.peers_python)
        )
        corpus = prepare_corpus(arguments.media)
        measured = measure_all(corpus, settings, arguments.only or list(SECTIONS))
        measured["quick"] = arguments.quick
        measured["own_corpus"] = arguments.media is None
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "report.json").write_text(json.dumps(measured, indent=1) + "\n")
    if "works" in measured:
        plot_throughput(measured["works"], arguments.output / "report_throughput.svg")
    if "starvation" in measured:
        plot_starvation(measured["starvation"], arguments.output / "report_starvation.svg")
    (arguments.output / "REPORT.md").write_text(write_markdown(measured))
    say(f"written: {arguments.output.name}/REPORT.md")


if __name__ == "__main__":
    main()
