"""A dataset from a hub onto the disk: huggingface_hub, pyarrow and Pillow against dfresearch_rs.prepare_datasets.

Usage: python benches/bench_prepare.py [--media FOLDER] [--images N] [--rounds N] [--memory]

Both fetch the same datasets from the same local hub, which runs in a process of its own, and both anew in every round.
The plain way keeps what the competition's reference keeps, every image saved again as PNG; ours keeps the bytes that
were published. So both stand under every title: the time, and what then lies on the disk. Of photographs that were
published as JPEG ours is the smaller; of PNG it cannot be, and the time alone tells.

Every round times one fetch of each side, in turn; the medians' ratio is printed. Without --media a corpus is made in
.bench/ once and used again. --memory measures the peak memory instead: one row group of 2 GiB, in pages of 256 MiB.
"""

import argparse
import io
import itertools
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from hub_server import serve_folders
from media import list_images, make_image_corpus
from PIL import Image

THREADS = 4
IMAGES_PER_KIND = 150
# Of each format. Saving a photograph as PNG takes the plain way a tenth of a second and more.
IMAGES = 60
ARCHIVES = 4
# What `datasets` writes for images.
ROWS_PER_GROUP = 100
ROWS_PER_READ = 32
STORED_UNITS_BYTES = 512

MEMORY_ROWS = 2048
MEMORY_ROW_BYTES = 1 << 20
MEMORY_ROWS_PER_PAGE = 256
MEMORY_FEW_ROWS = 500
MEMORY_DISK_BYTES = 7 << 30
RESET_PEAK = "5"
MEBIBYTE = 1 << 20

Fetch = Callable[[str, str, Path], None]


# --- the datasets -----------------------------------------------------------------------------------------------------


