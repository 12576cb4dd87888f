"""Published datasets that between them use every source format and every field of the competition's definitions.

`image_datasets`, `video_datasets` and `audio_datasets` are small enough for a test to download all of them; every
medium in them is another, so that the hashes that arrive say where each came from.
"""

import zipfile
from collections.abc import Iterable
from itertools import chain

import pyarrow

from . import media
from .archive_files import duplicate_zip, make_tar, make_zip, nasty_tar, nasty_zip
from .gasstation import gasstation_dataset
from .parquet_files import blobs, float_arrays, lists, make_parquet, structs, texts
from .published import PublishedDataset, publish


class Numbers:
    """Hands out media that nobody else has."""

    def __init__(self, modality: str, first: int) -> None:
        self._modality, self._next = modality, first

    def __call__(self, count: int, extension: str | None = None) -> list[bytes]:
        numbers = range(self._next, self._next + count)
        self._next += count
        return [media.medium(self._modality, number, extension) for number in numbers]


def named(contents: Iterable[bytes], extension: str, folder: str = "") -> dict[str, bytes]:
    return {f"{folder}{number:05}.{extension}": content for number, content in enumerate(contents)}


def image_datasets() -> list[PublishedDataset]:
    new = Numbers("image", 1000)
    return [*_image_tables(new), *_image_archives(new), *_image_files(new), gasstation_dataset("image", 2, 9000)]


def _image_tables(new: Numbers) -> list[PublishedDataset]:
    """Parquet files."""
    datasets = []
    # Two of four shards and three of five rows: which ones is the seed's choice.
    limits = {"samples": 6, "media_per_archive": 3, "archives_per_dataset": 2}
    for name, fields in (("struct-shards", {}), ("struct-some", limits)):
        shards = [new(5) for _ in range(4)]
        files = {
            f"data/train-{number:05}-of-00004.parquet": make_parquet(
                {"image": structs(shard), "image_id": pyarrow.array(range(5)), "label": pyarrow.array([number] * 5)}
            )
            for number, shard in enumerate(shards)
        }
        datasets.append(publish("image", name, files, chain(*shards), source_format="parquet", **fields))
    kept, left = new(6), new(4)
    files = {
        "default/train/0000.parquet": make_parquet({"Image": blobs([*kept[:3], None])}),
        "default/train/0001.parquet": make_parquet({"Image": blobs([*kept[3:], b""], large=True)}),
        "default/test/0000.parquet": make_parquet({"Image": blobs(left)}),
    }
    datasets.append(publish("image", "binary-train", files, kept, source_format="parquet", include_paths=["train"]))
    text = new(5, "jpg")
    table = {"image_id": texts(new(5)), "width": pyarrow.array([1] * 5), "source_image_base64": texts(text)}
    datasets.append(publish("image", "base64", {"a.parquet": make_parquet(table)}, text, source_format="parquet"))
    source, target, other = new(3), new(3, "webp"), new(3)
    table = {"image": structs(other), "src_img": blobs(source), "tgt_img": structs(target, "webp")}
    datasets.append(
        publish(
            *("image", "swapped-faces", {"pairs.parquet": make_parquet(table)}, source + target),
            media_type="semisynthetic",
            source_format="parquet",
            data_columns=["src_img", "tgt_img"],
            generator_family="face_swap",
            generator_variant="swapper-2",
        )
    )
    mixed = new(9)
    labels = pyarrow.array(["real", "fake", "real"] * 3)
    for value, media_type in (("real", "real"), ("fake", "synthetic")):
        table = {"image": structs(mixed), "label": labels}
        wanted = [content for content, label in zip(mixed, labels.to_pylist(), strict=True) if label == value]
        datasets.append(
            publish(
                *("image", f"labelled-{value}", {"all.parquet": make_parquet(table)}, wanted),
                media_type=media_type,
                source_format="parquet",
                filter_column="label",
                filter_value=value,
            )
        )
    cells = [new(2), [], new(1), new(3)]
    table = make_parquet({"images": lists(cells)}, rows_per_group=3, compression="zstd")
    datasets.append(publish("image", "lists", {"l.parquet": table}, chain(*cells), source_format="parquet"))
    return datasets


