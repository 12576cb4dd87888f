"""Batches to train and validate on: `make_dataloader` finds the samples of a split and loads them in Rust.

`CACHE_DIR` and `load_dataset_config` are looked up in this module at every call, so that a script may replace either.
"""

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import dfresearch_rs
from dfresearch import download, processes, samples, transforms
from dfresearch.batch_loader import BatchLoader
from dfresearch.sample_cache import resolve
from dfresearch.samples import LABEL_MAP, SPLIT_SEED, CacheSurvey

__all__ = [
    "CACHE_DIR",
    "LABEL_MAP",
    "BatchLoader",
    "download_all_datasets",
    "download_and_cache_dataset",
    "gather_samples",
    "load_dataset_config",
    "make_dataloader",
    "refresh_configs",
    "survey_cache",
]

CACHE_DIR = samples.default_cache_dir()
"""The folder with `datasets/`, `gasbench_configs/` and the index; `DFRESEARCH_CACHE` in the environment moves it."""

DEFAULT_AUGMENT_LEVELS = {"image": 1, "video": 1, "audio": 0}

# Finished batches that wait for the training.
PREFETCHED_BATCHES = 4


def load_dataset_config(modality: str, force_refresh: bool = False) -> dict[str, Any]:
    """Return `{"datasets": [definition, ...]}`: the competition's definitions in the cache and `datasets/*.yaml`.

    Files are read anew at every call. With `force_refresh` the competition's are fetched before, whatever their age.
    """
    if force_refresh:
        refresh_configs()
    return samples.load_dataset_config(CACHE_DIR, modality)


def refresh_configs(force: bool = True) -> "dfresearch_rs.ConfigRefresh":
    """Fetch the competition's definitions into the cache; without `force`, only those that are older than a day.

    The environment's `DFRESEARCH_CONFIG_URL` names another place than the competition's repository: an address or a
    folder. Where it cannot be reached, or what it has is not valid, the definitions that are there stay.

    Raises:
        dfresearch_rs.DfresearchError: it cannot be reached, and there are no definitions to go on with.

    Warns:
        UserWarning: it could not be reached, and how old the definitions are that are used instead.
    """
    outcome = download.refresh_configs(CACHE_DIR, force)
    if outcome.state == "kept":
        warnings.warn(outcome.lines[0], stacklevel=2)
    return outcome


def survey_cache(modality: str, *, rescan: bool = False) -> CacheSurvey:
    """Look at everything that the cache holds of a modality: what `prepare.py --verify` prints."""
    return samples.survey_cache(CACHE_DIR, modality, load_dataset_config(modality), rescan=rescan)


def download_all_datasets(
    modality: str, max_workers: int = 4, max_samples_per_dataset: int = 500, progress: bool = True
) -> dict[str, int]:
    """Fetch every dataset of a modality and return how many samples each has now.

    What is complete already is not fetched again, and a dataset that fails does not keep the others away: it is
    printed with its reason, and `prepare.py --verify` shows it, too.

    Args:
        modality: "image", "video" or "audio".
        max_workers: datasets that are fetched at a time.
        max_samples_per_dataset: samples of each dataset, of which a machine with the same seed gets the same.
        progress: show what is going on, on a terminal in place, otherwise a line for each dataset as it ends.
    """
    settings = download.DownloadSettings(max_samples=max_samples_per_dataset, workers=max_workers)
    config = load_dataset_config(modality)
    report = download.download(CACHE_DIR, config["datasets"], settings, show=progress)
    counts = {dataset.name: dataset.samples for dataset in report.datasets}
    if any(dataset.status == download.KEPT for dataset in report.datasets):
        # The fetch does not look into what it leaves alone.
        held = {each.name: each.samples for each in samples.survey_cache(CACHE_DIR, modality, config).datasets}
        counts |= {each.name: held[each.name] for each in report.datasets if each.status == download.KEPT}
    return counts


