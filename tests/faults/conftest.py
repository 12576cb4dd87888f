"""What the fault tests fetch: of every kind of source one dataset, large enough to be broken off in its middle."""

import pytest
from hub import HuggingFaceHub, media
from hub.archive_files import make_tar, make_zip
from hub.datasets import named
from hub.gasstation import gasstation_dataset
from hub.parquet_files import make_parquet, structs
from hub.published import publish
from hub.workplace import Workplace

# A PNG of noise with these sides has about 60 kB; 36 of them are more than two blocks of a partly fetched file.
SIDE, COUNT = 140, 36

KINDS = ("parquet", "zip", "tar.gz", "png", "gasstation")


def publish_all(kinds=KINDS, count=COUNT):
    """The same datasets at every call."""
    published = []
    for position, kind in enumerate(KINDS):
        if kind not in kinds:
            continue
        if kind == "gasstation":
            published.append(gasstation_dataset("image", 1, 95_000))
            continue
        contents = [media.image(90_000 + 1000 * position + number, side=SIDE) for number in range(count)]
        halves = [contents[: count // 2], contents[count // 2 :]]
        files = {
            "parquet": lambda halves: {
                f"data/{number}.parquet": make_parquet({"image": structs(half)}, rows_per_group=5)
                for number, half in enumerate(halves)
            },
            "zip": lambda halves: {f"{number}.zip": make_zip(named(half, "png")) for number, half in enumerate(halves)},
            "tar.gz": lambda halves: {
                f"{number}.tar.gz": make_tar(named(half, "png"), "gz") for number, half in enumerate(halves)
            },
            "png": lambda halves: named([*halves[0], *halves[1]], "png", "images/"),
        }[kind](halves)
        published.append(publish("image", f"of-{kind.replace('.', '-')}", files, contents, source_format=kind))
    return published


@pytest.fixture
def hub():
    with HuggingFaceHub() as running:
        yield running


@pytest.fixture
def place(hub, tmp_path):
    """Make a workplace of the datasets of some kinds, or several."""
    count = 0

    def make(*kinds):
        nonlocal count
        count += 1
        folder = tmp_path / f"place-{count}"
        folder.mkdir()
        return Workplace(folder, hub, publish_all(kinds or KINDS))

    return make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """What a run without any fault leaves of the datasets of some kinds."""
    known = {}

    def snapshot(*kinds):
        kinds = kinds or KINDS
        if kinds not in known:
            with HuggingFaceHub() as hub:
                workplace = Workplace(tmp_path_factory.mktemp("undisturbed"), hub, publish_all(kinds))
                finished = workplace.prepare("--modality", "image")
                assert finished.returncode == 0, finished.stdout + finished.stderr
                for dataset in workplace.datasets:
                    workplace.check_dataset(dataset)
                workplace.check_index()
                known[kinds] = workplace.snapshot()
        return known[kinds]

    return snapshot
