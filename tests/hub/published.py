"""A dataset as somebody published it: its definition, its repository, and what a download of it must bring."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from .repository import Repository

FILES = {"image": "images", "video": "videos", "audio": "audio"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class PublishedDataset:
    """`media` are the hashes of what may arrive, `samples` says how many of them must, all if it is none.

    `waveforms` are for samples that do not arrive as the bytes that they were: float arrays become WAV files.
    """

    definition: dict[str, object]
    repository: Repository
    media: frozenset[str]
    samples: int | None = None
    waveforms: list[np.ndarray] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def expected(self) -> int:
        return len(self.media) if self.samples is None else self.samples


def publish(
    modality: str,
    name: str,
    files: Mapping[str, bytes],
    media: Iterable[bytes],
    *,
    media_type: str = "real",
    samples: int | None = None,
    waveforms: Iterable[np.ndarray] = (),
    **fields: object,
) -> PublishedDataset:
    """Put files into a repository of their own and define the dataset: all of it unless `fields` say otherwise."""
    repository = Repository(f"publisher/{name}")
    readme = b"---\nlicense: mit\n---\n# " + name.encode() + b"\n"
    repository.commit({"README.md": readme, ".gitattributes": b"*.parquet filter=lfs\n", **files})
    definition = {
        "name": name,
        "path": repository.name,
        "modality": modality,
        "media_type": media_type,
        "media_per_archive": -1,
        "archives_per_dataset": -1,
        "notes": "made by the tests",
        "generator_family": "real" if media_type == "real" else "gan",
        "content_category": "diverse",
        **fields,
    }
    hashes = frozenset(map(sha256, media))
    return PublishedDataset(definition, repository, hashes, samples, list(waveforms))


def write_definitions(folder: Path, datasets: Iterable[PublishedDataset]) -> Path:
    """Write the six files of the competition's layout: real media in the one, all others in the other."""
    lists: dict[str, list[dict[str, object]]] = {
        f"{kind}_{plural}.yaml": [] for kind in ("real", "synthetic") for plural in FILES.values()
    }
    for dataset in datasets:
        kind = "real" if dataset.definition["media_type"] == "real" else "synthetic"
        lists[f"{kind}_{FILES[str(dataset.definition['modality'])]}.yaml"].append(dataset.definition)
    folder.mkdir(parents=True, exist_ok=True)
    for name, definitions in lists.items():
        (folder / name).write_text(yaml.safe_dump({"datasets": definitions}, sort_keys=False, allow_unicode=True))
    return folder