def download_and_cache_dataset(
    dataset_name: str,
    hf_path: str,
    modality: str,
    max_samples: int = 500,
    media_type: str = "synthetic",
    source_format: str | None = None,
    data_columns: Sequence[str] | None = None,
    include_paths: Sequence[str] | None = None,
    exclude_paths: Sequence[str] | None = None,
    media_per_archive: int = 100,
    archives_per_dataset: int = 5,
) -> Path:
    """Fetch one dataset from the Hugging Face hub, whether it is defined or not, and return its folder.

    The other arguments are the fields of a definition. Only datasets that are defined, too, are trained on. A folder
    that was filled by hand or by another program is left as it is.

    Raises:
        dfresearch_rs.DfresearchError: there is not a single sample of it; the message says why.
    """
    definition: dict[str, Any] = {
        "name": dataset_name,
        "path": hf_path,
        "modality": modality,
        "media_type": media_type,
        "source": "huggingface",
        "media_per_archive": media_per_archive,
        "archives_per_dataset": archives_per_dataset,
    }
    lists = {"data_columns": data_columns, "include_paths": include_paths, "exclude_paths": exclude_paths}
    definition |= {field: list(value) for field, value in lists.items() if value is not None}
    if source_format is not None:
        definition["source_format"] = source_format
    report = download.download(CACHE_DIR, [definition], download.DownloadSettings(max_samples=max_samples), show=False)
    (dataset,) = report.datasets
    if dataset.samples == 0 and dataset.status != download.KEPT:
        raise dfresearch_rs.DfresearchError(f"{dataset_name}: {dataset.status}: {dataset.reason}")
    return CACHE_DIR / "datasets" / modality / dataset_name


def gather_samples(
    modality: str, split: str = "train", max_per_class: int | None = None, seed: int = SPLIT_SEED
) -> dfresearch_rs.Samples:
    """List the samples of a split as `(path, label)`; any split but `train` and `val` is all of them.

    `max_per_class` keeps the same samples of a class whatever the split, then splits.
    """
    return samples.gather_samples(CACHE_DIR, modality, load_dataset_config(modality), split, max_per_class, seed)


