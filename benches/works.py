"""The works that the report times: what each reads, the baseline's loader of it and ours, and proof that both agree.

Ours goes the way of the training scripts, through `dfresearch.data.make_dataloader` over a folder laid out as a cache.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import baselines.audio
import baselines.image
import baselines.video
import torch
from corpus import READABLE_RECORDINGS, Sample, make_view
from measure import Batches, count_samples, epoch_rate, steady_rate
from torch.utils.data import DataLoader

import dfresearch.data
import dfresearch.processes
import dfresearch_rs
from dfresearch.data import BatchLoader

CORES = len(os.sched_getaffinity(0))
# A folder that has just changed is looked through again at every start; what comes later is measured.
SECONDS_UNTIL_TRUSTED = 3.5
# Pillow's own fixed-point arithmetic and ours may round to neighbouring values, in either of two passes.
STRETCH_TOLERANCE = 2
# soxr's filter is not libswresample's, which the competition uses: close to its edge they differ, elsewhere hardly.
LEAST_CORRELATION = 0.99
MOST_LAG = 1


@dataclass
class Work:
    """One row of the report: a modality's files of some formats, augmented by a level."""

    name: str
    title: str
    modality: str
    suffixes: set[str]
    level: int
    batch_size: int
    baseline_of: Callable[[list[Sample]], DataLoader]
    compare: Callable[["Work"], None]
    record_bytes: int | None
    view: Path = field(default=Path())
    samples: list[Sample] = field(default_factory=list)

    def prepare(self, corpus: Path, folder: Path) -> None:
        """Make the view under `folder` and its index, and list the samples of its training split.

        Raises:
            SystemExit: there are fewer than two batches of them.
        """
        self.view = make_view(corpus, folder / self.name, self.modality, self.suffixes)
        time.sleep(SECONDS_UNTIL_TRUSTED)
        self.samples = list(self.ours(False).dataset)
        if len(self.samples) < 2 * self.batch_size:
            raise SystemExit(
                f"{corpus}: {self.title} has {len(self.samples)} samples; {2 * self.batch_size} are needed"
            )

    def baseline(self) -> DataLoader:
        """The hand-written loader over the same samples as ours."""
        return self.baseline_of(self.samples)

    def ours(
        self, sample_cache: Path | bool, *, split: str = "train", level: int | None = None, workers: int = CORES
    ) -> BatchLoader:
        """A loader as a training script makes it; `sample_cache` is a folder, or False for none."""
        with loading_alone(self.view):
            return dfresearch.data.make_dataloader(
                self.modality,
                split,
                self.batch_size,
                augment_level=self.level if level is None else level,
                num_workers=workers,
                sample_cache=sample_cache,
            )

    def first_epoch_rate(self, workers: int = CORES) -> float:
        """Samples per second of an epoch that begins with an empty sample cache and fills it."""
        with fresh_folder(self.view) as sample_cache:
            return epoch_rate(lambda: self.ours(sample_cache, workers=workers))

    def uncached_rate(self, workers: int = CORES) -> float:
        """Samples per second of an epoch without a sample cache."""
        return epoch_rate(lambda: self.ours(False, workers=workers))

    @contextmanager
    def warm_loader(self, workers: int = CORES) -> Iterator[BatchLoader]:
        """A loader whose sample cache holds every sample of the split."""
        with fresh_folder(self.view) as sample_cache:
            loader = self.ours(sample_cache, workers=workers)
            filled = loader.warm()
            if filled.not_kept or filled.failed:
                raise RuntimeError(
                    f"{self.title}: {filled.not_kept} samples were not kept and {len(filled.failed)} failed:"
                    f" {loader.sample_cache_report().notices}"
                )
            # The first use of a record in a process looks at its checksum; it is the second epoch that does.
            count_samples(loader)
            misses = loader.sample_cache_report().misses
            yield loader
            report = loader.sample_cache_report()
            if report.misses > misses:
                missed = report.misses - misses
                raise RuntimeError(f"{self.title}: {missed} samples of steady epochs were not in the sample cache")
            loader.close()

    def steady_rate(self, least_seconds: float, workers: int = CORES) -> float:
        """Samples per second of the second and later epochs, of which every record comes from the sample cache."""
        with self.warm_loader(workers) as loader:
            return steady_rate(loader, least_seconds)


@contextmanager
def loading_alone(folder: Path) -> Iterator[None]:
    """Let `make_dataloader` look into `folder`, and take every thread that it is given.

    It leaves a core to the training otherwise; there is none here, nor beside the baseline.
    """
    before = dfresearch.data.CACHE_DIR, dfresearch.processes.worker_threads
    dfresearch.data.CACHE_DIR, dfresearch.processes.worker_threads = folder, lambda requested: requested
    try:
        yield
    finally:
        dfresearch.data.CACHE_DIR, dfresearch.processes.worker_threads = before


