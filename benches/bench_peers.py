"""Decode and resize alone, on the same files: ours against the loaders of `peers/`, first and later epochs.

Usage: python benches/bench_peers.py [--media FOLDER] [--rounds N] [--seconds S] [--peers-python PATH]

A peer runs in a process of its own, and in the environment of `--peers-python` where it is there alone. One that is not
installed is named with its reason. What each delivers is compared with ours before anything is timed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from corpus import prepare_corpus
from measure import Spread, alternate, epoch_rate, format_rate, ratios, steady_rate
from works import CORES, Work, all_works, collect, fresh_folder

import dfresearch_rs

# Module in peers/, and the greatest mean difference to ours, in grey levels, with which it counts as the same picture:
# decoders and bilinear kernels round differently, and FFmpeg's scaler averages over what it skips.
PEERS = {
    "opencv_threads": 1.0,
    "torchvision_workers": 2.0,
    "dali": 2.0,
    "spdl_pipeline": 8.0,
    "ffcv_records": 1.0,
    "torchcodec_threads": 2.0,
    "decord_threads": 1.0,
}
OURS = "ours"
# Enough that the pixels of images fill more than the CPU's last cache, and few enough for so many peers and rounds.
MOST_SAMPLES = 256
SERVER = Path(__file__).parent / "peers" / "serve.py"
SECONDS_TO_STOP = 10


class PeerError(Exception):
    """A peer is not there, does not take this modality, or delivers something else."""


def short_reason(error: str) -> str:
    """What a report can print of an error: the line that says what is wrong, without the machine's paths."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    told = next((line for line in lines if "failed" in line.lower()), lines[0])
    words = [Path(word.strip("\"'")).name if word.strip("\"'").startswith("/") else word for word in told.split()]
    return " ".join(words).removeprefix("NotImplementedError: ")


