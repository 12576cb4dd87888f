"""The ceiling of a steady state: how fast this machine copies records into batches, and our share of it at level 0.

Usage: python benches/bench_ceiling.py [--media FOLDER] [--rounds N] [--seconds S]

Copied are records of an image's size, in shuffled order, from a source that no cache of the CPU holds into batches
that are new each time, as a loader's are: by torch (`index_select`) on one thread and on one a core, and once into the
same batch again, which shows what new memory costs. Ours also turns interleaved pixels into planes on the way.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from corpus import prepare_corpus
from measure import Spread, alternate, ratios, steady_rate
from works import CORES, IMAGE_BATCH, IMAGE_RECORD_BYTES, Work, all_works

from dfresearch.data import BatchLoader

LAST_LEVEL_CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
# Where the system does not say how large its caches are.
ASSUMED_CACHE_BYTES = 64 << 20
TIMES_THE_CACHE = 8
LEAST_SOURCE_BYTES = 256 << 20
GIGABYTE = 1e9


def largest_cache_bytes() -> int:
    """The CPU's last cache, from Linux."""
    sizes = [path.read_text().strip() for path in LAST_LEVEL_CACHE.glob("index*/size")]
    units = {"K": 1 << 10, "M": 1 << 20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=ASSUMED_CACHE_BYTES)


class Copies:
    """Records and the shuffled orders in which they are copied."""

    def __init__(self) -> None:
        source_bytes = max(LEAST_SOURCE_BYTES, TIMES_THE_CACHE * largest_cache_bytes())
        self.records = torch.randint(0, 256, (source_bytes // IMAGE_RECORD_BYTES, IMAGE_RECORD_BYTES)).byte()
        self.kept = torch.empty((IMAGE_BATCH, IMAGE_RECORD_BYTES), dtype=torch.uint8)

    def copy(self, seconds: float, seed: int, into_new: bool) -> int:
        """Copy whole batches for so many seconds; returns bytes."""
        generator = torch.Generator().manual_seed(seed)
        end, copied = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            for order in torch.randperm(len(self.records), generator=generator).split(IMAGE_BATCH)[:-1]:
                if into_new:
                    batch = torch.index_select(self.records, 0, order)
                else:
                    batch = torch.index_select(self.records, 0, order, out=self.kept)
                copied += batch.nbytes
        return copied

    def rate(self, threads: int, seconds: float, into_new: bool = True) -> float:
        """Bytes per second of so many threads together, each with batches of its own."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            start = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                copied = sum(pool.map(lambda seed: self.copy(seconds, seed, into_new), range(threads)))
            return copied / (time.perf_counter() - start)
        finally:
            torch.set_num_threads(before)


@contextmanager
def level_0(work: Work) -> Iterator[Callable[[float], float]]:
    """Bytes per second of ours in steady state, no augmentation, as a function of the least seconds."""
    with work.warm_loader() as loader:
        yield lambda seconds: steady_rate(loader, seconds) * batch_bytes_per_sample(loader)


def batch_bytes_per_sample(loader: BatchLoader) -> float:
    inputs, labels = next(iter(loader))
    return inputs.nbytes / len(labels)


def measure_ceiling(work: Work, rounds: int, seconds: float) -> dict[str, Any]:
    """Time copies and ours in alternating rounds; `work` is the prepared one of images at level 0."""
    copies = Copies()
    with level_0(work) as ours:
        figures = alternate(
            {
                "copy, 1 thread": lambda: copies.rate(1, seconds),
                f"copy, {CORES} threads": lambda: copies.rate(CORES, seconds),
                "copy, 1 thread, into one batch again": lambda: copies.rate(1, seconds, into_new=False),
                "ours": lambda: ours(seconds),
            },
            rounds,
        )
    reference = figures[f"copy, {CORES} threads"]
    return {
        "source_bytes": copies.records.nbytes,
        "record_bytes": IMAGE_RECORD_BYTES,
        "corpus_record_bytes": len(work.samples) * IMAGE_RECORD_BYTES,
        "rows": [
            {
                "name": name,
                "gigabytes_per_second": Spread.of(value / GIGABYTE for value in values).as_dict(),
                "share": ratios(values, reference).as_dict(),
            }
            for name, values in figures.items()
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="least seconds of every figure")
    arguments = parser.parse_args()
    corpus = prepare_corpus(arguments.media)
    Path(".bench").mkdir(exist_ok=True)
    (work,) = [work for work in all_works() if work.name == "image-png-0"]
    with tempfile.TemporaryDirectory(prefix="views-", dir=".bench") as folder:
        work.prepare(corpus, Path(folder))
        measured = measure_ceiling(work, arguments.rounds, arguments.seconds)
    for row in measured["rows"]:
        speed, share = row["gigabytes_per_second"], row["share"]
        print(
            f"{row['name']:<40} {speed['median']:6.2f} GB/s ({speed['least']:.2f} to {speed['greatest']:.2f})   "
            f"{100 * share['median']:5.1f} % of the copy on all cores"
        )


if __name__ == "__main__":
    main()