def choose_images(media: Path, suffix: str, count: int) -> list[Path]:
    """`count` images of a format, from all over the corpus."""
    images = [path for path, _ in list_images(media, suffix)]
    if len(images) < count:
        raise SystemExit(f"{media} holds {len(images)} labelled .{suffix} images; {count} are needed")
    return [images[position * len(images) // count] for position in range(count)]


def publish_parquet(images: list[Path], folder: Path) -> None:
    for number in range(ARCHIVES):
        values = [{"bytes": image.read_bytes(), "path": image.name} for image in images[number::ARCHIVES]]
        table = pyarrow.table({"image": pyarrow.array(values), "label": pyarrow.array([0] * len(values))})
        path = folder / "data" / f"train-{number:05}-of-{ARCHIVES:05}.parquet"
        pyarrow.parquet.write_table(table, path, row_group_size=ROWS_PER_GROUP)


def publish_zip(images: list[Path], folder: Path) -> None:
    for number in range(ARCHIVES):
        with zipfile.ZipFile(folder / "data" / f"part-{number}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for position, image in enumerate(images[number::ARCHIVES]):
                archive.write(image, f"images/{position:05}{image.suffix}")


def publish_files(images: list[Path], folder: Path) -> None:
    for position, image in enumerate(images):
        shutil.copyfile(image, folder / "data" / f"{position:05}{image.suffix}")


# --- the baseline: what a user would write ----------------------------------------------------------------------------


class PlainDownload:
    """Every image of a repository as PNG, in `THREADS` threads: a file of the repository is one task."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.cache = folder / "hub"
        self.images = folder / "images"
        self.images.mkdir()
        self.numbers = itertools.count()

    def fetch(self, repository: str) -> None:
        from huggingface_hub import HfApi

        names = HfApi(endpoint=self.endpoint, token=False).list_repo_files(repository, repo_type="dataset")
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda name: self.fetch_file(repository, name), names):
                pass
        shutil.rmtree(self.cache)

    def fetch_file(self, repository: str, name: str) -> None:
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(
            repository, name, repo_type="dataset", cache_dir=self.cache, endpoint=self.endpoint, token=False
        )
        if name.endswith(".parquet"):
            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(ROWS_PER_READ, columns=["image"]):
                for value in batch.column("image"):
                    self.save(value["bytes"].as_py())
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    self.save(archive.read(member))
        else:
            self.save(Path(path).read_bytes())

    def save(self, content: bytes) -> None:
        with Image.open(io.BytesIO(content)) as image:
            image.convert("RGB").save(self.images / f"{next(self.numbers):06}.png")


def fetch_plainly(endpoint: str, repository: str, folder: Path) -> None:
    PlainDownload(endpoint, folder).fetch(repository)


# --- ours -------------------------------------------------------------------------------------------------------------


def define(repository: str) -> dict[str, object]:
    return {
        "name": repository.partition("/")[2],
        "path": repository,
        "modality": "image",
        "media_type": "real",
        "media_per_archive": -1,
        "archives_per_dataset": -1,
    }


def prepare(endpoint: str, repository: str, folder: Path, max_samples: int) -> None:
    import dfresearch_rs

    os.environ["HF_ENDPOINT"] = endpoint
    report = dfresearch_rs.prepare_datasets(folder, [define(repository)], max_samples=max_samples, workers=THREADS)
    [outcome] = report.datasets
    assert outcome.status == "OK", outcome.reason


# --- comparing and timing ---------------------------------------------------------------------------------------------


def stored_bytes(folder: Path) -> int:
    """What a folder takes on the disk, indexes and manifests included."""
    return sum(path.stat().st_blocks * STORED_UNITS_BYTES for path in folder.rglob("*") if path.is_file())


def find_media(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.rglob(f"[0-9]*.{suffix}"))


def hash_pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return sha256(image.convert("RGB").tobytes()).digest()


def compare_outputs(endpoint: str, repository: str, images: list[Path], ours: Fetch, folder: Path) -> None:
    """Both sides bring every image once: ours the bytes that were published, the baseline their pixels."""
    for fetch, suffix, name in ((fetch_plainly, "png", "theirs"), (ours, images[0].suffix[1:], "ours")):
        place = folder / name
        place.mkdir()
        fetch(endpoint, repository, place)
        arrived = find_media(place, suffix)
        assert sorted(map(hash_pixels, arrived)) == sorted(map(hash_pixels, images)), f"{repository}: {name} differ"
        if fetch is ours:
            published = sorted(image.read_bytes() for image in images)
            assert sorted(path.read_bytes() for path in arrived) == published, f"{repository}: not as published"
        shutil.rmtree(place)


def time_fetch(
    fetch: Fetch, endpoint: str, repository: str, folder: Path, suffix: str, count: int
) -> tuple[float, int]:
    """Seconds of one fetch into an empty folder, and the bytes that it leaves on the disk."""
    folder.mkdir()
    # What the other side has left to be written is not written on this one's clock.
    os.sync()
    start = time.perf_counter()
    fetch(endpoint, repository, folder)
    seconds = time.perf_counter() - start
    assert len(find_media(folder, suffix)) == count, f"{repository}: not {count} samples"
    os.sync()
    stored = stored_bytes(folder)
    shutil.rmtree(folder)
    return seconds, stored


def measure(title: str, endpoint: str, repository: str, images: list[Path], rounds: int, folder: Path) -> None:
    def ours(endpoint: str, repository: str, folder: Path) -> None:
        prepare(endpoint, repository, folder, max_samples=len(images))

    compare_outputs(endpoint, repository, images, ours, folder)
    suffix = images[0].suffix[1:]
    place = folder / "fetched"
    their_seconds, our_seconds = [], []
    for _ in range(rounds):
        seconds, their_bytes = time_fetch(fetch_plainly, endpoint, repository, place, "png", len(images))
        their_seconds.append(seconds)
        seconds, our_bytes = time_fetch(ours, endpoint, repository, place, suffix, len(images))
        our_seconds.append(seconds)
    ratios = sorted(their / our for their, our in zip(their_seconds, our_seconds, strict=True))
    print(
        f"{title:<20} baseline {statistics.median(their_seconds):6.2f} s {their_bytes / MEBIBYTE:6.1f} MiB"
        f"   ours {statistics.median(our_seconds):6.2f} s {our_bytes / MEBIBYTE:6.1f} MiB"
        f"   faster {statistics.median(their_seconds) / statistics.median(our_seconds):5.2f}"
        f" (rounds {ratios[0]:.2f} to {ratios[-1]:.2f})   smaller {their_bytes / our_bytes:4.2f}",
        flush=True,
    )


def measure_all(media: Path, count: int, rounds: int, folder: Path) -> None:
    datasets: dict[str, tuple[str, list[Path]]] = {}
    print(f"{len(os.sched_getaffinity(0))} cores, {THREADS} threads, {rounds} rounds, {media}")
    for suffix, name in (("jpg", "JPEG"), ("png", "PNG")):
        images = choose_images(media, suffix, count)
        print(f"{count} {name} images, {sum(path.stat().st_size for path in images) / MEBIBYTE:.1f} MiB as published")
        for kind, publish in (("parquet", publish_parquet), ("zip", publish_zip), ("files", publish_files)):
            repository = f"bench/{suffix}-{kind}"
            (folder / repository / "data").mkdir(parents=True)
            publish(images, folder / repository)
            datasets[repository] = (f"{name}, {kind}", images)
    with serve_folders({repository: folder / repository for repository in datasets}) as endpoint:
        for repository, (title, images) in datasets.items():
            measure(title, endpoint, repository, images, rounds, folder)


# --- peak memory ------------------------------------------------------------------------------------------------------


def publish_large_row_group(images: list[Path], folder: Path) -> None:
    """A parquet file of one row group: JPEG images, made large by noise behind their end.

    The content lies in a mapped file, so that only pages of the parquet file are ever in memory.
    """
    content = folder / "content"
    rng = np.random.default_rng(0)
    with content.open("wb") as file:
        for row in range(MEMORY_ROWS):
            image = images[row % len(images)].read_bytes()[:MEMORY_ROW_BYTES]
            file.write(image + rng.bytes(MEMORY_ROW_BYTES - len(image)))
    offsets = np.arange(MEMORY_ROWS + 1, dtype=np.int64) * MEMORY_ROW_BYTES
    with pyarrow.memory_map(str(content)) as mapped:
        buffers = [None, pyarrow.py_buffer(offsets), mapped.read_buffer()]
        cells = pyarrow.Array.from_buffers(pyarrow.large_binary(), MEMORY_ROWS, buffers)
        names = pyarrow.array([f"{row}.jpg" for row in range(MEMORY_ROWS)])
        table = pyarrow.table({"image": pyarrow.StructArray.from_arrays([cells, names], ["bytes", "path"])})
        path = folder / "data" / "all.parquet"
        pyarrow.parquet.write_table(
            table, path, row_group_size=MEMORY_ROWS, use_dictionary=False, write_batch_size=MEMORY_ROWS_PER_PAGE
        )
    content.unlink()
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 1


def read_status() -> dict[str, int]:
    """What `/proc` says of this process's memory, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in lines}


def prepare_and_weigh(connection: Connection, endpoint: str, repository: str, folder: Path, max_samples: int) -> None:
    """In a process of its own: the resident memory before, and its peak."""
    import dfresearch_rs  # noqa: F401 -- what it loads, torch first of all, is there before

    before = read_status()["VmRSS"]
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    prepare(endpoint, repository, folder, max_samples)
    connection.send((before, read_status()["VmHWM"]))


def measure_memory(media: Path, count: int, folder: Path) -> None:
    if shutil.disk_usage(folder).free < MEMORY_DISK_BYTES:
        raise SystemExit(f"{folder} has less than {MEMORY_DISK_BYTES >> 30} GiB free; TMPDIR names another place")
    repository = "bench/large-row-group"
    (folder / repository / "data").mkdir(parents=True)
    publish_large_row_group(choose_images(media, "jpg", count), folder / repository)
    context = multiprocessing.get_context("spawn")
    with serve_folders({repository: folder / repository}) as endpoint:
        for max_samples in (MEMORY_FEW_ROWS, MEMORY_ROWS):
            place = folder / "fetched"
            place.mkdir()
            receiver, sender = context.Pipe(duplex=False)
            arguments = (sender, endpoint, repository, place, max_samples)
            start = time.perf_counter()
            process = context.Process(target=prepare_and_weigh, args=arguments)
            process.start()
            sender.close()
            before, peak = receiver.recv()
            process.join()
            seconds = time.perf_counter() - start
            assert len(find_media(place, "jpg")) == max_samples
            shutil.rmtree(place)
            print(
                f"{max_samples:>5} of {MEMORY_ROWS} rows of {MEMORY_ROW_BYTES / MEBIBYTE:.0f} MiB in one row group"
                f"   peak {peak / MEBIBYTE:6.1f} MiB, of which {before / MEBIBYTE:6.1f} MiB were there before (torch)"
                f"   fetching adds {(peak - before) / MEBIBYTE:6.1f} MiB   in {seconds:.1f} s",
                flush=True,
            )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--media", type=Path, help="a corpus laid out as a cache; made in .bench/ if not given")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"of each format (default {IMAGES})")
    parser.add_argument("--rounds", type=int, default=5, help="fetches of each side (default 5)")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory instead (needs 7 GiB of disk)")
    return parser.parse_args()


def main() -> None:
    arguments = read_arguments()
    media = arguments.media
    if media is None:
        media = Path(".bench")
        if not (media / "gasbench_configs").exists():
            make_image_corpus(media, IMAGES_PER_KIND)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # Nobody's token, and nobody's cache. Read when `huggingface_hub` is imported.
        os.environ["HF_HOME"] = str(folder / "huggingface")
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ.pop("HF_TOKEN", None)
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
        if arguments.memory:
            measure_memory(media, arguments.images, folder)
        else:
            measure_all(media, arguments.images, arguments.rounds, folder)


if __name__ == "__main__":
    main()