@contextmanager
def fresh_folder(beside: Path) -> Iterator[Path]:
    """An empty folder on the disk of `beside`, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sample-cache-", dir=beside.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- both sides deliver the same --------------------------------------------------------------------------------------


def collect(loader: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = zip(*loader, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def compare_images(work: Work) -> None:
    """The baseline's resize is the mode `stretch`; the competition's differs from it by intent."""
    few = work.samples[: 2 * work.batch_size]
    theirs, their_labels = collect(baselines.image.baseline_loader(few, work.batch_size, augment=False, training=False))
    ours, our_labels = collect(
        dfresearch_rs.Loader(few, modality="image", batch_size=work.batch_size, mode="stretch", num_workers=CORES)
    )
    assert torch.equal(our_labels, their_labels)
    difference = (ours.int() - theirs.int()).abs().max().item()
    assert difference <= STRETCH_TOLERANCE, f"{work.title}: stretch differs from Pillow's resize by {difference}"


def compare_clips(work: Work) -> None:
    """The first frames are the same pixels on both sides."""
    few = work.samples[: 2 * work.batch_size]
    theirs, their_labels = collect(baselines.video.baseline_loader(few, work.batch_size, augment=False, training=False))
    ours, our_labels = collect(
        dfresearch_rs.Loader(few, modality="video", batch_size=work.batch_size, num_workers=CORES)
    )
    assert torch.equal(our_labels, their_labels)
    difference = (ours.int() - theirs.int()).abs().max().item()
    assert difference == 0, f"the first frames differ from decord's and OpenCV's by {difference}"


def compare_recordings(work: Work) -> None:
    """The same seconds of the same recordings: correlated all but perfectly."""
    few = work.samples[: 2 * work.batch_size]
    theirs, their_labels = collect(baselines.audio.baseline_loader(few, work.batch_size, training=False))
    ours, our_labels = collect(
        dfresearch_rs.Loader(few, modality="audio", batch_size=work.batch_size, num_workers=CORES)
    )
    assert torch.equal(our_labels, their_labels)
    assert ours.shape == theirs.shape == (len(few), baselines.audio.SAMPLES)
    for (path, _), our, their in zip(few, ours.double(), theirs.double(), strict=True):
        # A resampler rounds the length its own way, and the middle of a recording lies a sample further on.
        correlation = max(
            float(our @ their.roll(lag) / (our.norm() * their.norm())) for lag in range(-MOST_LAG, MOST_LAG + 1)
        )
        assert correlation > LEAST_CORRELATION, f"{path.name}: correlation {correlation:.4f} with the baseline"


def compare_outputs(work: Work) -> None:
    """Both sides deliver the same before anything is timed, and ours the same with and without a sample cache."""
    work.compare(work)
    ours, theirs = next(iter(work.ours(False))), next(iter(work.baseline()))
    for our, their in zip(ours, theirs, strict=True):
        assert our.shape == their.shape, f"{work.title}: batches of {our.shape} and {their.shape}"
        assert our.dtype == their.dtype, f"{work.title}: batches of {our.dtype} and {their.dtype}"
    with fresh_folder(work.view) as sample_cache:
        loader = work.ours(sample_cache)
        for epoch in range(2):
            plain = work.ours(False)
            plain.set_epoch(epoch)
            for (ours, our_labels), (theirs, their_labels) in zip(loader, plain, strict=True):
                assert torch.equal(our_labels, their_labels)
                assert torch.equal(ours, theirs), f"{work.title}: epoch {epoch} differs with the sample cache"


# --- the rows of the report -------------------------------------------------------------------------------------------

IMAGE_RECORD_BYTES = 224 * 224 * 3
IMAGE_BATCH, VIDEO_BATCH, AUDIO_BATCH = 32, 4, 16


def image_work(name: str, title: str, suffixes: set[str], level: int) -> Work:
    return Work(
        name,
        title,
        "image",
        suffixes,
        level,
        IMAGE_BATCH,
        lambda samples: baselines.image.baseline_loader(samples, IMAGE_BATCH, augment=level > 0),
        compare_images,
        IMAGE_RECORD_BYTES,
    )


def all_works() -> list[Work]:
    """The five rows, none of them prepared."""
    return [
        image_work("image-png-2", "image PNG, level 2", {".png"}, 2),
        image_work("image-jpeg-2", "image JPEG, level 2, re-saved", {".jpg", ".jpeg"}, 2),
        image_work("image-png-0", "image PNG, level 0", {".png"}, 0),
        Work(
            "video-1",
            "video, level 1",
            "video",
            {".mp4"},
            1,
            VIDEO_BATCH,
            lambda samples: baselines.video.baseline_loader(samples, VIDEO_BATCH, augment=True),
            compare_clips,
            baselines.video.NUM_FRAMES * IMAGE_RECORD_BYTES,
        ),
        Work(
            "audio-0",
            "audio, level 0",
            "audio",
            READABLE_RECORDINGS,
            0,
            AUDIO_BATCH,
            lambda samples: baselines.audio.baseline_loader(samples, AUDIO_BATCH),
            compare_recordings,
            None,
        ),
    ]
