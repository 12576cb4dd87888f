"""The extension module behind ``dfresearch_rs``."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Final, SupportsIndex, final, overload

__version__: str

# ---------------------------------------------------------------------------------------------------------------------
# Definitions, cache folder, samples
# ---------------------------------------------------------------------------------------------------------------------

def load_catalog(
    upstream_dir: str | PathLike[str], own_dir: str | PathLike[str], modality: str
) -> tuple[list[dict[str, str | int | float | bool | list[str]]], list[str]]:
    """Read the dataset definitions of a modality: the competition's, and a person's own on top of them.

    Args:
        upstream_dir: folder with the competition's files, for example ``real_images.yaml`` and
            ``synthetic_images.yaml``; the earlier ``image_datasets.yaml`` is read when those are not there.
        own_dir: folder with a person's ``{modality}.yaml``; its definitions replace those of the same name.
        modality: ``image``, ``video`` or ``audio``.

    Returns:
        The definitions, each with the fields that it gives (``source`` is always there), and warnings.

    Raises:
        DefinitionError: a file or a definition is not valid; the message begins with ``file:line``.
    """

@final
class Samples(Sequence[tuple[Path, int]]):
    """Media files and their labels (0 real, 1 synthetic) in a fixed order: a lazy sequence of ``(Path, int)``."""

    def __new__(cls, pairs: Sequence[tuple[str | PathLike[str], int]]) -> Samples:
        """List files from anywhere.

        Raises:
            ArgumentError: a label is neither 0 nor 1, or a path is not valid UTF-8.
        """
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[Path, int]]: ...
    @overload
    def __getitem__(self, index: SupportsIndex) -> tuple[Path, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def index(self, value: object) -> int:  # type: ignore[override]
        """Return the position of ``value``; ``ValueError`` when it is not among the samples."""
    def count(self, value: object) -> int:
        """Return how often ``value`` is among the samples."""
    def dataset(self, index: int) -> str:
        """Return the name of the dataset that a sample belongs to; empty for files from anywhere."""

@final
class DatasetReport:
    """A definition and what lies in its folder."""

    name: Final[str]
    media_type: Final[str]
    status: Final[str]
    """``OK``: every media file is a sample. ``PARTIAL``: some are. ``FAILED``: none is. ``MISSING``: there are none."""
    samples: Final[int]
    """Usable files."""
    quarantined: Final[int]
    """Files that cannot be used."""
    conflicting: Final[int]
    """Files left out because the same bytes stand under the other label."""
    other_files: Final[int]
    """Files with extensions that are not the modality's."""
    reason: Final[str]
    """Why the status is not ``OK``; empty when it is."""

@final
class StoreReport:
    """What was found in a cache folder."""

    datasets: Final[list[DatasetReport]]
    """One per definition."""
    undefined_folders: Final[list[Path]]
    """Folders that no definition names; they are left out."""
    quarantined: Final[list[tuple[Path, str]]]
    """Files that cannot be used, with the reason."""
    conflicts: Final[list[tuple[list[Path], list[Path]]]]
    """Real and synthetic files with the same bytes; they are left out."""
    unknown_manifest_files: Final[list[tuple[Path, int, str]]]
    """Lines of manifests whose file is not there: manifest, line, file."""
    duplicates: Final[int]
    """How many samples are copies of another one with the same label."""
    read: Final[int]
    """How many files were read now; the index knew the others."""
    notices: Final[list[str]]
    """What happened to the index, when something did."""

def gather_samples(
    cache_dir: str | PathLike[str],
    modality: str,
    definitions: Sequence[tuple[str, str]],
    split: str = "train",
    max_per_class: int | None = None,
    seed: int = 42,
) -> tuple[Samples, StoreReport]:
    """List the samples of a split. New and changed files are read once; the index remembers them.

    Args:
        cache_dir: the folder with ``datasets/{modality}/{name}/`` and the index.
        modality: ``image``, ``video`` or ``audio``.
        definitions: name and media type of each dataset.
        split: ``train``, ``val``, or anything else for all samples.
        max_per_class: keep the lowest hash ranks of each label, before the split.
        seed: of the split.

    Raises:
        ArgumentError: a name leaves the cache or has two media types, or a word is unknown.
        DefinitionError: a ``manifest.jsonl`` is not valid; the message begins with ``file:line``.
        CacheIndexError: the index is of another program or of a newer version.
    """

def survey_cache(
    cache_dir: str | PathLike[str], modality: str, definitions: Sequence[tuple[str, str]]
) -> StoreReport:
    """Report on everything that the cache holds of a modality; arguments and errors as in `gather_samples`."""

def quarantine(cache_dir: str | PathLike[str], entries: Sequence[tuple[str | PathLike[str], str]]) -> int:
    """Remember files that cannot be used, each with its reason, until the file itself changes.

    Returns how many of them the index of the cache knows; others are left alone.
    """
