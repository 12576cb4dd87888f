"""Images to batches: a hand-written PyTorch DataLoader against dfresearch_rs.Loader, on the same files.

Usage: python benches/bench_loader.py [--media FOLDER] [--rounds N] [--batch-size N]

Every round times one first epoch of the baseline and one of ours, in turn; the medians' ratio is printed. What both
deliver is compared before anything is timed. Without --media a corpus is made in .bench/ once and used again.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from media import list_images, make_image_corpus
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import dfresearch_rs

SIZE = (224, 224)
BASELINE_WORKERS = 4
OUR_PREFETCH_BATCHES = 4
IMAGES_PER_KIND = 150
SEED = 42
MOST_OPERATIONS = 2
FLIP_PROBABILITY = 0.5
# Pillow's own fixed-point arithmetic and ours may round to neighbouring values.
STRETCH_TOLERANCE = 1

Sample = tuple[Path, int]


# --- the baseline: what a user would write ----------------------------------------------------------------------------


def jpeg_round_trip(image: np.ndarray) -> np.ndarray:
    quality = int(np.random.randint(40, 76))
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def gaussian_blur(image: np.ndarray) -> np.ndarray:
    sigma = np.random.uniform(0.5, 1.5)
    kernel = int(6 * sigma + 1) | 1
    return cv2.GaussianBlur(image, (kernel, kernel), sigma)


def gaussian_noise(image: np.ndarray) -> np.ndarray:
    noise = np.random.normal(0, np.random.uniform(3, 10), image.shape).astype(np.float32)
    return np.clip(image.astype(np.float32) + noise, 0, 255).astype(np.uint8)


def colour_shift(image: np.ndarray) -> np.ndarray:
    magnitude = np.random.uniform(5, 15)
    shift = np.random.uniform(-magnitude, magnitude, 3).astype(np.float32)
    return np.clip(image.astype(np.float32) + shift, 0, 255).astype(np.uint8)


LEVEL = 2
OPERATIONS = (jpeg_round_trip, gaussian_blur, gaussian_noise, colour_shift)


class ImageFiles(Dataset):
    def __init__(self, samples: list[Sample], augment: bool) -> None:
        self.samples = samples
        self.augment = augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        height, width = SIZE
        with Image.open(path) as file:
            image = np.asarray(file.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        if self.augment:
            count = np.random.randint(1, MOST_OPERATIONS + 1)
            for operation in np.random.permutation(len(OPERATIONS))[:count]:
                image = OPERATIONS[operation](image)
            if np.random.random() < FLIP_PROBABILITY:
                image = image[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), label


def start_worker(worker: int) -> None:
    # Four processes with a thread pool each would only get into each other's way.
    cv2.setNumThreads(0)
    np.random.seed(SEED + worker)


def baseline_loader(samples: list[Sample], batch_size: int, augment: bool, shuffle: bool) -> DataLoader:
    return DataLoader(
        ImageFiles(samples, augment),
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=BASELINE_WORKERS,
        worker_init_fn=start_worker,
    )


# --- ours -------------------------------------------------------------------------------------------------------------


def our_loader(
    samples: list[Sample], batch_size: int, *, mode: str, recompress: bool, level: int, shuffle: bool
) -> dfresearch_rs.Loader:
    return dfresearch_rs.Loader(
        samples,
        modality="image",
        batch_size=batch_size,
        size=SIZE,
        mode=mode,
        recompress=recompress,
        augment=level or None,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=len(os.sched_getaffinity(0)),
        prefetch=OUR_PREFETCH_BATCHES,
        seed=SEED,
    )


# --- OpenCV: decode and resize alone ----------------------------------------------------------------------------------


def decode_with_opencv(samples: list[Sample]) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """OpenCV's decoder, centre crop and INTER_LINEAR on one thread a core, as fast as Python lets them."""

    def load(sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.imread(str(sample[0]), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        crop = centre_crop(image)
        resized = cv2.cvtColor(cv2.resize(crop, SIZE[::-1], interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
        pixels = np.ascontiguousarray(resized.transpose(2, 0, 1))
        return torch.from_numpy(pixels)[None], torch.tensor([sample[1]])

    cv2.setNumThreads(0)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(load, samples)


def centre_crop(image: np.ndarray) -> np.ndarray:
    """The competition's crop to the target's aspect ratio."""
    height, width = image.shape[:2]
    scale = min(height / SIZE[0], width / SIZE[1])
    crop_height, crop_width = min(height, round(scale * SIZE[0])), min(width, round(scale * SIZE[1]))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return image[top : top + crop_height, left : left + crop_width]


# --- comparing and timing ---------------------------------------------------------------------------------------------


def collect(loader: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = zip(*loader, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def compare_outputs(samples: list[Sample], batch_size: int) -> None:
    """Both sides deliver the same pixels from the same files, and batches of the same kind when they augment."""
    few = samples[: 2 * batch_size]
    theirs, their_labels = collect(baseline_loader(few, batch_size, augment=False, shuffle=False))
    ours, our_labels = collect(our_loader(few, batch_size, mode="stretch", recompress=False, level=0, shuffle=False))
    assert torch.equal(our_labels, their_labels)
    difference = (ours.int() - theirs.int()).abs().max().item()
    assert difference <= STRETCH_TOLERANCE, f"stretch differs from Pillow's resize by {difference}"

    exact, _ = collect(decode_with_opencv(few))
    ours, _ = collect(our_loader(few, batch_size, mode="competition", recompress=False, level=0, shuffle=False))
    difference = (ours.int() - exact.int()).abs().max().item()
    assert difference == 0, f"the competition's crop and resize differ from OpenCV's by {difference}"

    for loader in (
        baseline_loader(samples, batch_size, augment=True, shuffle=True),
        our_loader(samples, batch_size, mode="competition", recompress=True, level=LEVEL, shuffle=True),
    ):
        inputs, labels = next(iter(loader))
        assert inputs.shape == (batch_size, 3, *SIZE)
        assert inputs.dtype == torch.uint8
        assert labels.shape == (batch_size,)
        assert labels.dtype == torch.int64


def samples_per_second(make_loader: Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]) -> float:
    """One whole epoch, from making the loader to its last batch."""
    start = time.perf_counter()
    count = sum(len(labels) for _, labels in make_loader())
    return count / (time.perf_counter() - start)


def measure(title: str, rounds: int, theirs: Callable, ours: Callable) -> None:
    their_rates, our_rates = [], []
    for _ in range(rounds):
        their_rates.append(samples_per_second(theirs))
        our_rates.append(samples_per_second(ours))
    ratios = sorted(our / their for our, their in zip(our_rates, their_rates, strict=True))
    print(
        f"{title:<44} baseline {statistics.median(their_rates):7.1f}/s   ours {statistics.median(our_rates):7.1f}/s"
        f"   ratio {statistics.median(our_rates) / statistics.median(their_rates):5.2f}"
        f"   (rounds {ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each side (default 5)")
    parser.add_argument("--batch-size", type=int, default=32)
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    media = arguments.media
    if media is None:
        media = Path(".bench")
        if not (media / "gasbench_configs").exists():
            make_image_corpus(media, IMAGES_PER_KIND)
    rounds, batch_size = arguments.rounds, arguments.batch_size

    print(f"{len(os.sched_getaffinity(0))} cores, batch {batch_size}, level {LEVEL}, {rounds} rounds, {media}")
    for suffix in ("jpg", "png"):
        samples = list_images(media, suffix)
        if len(samples) < 2 * batch_size:
            raise SystemExit(f"{media} holds {len(samples)} labelled .{suffix} images; {2 * batch_size} are needed")
        for path, _ in samples:
            path.read_bytes()  # into the page cache, for both sides alike
        compare_outputs(samples, batch_size)

        def baseline(samples: list[Sample] = samples) -> Iterable:
            return baseline_loader(samples, batch_size, augment=True, shuffle=True)

        def ours(mode: str, recompress: bool, samples: list[Sample] = samples) -> Iterable:
            return our_loader(samples, batch_size, mode=mode, recompress=recompress, level=LEVEL, shuffle=True)

        if suffix == "jpg":
            measure("JPEG, with the competition's re-save", rounds, baseline, lambda o=ours: o("competition", True))
            measure("JPEG, without it", rounds, baseline, lambda o=ours: o("competition", False))
        else:
            measure("PNG", rounds, baseline, lambda o=ours: o("competition", True))
        measure(f"{suffix.upper()}, stretch", rounds, baseline, lambda o=ours: o("stretch", False))
        measure(
            f"{suffix.upper()}, decode + resize alone, OpenCV",
            rounds,
            lambda s=samples: decode_with_opencv(s),
            lambda s=samples: our_loader(s, batch_size, mode="competition", recompress=False, level=0, shuffle=False),
        )


if __name__ == "__main__":
    main()
