"""What a sample costs when there are many: from a thousand to a million indexed, of 16x16 pixels each.

Usage: python benches/bench_indexed.py [--samples N ...] [--rounds N] [--seconds S] [--folder FOLDER]

Every size has a cache of its own, of as many distinct files, deleted afterwards: a million take 4 GB of disk for a
while, and their records 1 GB. Speed and memory are taken in a process that finds index and sample cache as the last one
left them; what the process holds once everything is imported is taken off.
"""

import argparse
import itertools
import json
import os
import struct
import tempfile
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from measure import Spread, count_samples
from processes import memory_bytes, run_alone

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIDE = 16
BATCH = 32
FILES_PER_DATASET = 10_000
CORES = len(os.sched_getaffinity(0))
STARTS = 5
SECONDS_UNTIL_TRUSTED = 3.5
MEDIA_TYPES = ("real", "synthetic")


# --- the files --------------------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_dataset(folder: str, number: int, count: int) -> None:
    """Write PNG files of noise, which deflate would not make smaller."""
    target = Path(folder)
    target.mkdir(parents=True)
    noise = np.random.default_rng(number).integers(0, 256, (count, SIDE, 1 + 3 * SIDE), dtype=np.uint8)
    noise[:, :, 0] = 0  # every row's filter: none
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    end = png_chunk(b"IEND", b"")
    for index, rows in enumerate(noise):
        pixels = png_chunk(b"IDAT", zlib.compress(rows.tobytes(), 0))
        (target / f"{index:05d}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + end)


def make_cache(cache: Path, count: int) -> None:
    """Lay out `count` images as a cache, half of them of either class."""
    definitions = []
    jobs = []
    each = min(FILES_PER_DATASET, count // 2)
    for number in range(count // each):
        media_type = MEDIA_TYPES[number % 2]
        name = f"noise-{media_type}-{number:04d}"
        definitions.append({"name": name, "path": f"local/{name}", "modality": "image", "media_type": media_type})
        jobs.append((str(cache / "datasets" / "image" / name), number, each))
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(make_dataset, *zip(*jobs, strict=True)))
    (cache / "gasbench_configs").mkdir()
    (cache / "gasbench_configs" / "image_datasets.yaml").write_text(yaml.safe_dump({"datasets": definitions}))


# --- in a process of its own ------------------------------------------------------------------------------------------


def measure_alone(cache: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Make a loader of what lies in `cache`, and time its start and its samples."""
    import dfresearch.data

    dfresearch.data.CACHE_DIR = Path(cache)
    imported = memory_bytes()

    start = time.perf_counter()
    loader = dfresearch.data.make_dataloader(
        "image",
        batch_size=BATCH,
        target_size=(SIDE, SIDE),
        augment_level=0,
        num_workers=CORES,
        sample_cache=Path(cache) / "sample_cache",
    )
    made = time.perf_counter() - start

    starts = []
    for _ in range(STARTS):
        start = time.perf_counter()
        batches = iter(loader)
        next(batches)
        starts.append(time.perf_counter() - start)
        batches.close()

    # A whole epoch: without records the first one, otherwise the one that looks at their checksums.
    start = time.perf_counter()
    count = count_samples(loader)
    epoch_rate = count / (time.perf_counter() - start)
    # The samples of an incomplete last batch are in no epoch.
    filled = loader.warm()
    if filled.not_kept or filled.failed:
        raise RuntimeError(f"{filled.not_kept} samples were not kept: {loader.sample_cache_report().notices}")

    rates = []
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    for _ in range(rounds):
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            count += len(next(batches)[1])
        rates.append(count / elapsed)
    return {
        "samples": len(loader.dataset),
        "make_seconds": made,
        "start_seconds": starts,
        "epoch_rate": epoch_rate,
        "rates": rates,
        "imported": imported,
        "memory": memory_bytes(),
    }


def measure_size(folder: Path, count: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Make a cache of `count` files, index it and fill its sample cache in one process, measure in the next."""
    with tempfile.TemporaryDirectory(prefix="indexed-", dir=folder) as cache:
        make_cache(Path(cache), count)
        # A folder that has just changed is not trusted yet.
        time.sleep(SECONDS_UNTIL_TRUSTED)
        first = run_alone("bench_indexed.py", cache=cache, rounds=0, seconds=0.0)
        warm = run_alone("bench_indexed.py", cache=cache, rounds=rounds, seconds=seconds)
    rate = Spread.of(warm["rates"])
    return {
        "indexed": count,
        "samples": warm["samples"],
        "index_seconds": first["make_seconds"],
        "make_seconds": warm["make_seconds"],
        "start_seconds": Spread.of(warm["start_seconds"]).as_dict(),
        "first_epoch_rate": first["epoch_rate"],
        "rate": rate.as_dict(),
        "microseconds": Spread.of(1e6 / each for each in warm["rates"]).as_dict(),
        "imported_bytes": warm["imported"]["resident"],
        "resident_bytes": warm["memory"]["resident"],
        "anonymous_bytes": warm["memory"]["anonymous"] - warm["imported"]["anonymous"],
        "peak_bytes": warm["memory"]["peak"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="least seconds of every figure")
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="where the files are made for a while")
    parser.add_argument("--alone", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone is not None:
        print(json.dumps(measure_alone(**arguments.alone)))
        return
    arguments.folder.mkdir(exist_ok=True)
    for count in arguments.samples:
        row = measure_size(arguments.folder, count, arguments.rounds, arguments.seconds)
        more = (row["resident_bytes"] - row["imported_bytes"]) / (1 << 20)
        print(
            f"{count:>9,} indexed: {row['microseconds']['median']:6.1f} us a sample"
            f" ({row['microseconds']['least']:.1f} to {row['microseconds']['greatest']:.1f})"
            f"   first batch after {1e3 * row['start_seconds']['median']:.0f} ms   loader made in"
            f" {row['make_seconds']:.2f} s   {row['resident_bytes'] / (1 << 20):,.0f} MiB resident, {more:,.0f} MiB"
            f" beyond the imports, {row['anonymous_bytes'] / (1 << 20):,.0f} MiB of them in no file",
            flush=True,
        )


if __name__ == "__main__":
    main()
