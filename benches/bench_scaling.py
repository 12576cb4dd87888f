"""How the loader scales with threads, and whether its memory stays where it is.

Usage: python benches/bench_scaling.py [--media FOLDER] [--rounds N] [--seconds S] [--epochs N]
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from corpus import prepare_corpus
from measure import Spread, alternate, count_samples, format_rate
from processes import memory_bytes, run_alone
from works import CORES, Work, all_works, fresh_folder

EPOCHS = 100
# The drift is between the medians of so many epochs: freed batches stay with the allocator or do not, by chance.
DRIFT_EPOCHS = 10
# Their first epoch shows the decoders, their steady state the augmentation and, at level 0, memory.
WORKS = ("image-png-2", "image-png-0", "video-1")
MEMORY_WORK = "image-png-2"


def thread_counts() -> list[int]:
    """1, 2, 4 and so on up to all cores."""
    counts = [1]
    while counts[-1] * 2 <= CORES:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == CORES else [*counts, CORES]


def measure_threads(work: Work, rounds: int, seconds: float) -> dict[str, Any]:
    """Samples per second by number of threads; efficiency is the rate of a thread against that of one alone."""
    counts = thread_counts()
    result: dict[str, Any] = {"work": work.name, "title": work.title}
    for name, rate in (
        ("without a sample cache", work.uncached_rate),
        ("steady state", lambda threads: work.steady_rate(seconds, threads)),
    ):
        figures = alternate({str(count): lambda count=count, rate=rate: rate(count) for count in counts}, rounds)
        result[name] = [
            {
                "threads": count,
                "rate": Spread.of(figures[str(count)]).as_dict(),
                "efficiency": Spread.of(
                    each / one / count for each, one in zip(figures[str(count)], figures["1"], strict=True)
                ).as_dict(),
            }
            for count in counts
        ]
    return result


def measure_memory_alone(work: str, view: str, epochs: int) -> dict[str, Any]:
    """Resident bytes at the end of every epoch, from an empty sample cache on."""
    (chosen,) = [each for each in all_works() if each.name == work]
    chosen.view = Path(view)
    imported = memory_bytes()
    ends = []
    with fresh_folder(chosen.view) as sample_cache:
        loader = chosen.ours(sample_cache)
        for _ in range(epochs):
            count_samples(loader)
            ends.append(memory_bytes())
        loader.close()
    return {"imported": imported, "ends": ends}


def measure_memory(work: Work, epochs: int) -> dict[str, Any]:
    """Run epochs in a process of their own; the drift is from the second on, when all records are kept, to the last."""
    measured = run_alone("bench_scaling.py", work=work.name, view=str(work.view), epochs=epochs)
    memory: dict[str, Any] = {
        "title": work.title,
        "epochs": epochs,
        "drift_epochs": min(DRIFT_EPOCHS, epochs // 2),
        "imported_bytes": measured["imported"]["resident"],
    }
    for kind in ("resident", "anonymous"):
        ends = [end[kind] for end in measured["ends"]]
        count = memory["drift_epochs"]
        early, late = statistics.median(ends[1 : 1 + count]), statistics.median(ends[-count:])
        memory[kind] = {
            "first": ends[0],
            "early": early,
            "late": late,
            "least": min(ends[1:]),
            "most": max(ends[1:]),
            "drift": late / early - 1,
        }
    return memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="least seconds of every steady figure")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the memory's measurement")
    parser.add_argument("--alone", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone is not None:
        print(json.dumps(measure_memory_alone(**arguments.alone)))
        return
    corpus = prepare_corpus(arguments.media)
    Path(".bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="views-", dir=".bench") as folder:
        for work in all_works():
            if work.name not in WORKS:
                continue
            work.prepare(corpus, Path(folder))
            measured = measure_threads(work, arguments.rounds, arguments.seconds)
            for name in ("without a sample cache", "steady state"):
                for row in measured[name]:
                    print(
                        f"{work.title}, {name}, {row['threads']} threads: {format_rate(row['rate']['median'])}/s,"
                        f" {100 * row['efficiency']['median']:.0f} % of one thread's rate each",
                        flush=True,
                    )
            if work.name == MEMORY_WORK:
                memory = measure_memory(work, arguments.epochs)
                print(
                    f"memory over {memory['epochs']} epochs: resident {100 * memory['resident']['drift']:+.1f} %, in no"
                    f" file {100 * memory['anonymous']['drift']:+.1f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main()
