"""A place in which `prepare.py` fetches from a local hub, and everything that it left there."""

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .huggingface import HuggingFaceHub
from .published import PublishedDataset, write_definitions

ROOT = Path(__file__).parents[2]

TIMEOUT_SECONDS = 300

# Files of a dataset's folder that are about the fetch. The lock lies beside the folder and stays.
STATE_FILE, MANIFEST_FILE = ".fetch.json", "manifest.jsonl"

# What a run may leave in a dataset's folder for the next one, and a run that has fetched everything must not.
UNFINISHED_FOLDERS = (".parts", ".staging")


@dataclass(frozen=True)
class Snapshot:
    """What is in a cache, without times: equal for two caches in which the same has been fetched.

    `files` are hashes of media by path; `rows` are those of the index's view `sample`, `manifests` their lines.
    """

    files: Mapping[str, str]
    rows: tuple[tuple[object, ...], ...]
    manifests: Mapping[str, tuple[str, ...]]

    @property
    def contents(self) -> list[str]:
        """The hashes alone, each as often as it is there."""
        return sorted(self.files.values())


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def take_snapshot(cache: Path) -> Snapshot:
    """Look at a cache that no process is writing to."""
    files, manifests = {}, {}
    for path in sorted((cache / "datasets").rglob("*")):
        inside = path.relative_to(cache / "datasets")
        if path.name == MANIFEST_FILE:
            manifests[inside.parent.as_posix()] = tuple(path.read_text().splitlines())
        elif path.is_file() and not any(part.startswith(".") for part in inside.parts):
            files[inside.as_posix()] = sha256_of(path)
    return Snapshot(files, tuple(index_rows(cache)), manifests)


def index_rows(cache: Path, columns: str = "*") -> list[tuple[object, ...]]:
    """Rows of the view `sample`, in one order."""
    with contextlib.closing(sqlite3.connect(cache / "index.sqlite3")) as index:
        return index.execute(f"SELECT {columns} FROM sample ORDER BY modality, dataset, file").fetchall()


