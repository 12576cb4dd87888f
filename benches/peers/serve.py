"""Run one peer for the report: requests are lines of JSON on standard input, answers lines of JSON.

Usage: PYTHON benches/peers/serve.py MODULE

    {"do": "open", "samples": [[path, label], ...], "modality": ..., "batch_size": ..., "workers": ..., "folder": ...}
    {"do": "compare", "to": "file.npy", "count": N}   the greatest and the mean difference of its first N samples
    {"do": "first"}                                    samples per second of a loader made anew, its first epoch
    {"do": "steady", "seconds": S}                     samples per second of that loader's later epochs
"""

import importlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def count_epoch(loader: Any) -> int:
    return sum(len(labels) for _, labels in loader)


class Server:
    def __init__(self, module: str) -> None:
        self.peer = importlib.import_module(f"peers.{module}")
        self.loader: Any = None
        self.settings: dict[str, Any] = {}

    def open(self, samples: list, modality: str, batch_size: int, workers: int, folder: str) -> dict:
        self.settings = {
            "samples": [(path, label) for path, label in samples],
            "modality": modality,
            "batch_size": batch_size,
            "workers": workers,
            "folder": Path(folder),
        }
        self.remake()
        return {"name": self.peer.NAME, "cache": self.peer.CACHE}

    def remake(self) -> None:
        self.loader = None
        shutil.rmtree(self.settings["folder"], ignore_errors=True)
        self.settings["folder"].mkdir(parents=True)
        self.loader = self.peer.open_loader(**self.settings)

    def compare(self, to: str, count: int) -> dict:
        truth = np.load(to, mmap_mode="r")
        seen, greatest, total = 0, 0, 0.0
        labels: list[int] = []
        for inputs, batch_labels in self.loader:
            inputs = np.asarray(inputs)
            if seen < count:
                expected = truth[seen : seen + len(inputs)]
                if inputs[: len(expected)].shape != expected.shape:
                    raise ValueError(f"its batch is {inputs.shape}, ours {expected.shape}")
                difference = np.abs(inputs[: len(expected)].astype(np.int16) - expected)
                greatest = max(greatest, int(difference.max()))
                total += float(difference.mean()) * len(expected)
            seen += len(inputs)
            labels += np.asarray(batch_labels).ravel().tolist()
        if labels != [label for _, label in self.settings["samples"]]:
            raise ValueError(f"its {len(labels)} labels are not the samples' {len(self.settings['samples'])}")
        return {"greatest": greatest, "mean": total / min(count, seen)}

    def first(self) -> dict:
        start = time.perf_counter()
        self.remake()
        count = count_epoch(self.loader)
        return {"rate": count / (time.perf_counter() - start)}

    def steady(self, seconds: float) -> dict:
        start = time.perf_counter()
        count = 0
        while (elapsed := time.perf_counter() - start) < seconds:
            count += count_epoch(self.loader)
        return {"rate": count / elapsed}


def main() -> None:
    # Libraries that print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        server = Server(sys.argv[1])
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
