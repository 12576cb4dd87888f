"""A gasstation repository: metadata in parquet files of ISO weeks, the media in tars of the same weeks."""

import datetime
from collections.abc import Mapping

import pyarrow

from . import media
from .archive_files import make_tar
from .parquet_files import make_parquet
from .published import PublishedDataset, publish


def week_before(weeks: int, today: datetime.date | None = None) -> str:
    """Return an ISO week as 2025W39, so many weeks before today's."""
    day = (today or datetime.datetime.now(datetime.UTC).date()) - datetime.timedelta(weeks=weeks)
    year, week, _ = day.isocalendar()
    return f"{year}W{week:02}"


def metadata(rows: Mapping[str, list[str]]) -> bytes:
    """A parquet file of rows; `rows` has the names of the files inside by the archive's."""
    pairs = [(archive, member) for archive, members in rows.items() for member in members]
    columns = {
        "archive_filename": pyarrow.array([archive for archive, _ in pairs], pyarrow.string()),
        "file_path_in_archive": pyarrow.array([member for _, member in pairs], pyarrow.string()),
        "model_name": pyarrow.array(["local/generator"] * len(pairs), pyarrow.string()),
        "prompt": pyarrow.array([f"picture {number}" for number in range(len(pairs))], pyarrow.string()),
    }
    return make_parquet(columns, rows_per_group=3)


def gasstation_dataset(modality: str, newest_week: int, first: int, each: int = 4) -> PublishedDataset:
    """Three weeks of media, the newest so many weeks ago, and later weeks without any.

    Every week has two archives of `each` media that its metadata name, and one of which they know nothing; the week
    that is asked for is the newest with media, and nothing of the others may arrive.
    """
    extension = {"image": "png", "video": "mp4"}[modality]
    files: dict[str, bytes] = {}
    newest: list[bytes] = []
    number = first
    for age in range(newest_week + 3):
        week = week_before(age)
        if age < newest_week:
            # The odd ones have a file of metadata without a row, the even ones none at all.
            if age % 2:
                files[f"data/metadata_{week}/train-00000.parquet"] = metadata({})
            continue
        rows: dict[str, list[str]] = {}
        for archive in ("validator-a_0001.tar.gz", "validator-b_0001.tar.gz"):
            members = {f"{archive[:11]}/{number + each_one}.{extension}": b"" for each_one in range(each)}
            for name in members:
                members[name] = media.medium(modality, number, extension)
                number += 1
            rows[archive] = list(members)
            if age == newest_week:
                newest += members.values()
            unlisted = {f"unlisted/{number}.{extension}": media.medium(modality, number, extension)}
            number += 1
            files[f"archives/{week}/{archive}"] = make_tar({**members, **unlisted}, "gz")
        files[f"data/metadata_{week}/train-00000.parquet"] = metadata(rows)
    plural = {"image": "images", "video": "videos"}[modality]
    name = f"gasstation-generated-{plural}-{newest_week}"
    options = {"media_type": "synthetic", "source_format": "parquet", "generator_family": "gasstation"}
    dataset = publish(modality, name, files, newest, **options)
    dataset.repository.name = f"gasstation/gs-{plural}-{newest_week}"
    dataset.definition["path"] = dataset.repository.name
    return dataset