class Workplace:
    """A cache of its own, definitions, and the environment in which commands find them and the hub."""

    def __init__(self, folder: Path, hub: HuggingFaceHub | None, datasets: Iterable[PublishedDataset]) -> None:
        self.folder, self.hub = folder, hub
        self.datasets = list(datasets)
        self.cache = folder / "cache"
        for dataset in self.datasets if hub is not None else ():
            hub.add(dataset.repository)
        self.configs = write_definitions(folder / "configs", self.datasets)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "DFRESEARCH_", "AWS_"))
        }
        self.environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(ROOT)]),
            "PYTHON_DOTENV_DISABLED": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "DFRESEARCH_CACHE": str(self.cache),
            "DFRESEARCH_CONFIG_URL": str(self.configs),
            "DFRESEARCH_NETWORK_TIMEOUT": "2",
            "DFRESEARCH_NETWORK_DELAY": "0.01",
            "HF_HOME": str(folder / "huggingface"),
        }
        if hub is not None:
            self.environment["HF_ENDPOINT"] = hub.url

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(ROOT / "prepare.py"), *map(str, arguments)]

    def prepare(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `prepare.py` to its end, whatever that is."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Start `prepare.py` as the leader of a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def prepare_until_done(self, modality: str, *arguments: object, runs: int = 3) -> int:
        """Run until every dataset is whole, and return how many runs that took; `--retry` from the second on."""
        said = ""
        for number in range(runs):
            again = ("--retry",) if number else ()
            finished = self.prepare("--modality", modality, *arguments, *again)
            if finished.returncode == 0 and not self.unfinished():
                return number + 1
            said = finished.stdout + finished.stderr
        raise AssertionError(f"{self.unfinished()} not done after {runs} runs; the last one said:\n{said}")

    # ------------------------------------------------------------------------------------------- what there is now

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.cache)

    def folder_of(self, dataset: PublishedDataset) -> Path:
        return self.cache / "datasets" / str(dataset.definition["modality"]) / dataset.name

    def media_of(self, dataset: PublishedDataset) -> dict[str, str]:
        """Hashes of a dataset's media by name."""
        folder = self.folder_of(dataset)
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST_FILE]
        inside = {path.relative_to(folder): path for path in paths}
        return {
            name.as_posix(): sha256_of(path)
            for name, path in inside.items()
            if not any(part.startswith(".") for part in name.parts)
        }

    def samples(self) -> dict[str, str]:
        """Contents of all samples of the cache by path: of a clip that is a folder, the hash of its frames' hashes."""
        folders = {self.folder_of(each) for each in self.datasets if each.definition.get("source_format") == "frames"}
        clips = {
            path.relative_to(self.cache / "datasets").as_posix() for folder in folders for path in folder.glob("[0-9]*")
        }
        samples: dict[str, str] = {}
        frames: dict[str, bytes] = {}
        for path, content in sorted(self.snapshot().files.items()):
            folder = path.rpartition("/")[0]
            if folder in clips:
                frames[folder] = frames.get(folder, b"") + bytes.fromhex(content)
            else:
                samples[path] = content
        return samples | {clip: hashlib.sha256(hashes).hexdigest() for clip, hashes in frames.items()}

    def state_of(self, dataset: PublishedDataset) -> dict[str, object]:
        """What the last fetch wrote down of a dataset; nothing if it did not come to it."""
        path = self.folder_of(dataset) / STATE_FILE
        return json.loads(path.read_text()) if path.exists() else {}

    def unfinished(self) -> list[str]:
        """Names of the datasets whose fetch has not ended well."""
        return [dataset.name for dataset in self.datasets if self.state_of(dataset).get("status") != "ok"]

    def check_dataset(self, dataset: PublishedDataset) -> None:
        """Assert that exactly what should have arrived has, once, under the right names, with a manifest line each."""
        media = self.media_of(dataset)
        about = f"{dataset.definition['modality']}/{dataset.name}"
        # A folder of frames is one sample.
        samples = {Path(name).parts[0].partition(".")[0] for name in media}
        assert len(samples) == dataset.expected, f"{about}: {len(samples)} of {dataset.expected} samples have arrived"
        assert samples == {f"{number:06}" for number in range(len(samples))}, about
        if dataset.definition.get("source_format") == "frames":
            assert set(media.values()) == dataset.media, about
            return
        assert len(media) == len(samples), about
        if not dataset.waveforms:
            assert len(set(media.values())) == len(media), f"{about}: something has arrived twice"
            assert set(media.values()) <= dataset.media, f"{about}: something has arrived that should not"
        lines = [json.loads(line) for line in (self.folder_of(dataset) / MANIFEST_FILE).read_text().splitlines()]
        assert {line["file"]: line["sha256"] for line in lines} == media, about
        assert len(lines) == len(media), about
        files = dataset.repository.commits[dataset.repository.branches["main"]].files
        revisions = {line["revision"] for line in lines}
        if dataset.definition.get("source", "huggingface") == "huggingface":
            assert revisions <= set(dataset.repository.commits), about
        else:
            # No commits there: a digest of the listing pins it.
            assert len(revisions) == 1, about
        assert {line["source"] for line in lines} <= set(files), about
        left = [name for name in UNFINISHED_FOLDERS if any(self.folder_of(dataset).glob(f"{name}/*"))]
        assert not left, f"{about}: {left} still hold something"

    def check_index(self) -> None:
        """Assert that the index knows what lies on the disk, all of it and nothing else."""
        known = {
            f"{modality}/{dataset}/{file}": (content, label)
            for modality, dataset, file, content, label in index_rows(self.cache, "modality, dataset, file, id, label")
        }
        assert {path: content for path, (content, _) in known.items()} == self.samples()
        for dataset in self.datasets:
            label = int(dataset.definition["media_type"] != "real")
            start = f"{dataset.definition['modality']}/{dataset.name}/"
            assert {found for path, (_, found) in known.items() if path.startswith(start)} <= {label}


def kill_group(process: subprocess.Popen[str]) -> None:
    """End a process and all that it has started, at once and without a word."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
