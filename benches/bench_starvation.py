"""What a GPU would wait: batches consumed at fixed step times, and the share of the time that went into waiting.

Usage: python benches/bench_starvation.py [--media FOLDER] [--rounds N] [--seconds S]

A step is simulated by sleeping, as the CPU does while a GPU computes, and spinning for its last moment. Starved is the
time spent waiting for batches over all the time, in whole epochs but for their first batches: as many as the workers
have in work ahead of the consumer, whose wait is the workers' start. It comes once an epoch, and those of a bench are
short.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import baselines
from corpus import prepare_corpus
from measure import Batches, Spread, alternate
from works import Work, all_works, fresh_folder

from dfresearch.data import PREFETCHED_BATCHES

STEP_MILLISECONDS = (0.5, 1, 2, 5, 10, 20, 50)
# A sleep may overshoot by this much; the rest of a step is spun away.
SPIN_SECONDS = 0.0003
WORKS = ("image-png-2", "video-1")
# Each of the baseline's workers has two batches in work, which is torch's default.
BASELINE_AHEAD = 2 * baselines.WORKERS
BASELINE, FIRST, STEADY = "baseline", "first epoch", "steady state"


def step(seconds: float) -> None:
    """Let so much time pass, to within microseconds, most of it without a core."""
    end = time.perf_counter() + seconds
    if seconds > SPIN_SECONDS:
        time.sleep(seconds - SPIN_SECONDS)
    while time.perf_counter() < end:
        pass


class Consumer:
    """A training loop whose step takes a fixed time."""

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self.waited = self.stepped = 0.0

    def run(self, loader: Batches, batches: int, ahead: int) -> None:
        """One epoch of so many batches, of which the first `ahead` (at most half of them) do not count."""
        uncounted = min(ahead, batches // 2)
        start = time.perf_counter()
        for number, _ in enumerate(loader):
            ready = time.perf_counter()
            step(self.step_seconds)
            if number >= uncounted:
                self.waited += ready - start
                self.stepped += time.perf_counter() - ready
            start = time.perf_counter()

    @property
    def starved(self) -> float:
        """The share of the time in which a step could not begin for want of its batch."""
        return self.waited / (self.waited + self.stepped)


def run_epochs(step_seconds: float, least_seconds: float, epochs: Iterator[Batches], ahead: int) -> float:
    """Consume whole epochs, as many as it takes; returns the share starved."""
    consumer = Consumer(step_seconds)
    while consumer.waited + consumer.stepped < least_seconds:
        loader = next(epochs)
        consumer.run(loader, len(loader), ahead)  # type: ignore[arg-type]
    return consumer.starved


def first_epochs(work: Work) -> Iterator[Batches]:
    """Loaders with an empty sample cache each."""
    while True:
        with fresh_folder(work.view) as sample_cache:
            loader = work.ours(sample_cache)
            yield loader
            loader.close()


def measure_starvation(
    work: Work, rounds: int, seconds: float, steps: tuple[float, ...] = STEP_MILLISECONDS
) -> dict[str, Any]:
    """The share of time starved, by step time: baseline, our first epoch and our steady state in alternating rounds."""
    rows = []
    with work.warm_loader() as warm:
        batches = len(warm)
        for milliseconds in steps:
            at = milliseconds / 1000
            contenders: dict[str, Callable[[], float]] = {
                BASELINE: lambda at=at: run_epochs(at, seconds, iter(work.baseline, None), BASELINE_AHEAD),
                FIRST: lambda at=at: run_epochs(at, seconds, first_epochs(work), PREFETCHED_BATCHES),
                STEADY: lambda at=at: run_epochs(at, seconds, itertools.repeat(warm), PREFETCHED_BATCHES),
            }
            figures = alternate(contenders, rounds)
            starved = {name: Spread.of(values).as_dict() for name, values in figures.items()}
            rows.append({"step_milliseconds": milliseconds, "starved": starved})
    return {"work": work.name, "title": work.title, "batch_size": work.batch_size, "batches": batches, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="least seconds of every figure, in whole epochs")
    arguments = parser.parse_args()
    corpus = prepare_corpus(arguments.media)
    Path(".bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="views-", dir=".bench") as folder:
        for work in all_works():
            if work.name not in WORKS:
                continue
            work.prepare(corpus, Path(folder))
            measured = measure_starvation(work, arguments.rounds, arguments.seconds)
            print(f"{work.title}, batch {work.batch_size}: share of the time starved")
            for row in measured["rows"]:
                shares = "   ".join(f"{name} {100 * each['median']:5.1f} %" for name, each in row["starved"].items())
                print(f"  {row['step_milliseconds']:>4} ms a step   {shares}", flush=True)


if __name__ == "__main__":
    main()
