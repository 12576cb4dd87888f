"""The datasets that are published locally: as various as today's definitions, and as nasty as they claim to be."""

import datetime
import io
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml
from hub import datasets, media
from hub.archive_files import nasty_tar, nasty_zip
from hub.gasstation import week_before
from hub.published import sha256, write_definitions

import dfresearch_rs

# What today's 533 definitions use between them, and `frames`, which the format also has.
SOURCE_FORMATS = {None, "parquet", "zip", "tar", "tar.gz", "tgz", "frames"}
SOURCE_FORMATS |= {"mp4", "avi", "mov", "wav", "mp3", "m4a", "png", "jpg", "jpeg"}
FIELDS = {"include_paths", "exclude_paths", "data_columns", "filter_column", "filter_value", "generator_variant"}


@pytest.fixture(scope="module")
def published():
    return datasets.all_datasets()


def files_of(dataset):
    files = dataset.repository.find("main").files
    return {path: file.content.read(0, file.content.size) for path, file in files.items()}


def members_of(archive):
    """Contents by name of a tar's regular files."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened.getmembers() if member.isreg()}


def test_every_format_and_field_is_used(published):
    definitions = [dataset.definition for dataset in published]
    assert {definition.get("source_format") for definition in definitions} == SOURCE_FORMATS
    assert {field for definition in definitions for field in definition} >= FIELDS
    assert {definition["media_type"] for definition in definitions} == {"real", "synthetic", "semisynthetic"}
    assert {definition["modality"] for definition in definitions} == {"image", "video", "audio"}
    for limit in ("media_per_archive", "archives_per_dataset"):
        assert {definition[limit] > 0 for definition in definitions} == {True, False}
    names = Counter((definition["modality"], definition["name"]) for definition in definitions)
    assert max(names.values()) == 1


def test_the_definitions_are_valid(published, tmp_path):
    folder = write_definitions(tmp_path / "configs", published)
    read = {}
    for modality in ("image", "video", "audio"):
        definitions, notes = dfresearch_rs.load_catalog(folder, tmp_path / "none", modality)
        assert not notes
        read |= {(modality, definition["name"]): definition for definition in definitions}
    assert len(read) == len(published)
    for dataset in published:
        definition = read[dataset.definition["modality"], dataset.name]
        assert {key: definition[key] for key in dataset.definition} == dataset.definition
    real = yaml.safe_load((folder / "real_images.yaml").read_text())["datasets"]
    assert {definition["media_type"] for definition in real} == {"real"}


def test_no_medium_is_in_two_datasets(published):
    owners = Counter(medium for dataset in published for medium in dataset.media)
    assert max(owners.values()) == 1


@pytest.mark.parametrize(
    ("modality", "extension"),
    [("image", extension) for extension in media.IMAGE_FORMATS]
    + [("video", extension) for extension in ("mp4", "mov", "avi", "webm", "mkv")]
    + [("audio", extension) for extension in ("wav", "mp3", "m4a")],
)
def test_media_are_media_and_differ(modality, extension):
    decode = {
        "image": dfresearch_rs.decode_image,
        "video": lambda content: dfresearch_rs.decode_video(content, num_frames=4),
        "audio": dfresearch_rs.decode_audio,
    }[modality]
    made = [media.medium(modality, number, extension) for number in range(3)]
    assert len(set(made)) == 3
    assert media.medium(modality, 0, extension) == made[0]
    for content in made:
        assert decode(content).size


def test_what_the_nasty_zip_holds():
    good, bad = [media.image(number) for number in range(6)], [media.image(number) for number in range(10, 18)]
    with zipfile.ZipFile(io.BytesIO(nasty_zip(good, bad, "png"))) as archive:
        check_nasty_zip(archive, good, bad)


def check_nasty_zip(archive, good, bad):
    entries = {entry.filename: entry for entry in archive.infolist()}
    assert {"../escape.png", "/absolute.png", "C:\\drive.png", "media/../../escape.png", "media/"} <= set(entries)
    assert entries["media/link.png"].external_attr >> 28 == 0o12
    assert entries["media/secret.png"].flag_bits & 1
    assert archive.read("media/secret.png", pwd=b"password") == bad[5]
    with pytest.raises(RuntimeError, match="encrypted"):
        archive.read("media/secret.png")
    archive.setpassword(b"password")
    assert archive.testzip() is None
    contents = [archive.read(name) for name in entries]
    assert all(content in contents for content in (*good, *bad[:6]))
    used = {entry.compress_type for entry in entries.values()}
    assert used == {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


@pytest.mark.parametrize("compression", ["", "gz"])
def test_what_the_nasty_tar_holds(compression):
    good, bad = [media.image(number) for number in range(4)], [media.image(number) for number in range(10, 13)]
    archive = nasty_tar(good, bad, "png", compression)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        kinds, names = {member.type for member in opened.getmembers()}, opened.getnames()
    assert kinds >= {tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE}
    assert {"../escape.png", "/absolute.png", "media/../../escape.png"} <= set(names)
    assert max(map(len, names)) > 100
    assert {*good, *bad} <= set(members_of(archive).values())


@pytest.mark.parametrize(
    ("name", "newest"), [("gasstation-generated-images-2", 2), ("gasstation-generated-videos-0", 0)]
)
def test_what_a_gasstation_holds(published, name, newest):
    [dataset] = [dataset for dataset in published if dataset.name == name]
    files = files_of(dataset)
    weeks = {kind: set() for kind in ("data", "archives")}
    for path in files:
        if found := re.search(r"\d{4}W\d{2}", path):
            weeks[path.partition("/")[0]].add(found[0])
    last = max(weeks["archives"])
    assert len(weeks["archives"]) == 3
    assert len([week for week in weeks["data"] if week > last]) == newest // 2
    arriving = set()
    for path, content in files.items():
        if path.endswith(".parquet") and last in path:
            for row in pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist():
                members = members_of(files[f"archives/{last}/{row['archive_filename']}"])
                arriving.add(sha256(members[row["file_path_in_archive"]]))
    assert arriving == dataset.media
    assert len(arriving) >= 4


def test_weeks_are_iso_weeks():
    assert week_before(0, datetime.date(2025, 9, 24)) == "2025W39"
    assert week_before(1, datetime.date(2027, 1, 5)) == "2026W53"
    assert week_before(0, datetime.date(2024, 12, 30)) == "2025W01"


def test_row_groups_and_columns_are_what_the_formats_ask_for(published):
    groups, kinds = set(), set()
    for dataset in published:
        for path, content in files_of(dataset).items():
            if Path(path).suffix == ".parquet" and "gasstation" not in dataset.name:
                file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
                groups.add(file.num_row_groups)
                kinds |= {str(column.type).partition("<")[0] for column in file.schema_arrow}
    assert max(groups) > 1
    assert {"struct", "binary", "large_binary", "string", "list"} <= kinds