def _image_archives(new: Numbers) -> list[PublishedDataset]:
    datasets = []
    good, bad = new(6), new(6)
    archive = nasty_zip(good, bad, "png")
    datasets.append(publish("image", "nasty-zip", {"images.zip": archive}, good, source_format="zip"))
    twins = new(2)
    archive = duplicate_zip(*twins, "same.png")
    datasets.append(publish("image", "twins-zip", {"twins.zip": archive}, twins, samples=1, source_format="zip"))
    options = {"media_type": "synthetic", "source_format": "zip", "generator_variant": "stylegan2"}
    for name, wanted, fields in (
        ("one-part", (1,), {"include_paths": ["SFHQ-part1.zip"]}),
        ("other-parts", (0, 2), {"exclude_paths": ["part1"]}),
        ("some-parts", (0, 1, 2), {"samples": 4, "media_per_archive": 2, "archives_per_dataset": 2}),
    ):
        parts = [new(4, "jpg") for _ in range(3)]
        files = {
            f"parts/SFHQ-part{number}.zip": make_zip(named(part, "jpg", "images/"), zipfile.ZIP_DEFLATED)
            for number, part in enumerate(parts)
        }
        media_of_parts = chain.from_iterable(parts[number] for number in wanted)
        datasets.append(publish("image", name, files, media_of_parts, **fields, **options))
    for source_format, path, compression in (
        ("tar", "images.tar", ""),
        ("tar.gz", "images.tar.gz", "gz"),
        ("tgz", "images.tgz", "gz"),
        ("tar", "named-otherwise.tar.gz", "gz"),
    ):
        good, bad = new(4), new(3)
        archive = nasty_tar(good, bad, "png", compression)
        name = f"{path.replace('.', '-')}-as-{source_format.replace('.', '-')}"
        datasets.append(publish("image", name, {path: archive}, good, source_format=source_format))
    # Without a format, and with one of which there is nothing: parquet, then zip, then tar, then tar.gz.
    for name, fields in (("formatless-zip", {}), ("no-such-format", {"source_format": "parquet"})):
        zipped, tarred = new(3), new(3)
        files = {"a.zip": make_zip(named(zipped, "png")), "b.tar": make_tar(named(tarred, "png"))}
        datasets.append(publish("image", name, files, zipped, **fields))
    last = new(3)
    archive = make_tar(named(last, "png"), "gz")
    datasets.append(publish("image", "formatless-tar-gz", {"deep/er/b.tar.gz": archive}, last))
    return datasets


def _image_files(new: Numbers) -> list[PublishedDataset]:
    datasets = []
    for extension in ("png", "jpg", "jpeg"):
        real, fake = new(7, extension), new(4, extension)
        files = {
            **named(real[1:], extension, "images/real/"),
            f"images/real/100% größe #1 + '&'.{extension}": real[0],
            **named(fake, extension, "images/fake/"),
            "images/real/notes.txt": b"nothing\n",
        }
        fields = {"source_format": extension, "include_paths": ["real/"]}
        datasets.append(publish("image", f"files-{extension}", files, real, **fields))
    clips = [new(3), new(4)]
    files = {**named(clips[0], "png", "clips/a/"), **named(clips[1], "png", "clips/b/")}
    # Frames make videos: the folder is what the modality calls a medium.
    datasets.append(publish("video", "frame-folders", files, chain(*clips), samples=2, source_format="frames"))
    return datasets