def make_dataloader(
    modality: str,
    split: str = "train",
    batch_size: int = 32,
    target_size: tuple[int, int] = (224, 224),
    num_frames: int = 16,
    augment_level: int | None = None,
    max_per_class: int | None = None,
    num_workers: int | None = 4,
    *,
    mode: str = "competition",
    sampling: str = "first",
    frame_rate: float | None = None,
    augment_table: Mapping[int, Sequence[object]] | None = None,
    seed: int = 42,
    sample_cache: bool | str | PathLike[str] = True,
    rank: int | None = None,
    world_size: int | None = None,
) -> BatchLoader:
    """Build the loader of one split of the cached datasets.

    The `train` split is shuffled, augmented, and drops its last, shorter batch when there is more than one; every other
    split keeps its order and its content. Of a recording longer than six seconds, `train` takes a random window that is
    another one in every epoch, every other split the middle.

    Of processes that train one model together, each goes through another share of `train`. All shares are equally long,
    and together they are the epoch of a single process but for the last `len % world_size` samples of its order. For
    this, all processes have to find the same files in their cache. Every other split is whole in every process, so that
    its score is that of all samples, unless the share is given.

    Args:
        modality: "image", "video" or "audio".
        split: "train", "val", or anything else for all samples.
        batch_size: samples per batch of this process; no more than there are in its share.
        target_size: (height, width) of images and frames; without effect for audio.
        num_frames: frames per clip, of which a shorter clip repeats its last; without effect for images and audio.
        augment_level: 0 (none) to 3 (heavy) of `augment_table`, the same for all frames of a clip; without effect
            outside of `train`. None means 1 for images and video, 0 for audio.
        max_per_class: samples of each class, before the split; None means all.
        num_workers: threads that decode, at most; so many that the training keeps its cores, see
            `dfresearch.processes.worker_threads`, which None stands for. They change nothing but the speed.
        mode: "competition" (what the competition feeds a model) or "stretch" (the whole picture, antialiased); without
            effect for audio.
        sampling: which frames of a clip: "first" (consecutive ones from the start), "rate" (`frame_rate` a second) or
            "uniform" (over the whole clip), which the competition cannot be asked for; without effect for images and
            audio.
        frame_rate: frames per second of a clip when `sampling` is "rate".
        augment_table: level -> operations; None means `dfresearch.transforms.AUGMENTATION_LEVELS`, for audio
            `dfresearch.audio_transforms.AUDIO_AUGMENTATION_LEVELS`.
        seed: of order, windows and augmentation. The split does not depend on it.
        sample_cache: keep preprocessed samples on the disk, so that only the first epoch decodes them. True: in the
            folder that `DFRESEARCH_SAMPLE_CACHE_DIR` names, or `sample_cache` in `CACHE_DIR`; False or "off": nowhere;
            or a folder. `DFRESEARCH_SAMPLE_CACHE_GB` says how much of the disk it may take (by default a quarter of
            what is free, at most 50). The batches are the same with and without it.
        rank: which share this process goes through, from 0; None means that of `torch.distributed` for `train`.
        world_size: how many shares there are; None as for `rank`.

    Raises:
        ArgumentError: an argument is none of these, or there are fewer samples than shares.
        LoaderError: the folder that was named for the sample cache cannot be used.

    Warns:
        UserWarning: there are no samples (the loader's length is 0); nothing can be kept in `CACHE_DIR`; or several
            processes were started together that `torch.distributed` does not connect: each loads all samples.
    """
    if modality not in DEFAULT_AUGMENT_LEVELS:
        raise dfresearch_rs.ArgumentError(f"modality: {modality!r} is none of {', '.join(DEFAULT_AUGMENT_LEVELS)}")
    config, cache_dir = load_dataset_config(modality), CACHE_DIR
    is_training = split == "train"
    options: dict[str, Any] = {"size": tuple(target_size), "mode": mode}
    if modality == "video":
        options |= {"sampling": sampling, "num_frames": num_frames, "frame_rate": frame_rate}
    elif modality == "audio":
        options = {"crop": "random" if is_training else "center"}
    level = DEFAULT_AUGMENT_LEVELS[modality] if augment_level is None else augment_level
    kept = resolve(cache_dir, sample_cache)
    if is_training or rank is not None or world_size is not None:
        rank, world_size = processes.share_of_epoch(rank, world_size)
    loader = BatchLoader(
        cache_dir,
        lambda: samples.gather_samples(cache_dir, modality, config, split, max_per_class, SPLIT_SEED),
        batch_size=batch_size,
        drop_last=is_training,
        modality=modality,
        augment=_augmentation(modality, augment_table, level) if is_training else None,
        shuffle=is_training,
        num_workers=processes.worker_threads(num_workers),
        prefetch=PREFETCHED_BATCHES,
        seed=seed,
        sample_cache=kept,
        rank=rank or 0,
        world_size=world_size or 1,
        **options,
    )
    if len(loader.dataset) == 0:
        warnings.warn(
            f"no {modality} samples in the {split} split of {cache_dir}: run `uv run prepare.py --modality {modality}`",
            stacklevel=2,
        )
    return loader


def _augmentation(
    modality: str, table: Mapping[int, Sequence[object]] | None, level: int
) -> tuple[Mapping[int, Sequence[object]], int] | None:
    """Return what the native loader augments by, after a look at `level`; None for level 0."""
    if level == 0:
        return None
    if table is None:
        table = _modality_table(modality)
    if level not in table:
        levels = ", ".join(str(known) for known in sorted({0, *table}))
        raise dfresearch_rs.ArgumentError(f"augment_level: {level} is none of the table's levels {levels}")
    return table, level


def _modality_table(modality: str) -> Mapping[int, Sequence[object]]:
    if modality != "audio":
        return transforms.AUGMENTATION_LEVELS
    from dfresearch import audio_transforms

    return audio_transforms.AUDIO_AUGMENTATION_LEVELS