class PeerProcess:
    """A peer behind two pipes; see `peers/serve.py`."""

    def __init__(self, python: str, module: str) -> None:
        self.module = module
        self.errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (closed by close)
        self.process = subprocess.Popen(
            [python, str(SERVER), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            self._answer()
        except PeerError:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise PeerError(f"its process ended: {''.join(self.errors.readlines()[-1:]).strip() or 'without a word'}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(short_reason(answer["error"]))
        return answer

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            PeerError: it answered with an error, or ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


@dataclass
class Contender:
    """A peer that takes part, and how it compares with ours."""

    process: PeerProcess
    name: str
    cache: str
    difference: str


def native_loader(work: Work, sample_cache: Path) -> dfresearch_rs.Loader:
    """Ours, doing what the peers do: no re-save, no augmentation, no shuffling, the cut and resize of OpenCV."""
    return dfresearch_rs.Loader(
        work.samples,
        modality=work.modality,
        batch_size=work.batch_size,
        mode="competition",
        recompress=False,
        num_workers=CORES,
        sample_cache=sample_cache,
    )


def open_peer(python: list[str], module: str, work: Work, folder: Path, truth: Path, count: int) -> Contender:
    """Start a peer in the first environment that has it and compare what it delivers.

    Raises:
        PeerError: no environment has it, it does not read the modality, or it delivers other pictures.
    """
    reasons = []
    for candidate in python:
        try:
            process = PeerProcess(candidate, module)
        except PeerError as error:
            reasons.append(str(error))
            continue
        try:
            samples = [(str(path.resolve()), label) for path, label in work.samples]
            settings = {"modality": work.modality, "batch_size": work.batch_size, "workers": CORES}
            opened = process.ask("open", samples=samples, folder=str(folder / module), **settings)
            compared = process.ask("compare", to=str(truth), count=count)
            if compared["mean"] > PEERS[module]:
                raise PeerError(f"{opened['name']}: its pictures differ from ours by {compared['mean']:.1f} on average")
            difference = f"{compared['mean']:.2f} ({compared['greatest']})"
            return Contender(process, opened["name"], opened["cache"], difference)
        except BaseException:
            process.close()
            raise
    raise PeerError(reasons[-1])


def measure_peers(
    work: Work, rounds: int, least_seconds: float, peers_python: str | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time ours and every peer on a work's files; what was not there is named with its reason."""
    every = max(1, -(-len(work.samples) // MOST_SAMPLES))
    work = replace(work, samples=work.samples[::every])
    python = [sys.executable, *([peers_python] if peers_python else [])]
    folder = Path(tempfile.mkdtemp(prefix="peers-", dir=work.view.parent))
    contenders: dict[str, Contender] = {}
    absent: dict[str, str] = {}
    try:
        count = min(len(work.samples), 2 * work.batch_size)
        ours, _ = collect(
            dfresearch_rs.Loader(
                work.samples[:count], modality=work.modality, batch_size=work.batch_size, recompress=False
            )
        )
        np.save(folder / "truth.npy", ours.numpy())
        for module in PEERS:
            try:
                contenders[module] = open_peer(python, module, work, folder, folder / "truth.npy", count)
            except PeerError as error:
                absent[module] = str(error)
                say(f"{work.title}: {module} takes no part: {error}")
        return time_contenders(work, rounds, least_seconds, contenders) | {"absent": absent}
    finally:
        for contender in contenders.values():
            contender.process.close()
        shutil.rmtree(folder, ignore_errors=True)


def time_contenders(work: Work, rounds: int, least_seconds: float, contenders: dict[str, Contender]) -> dict[str, Any]:
    steady: dict[str, list[float]] = {name: [] for name in (OURS, *contenders)}

    def time_ours() -> float:
        with fresh_folder(work.view) as sample_cache:
            loaders = []

            def make() -> dfresearch_rs.Loader:
                loaders.append(native_loader(work, sample_cache))
                return loaders[0]

            first = epoch_rate(make)
            steady[OURS].append(steady_rate(loaders[0], least_seconds))
            loaders[0].close()
            return first

    def time_peer(module: str) -> float:
        process = contenders[module].process
        first = process.ask("first")["rate"]
        steady[module].append(process.ask("steady", seconds=least_seconds)["rate"])
        return first

    timed = {OURS: time_ours} | {module: (lambda m=module: time_peer(m)) for module in contenders}
    first = alternate(timed, rounds)
    rows = []
    for module in timed:
        contender = contenders.get(module)
        rows.append(
            {
                "peer": module,
                "name": contender.name if contender else "dfresearch_rs.Loader",
                "cache": contender.cache if contender else "the sample cache, filled in the first epoch",
                "difference": contender.difference if contender else "",
                "first": Spread.of(first[module]).as_dict(),
                "steady": Spread.of(steady[module]).as_dict(),
                "first_ratio": ratios(first[OURS], first[module]).as_dict(),
                "steady_ratio": ratios(steady[OURS], steady[module]).as_dict(),
            }
        )
    return {"work": work.name, "title": work.title.partition(",")[0], "samples": len(work.samples), "rows": rows}


def peer_works() -> list[Work]:
    """PNG, JPEG and clips: level and re-save play no part here."""
    return [work for work in all_works() if work.name in {"image-png-0", "image-jpeg-2", "video-1"}]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="least seconds of later epochs in a round")
    parser.add_argument("--peers-python", help="Python of an environment with peers that are not in this one")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    corpus = prepare_corpus(arguments.media)
    Path(".bench").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="views-", dir=".bench") as folder:
        for work in peer_works():
            work.prepare(corpus, Path(folder))
            measured = measure_peers(work, arguments.rounds, arguments.seconds, arguments.peers_python, print)
            print(f"{measured['title']}, decode and resize alone, {measured['samples']} files, {CORES} cores")
            for row in measured["rows"]:
                print(
                    f"  {row['name']:<32} first {format_rate(row['first']['median']):>7}/s  later "
                    f"{format_rate(row['steady']['median']):>7}/s   ours is {row['first_ratio']['median']:6.2f} and "
                    f"{row['steady_ratio']['median']:6.2f} times as fast   differs by {row['difference']}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