def video_datasets() -> list[PublishedDataset]:
    new = Numbers("video", 20000)
    datasets = []
    for extension in ("mp4", "avi", "mov"):
        kept, left = new(4, extension), new(2, extension)
        files = {**named(kept, extension, "VideoPoet/"), **named(left, extension, "Veo/")}
        fields = {"source_format": extension, "include_paths": ["VideoPoet/"], "media_type": "synthetic"}
        datasets.append(publish("video", f"files-{extension}", files, kept, **fields))
    good, bad = new(4), new(6)
    archive = nasty_zip(good, bad, "mp4")
    datasets.append(publish("video", "nasty-zip", {"videos.zip": archive}, good, source_format="zip"))
    for source_format in ("tar", "tar.gz"):
        good, bad = new(3, "webm"), new(3, "webm")
        archive = nasty_tar(good, bad, "webm", "gz" if source_format == "tar.gz" else "")
        name = f"nasty-{source_format.replace('.', '-')}"
        options = {"media_type": "semisynthetic", "source_format": source_format}
        datasets.append(publish("video", name, {f"v.{source_format}": archive}, good, **options))
    # The column that is called one of video, bytes, content, data, else the first with one of them in its name.
    plain, other, named_so = new(3), new(3), new(3)
    exact = make_parquet({"some_video_thumbnail": blobs(other), "video": structs(plain, "mp4")})
    datasets.append(publish("video", "column-video", {"v.parquet": exact}, plain, source_format="parquet"))
    contains = make_parquet({"frames": pyarrow.array([6, 6, 6]), "raw_video_file": blobs(named_so)})
    datasets.append(publish("video", "column-with-video", {"v.parquet": contains}, named_so, source_format="parquet"))
    return [*datasets, gasstation_dataset("video", 0, 29000, each=2)]


def audio_datasets() -> list[PublishedDataset]:
    new = Numbers("audio", 40000)
    datasets = []
    for extension in ("wav", "mp3", "m4a"):
        kept, left = new(4, extension), new(2, extension)
        files = {**named(kept, extension, "clean/"), **named(left, extension, "invalidated/")}
        fields = {"source_format": extension, "exclude_paths": ["invalidated"]}
        datasets.append(publish("audio", f"files-{extension}", files, kept, **fields))
    good, bad = new(4), new(6)
    datasets.append(publish("audio", "nasty-zip", {"a.zip": nasty_zip(good, bad, "wav")}, good, source_format="zip"))
    good, bad = new(4), new(3)
    archive = nasty_tar(good, bad, "wav", "gz")
    datasets.append(publish("audio", "nasty-tar-gz", {"a.tar.gz": archive}, good, source_format="tar.gz"))
    plain = new(5)
    table = {
        "audio_id": pyarrow.array(range(5)),
        "audio": structs(plain, "wav"),
        "audio_length": pyarrow.array([1] * 5),
    }
    datasets.append(publish("audio", "struct", {"a.parquet": make_parquet(table)}, plain, source_format="parquet"))
    kore, puck, other = new(3), new(3), new(3)
    table = {"audio": structs(other, "wav"), "kore": structs(kore, "wav"), "puck": blobs(puck)}
    options = {"media_type": "synthetic", "source_format": "parquet", "data_columns": ["kore", "puck"]}
    datasets.append(publish("audio", "two-voices", {"a.parquet": make_parquet(table)}, kore + puck, **options))
    # No column "audio": every one with audio, bytes, content, data, wav or mp3 in its name, and without "_id".
    clean, noisy = new(3), new(3, "mp3")
    table = {"wav_id": texts(new(3)), "clean_wav": texts(clean), "text": texts(new(3)), "noisy_mp3": blobs(noisy)}
    datasets.append(
        publish("audio", "columns", {"a.parquet": make_parquet(table)}, clean + noisy, source_format="parquet")
    )
    waveforms = [media.waveform(50000 + number) for number in range(4)]
    files = {
        "a.parquet": make_parquet({"audio": float_arrays(waveforms[:2], media.SAMPLE_RATE)}),
        "b.parquet": make_parquet({"audio": float_arrays(waveforms[2:], None)}),
    }
    options = {"samples": 4, "waveforms": waveforms, "source_format": "parquet"}
    datasets.append(publish("audio", "float-arrays", files, [], **options))
    return datasets


def all_datasets() -> list[PublishedDataset]:
    return [*image_datasets(), *video_datasets(), *audio_datasets()]
