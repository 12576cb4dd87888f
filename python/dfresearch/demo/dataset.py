"""Where a demonstration lies in a cache root: built beside its place, moved in whole, recognised when it is complete.

```text
 ROOT/.building-demo-{modality}/{dataset}/ ─► ROOT/datasets/{modality}/{dataset}/     media files and manifest.jsonl
                                              ROOT/gasbench_configs/{modality}_datasets.yaml
                                              ROOT/demo_{modality}.json               the marker, which comes last
```
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class DemoReport:
    """What the demonstration data consists of."""

    root: Path
    sources_by_package: dict[str, int]
    """What the samples were made from (photographs, spoken sentences), by the package that ships it."""
    minimum_sources: int
    real_samples: int
    synthetic_samples: int
    built: bool
    """False when a complete demonstration of these settings was there already."""

    @property
    def sources(self) -> int:
        """How many photographs or sentences there are: each is one group, on one side of the split."""
        return sum(self.sources_by_package.values())

    @property
    def supports_accuracy(self) -> bool:
        """Whether there are sources enough to state an accuracy at all."""
        return self.sources >= self.minimum_sources


@dataclass(frozen=True)
class DemoPlace:
    """One modality's demonstration below the cache root `root`; `media_types` maps its datasets to real/synthetic."""

    root: Path
    modality: str
    media_types: Mapping[str, str]

    @property
    def marker(self) -> Path:
        """The file that stands beside a complete demonstration and says what it was built from."""
        return self.root / f"demo_{self.modality}.json"

    @property
    def definitions(self) -> Path:
        """The file that labels the datasets."""
        return self.root / "gasbench_configs" / f"{self.modality}_datasets.yaml"

    def folder(self, name: str) -> Path:
        """Return the folder of the dataset `name`."""
        return self.root / "datasets" / self.modality / name

    def is_complete(self, settings: Mapping[str, object]) -> bool:
        """Whether a complete demonstration of exactly these settings, which JSON must give back, is there."""
        try:
            found = json.loads(self.marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return (
            found == settings
            and self.definitions.is_file()
            and all((self.folder(name) / MANIFEST).is_file() for name in self.media_types)
        )

    def start_building(self) -> Path:
        """Return an empty folder with one empty folder for each dataset in it."""
        building = self.root / f".building-demo-{self.modality}"
        shutil.rmtree(building, ignore_errors=True)
        for name in self.media_types:
            (building / name).mkdir(parents=True)
        return building

    def publish(self, building: Path, settings: Mapping[str, object]) -> None:
        """Put what was built in its place, instead of what is there, and mark it as complete."""
        # Without its marker a demonstration counts as half built, so the marker goes first and comes back last.
        self.marker.unlink(missing_ok=True)
        for name in self.media_types:
            folder = self.folder(name)
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            (building / name).rename(folder)
        building.rmdir()
        entries = [
            f"  - name: {name}\n    path: demo/{name}\n    modality: {self.modality}\n    media_type: {media_type}\n"
            for name, media_type in self.media_types.items()
        ]
        heading = f"# Demonstration data, built by `prepare.py --demo --modality {self.modality}`.\n"
        write_atomically(self.definitions, heading + "datasets:\n" + "".join(entries))
        write_atomically(self.marker, json.dumps(settings, indent=1) + "\n")

    def count_samples(self, name: str) -> int:
        """Count the samples of a complete dataset."""
        return len((self.folder(name) / MANIFEST).read_text(encoding="utf-8").splitlines())


def write_manifest(folder: Path, entries: Iterable[tuple[str, str]]) -> None:
    """Write the manifest of a dataset's folder from (file, group)."""
    lines = [json.dumps({"file": file, "group": group}) + "\n" for file, group in entries]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
