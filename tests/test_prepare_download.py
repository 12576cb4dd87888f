"""`prepare.py` against a local hub: every format, every field, and what it costs."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
from hub import HuggingFaceHub, ModelScopeHub, datasets, faults, media
from hub.archive_files import make_zip
from hub.datasets import named
from hub.parquet_files import make_parquet, structs
from hub.published import publish, sha256
from hub.s3 import S3Server
from hub.workplace import Workplace

ALICE = "hf_alice"
MAKERS = {"image": datasets.image_datasets, "video": datasets.video_datasets, "audio": datasets.audio_datasets}


def of_modality(modality):
    """All published datasets of a modality; frames are published among the images that they are."""
    return [dataset for make in MAKERS.values() for dataset in make() if dataset.definition["modality"] == modality]


@pytest.fixture
def hub():
    with HuggingFaceHub(tokens=[ALICE]) as running:
        yield running


@pytest.fixture
def place(hub, tmp_path):
    """Make a workplace of some datasets, or several that share the hub."""
    count = 0

    def make(*published):
        nonlocal count
        count += 1
        folder = tmp_path / f"place-{count}"
        folder.mkdir()
        return Workplace(folder, hub, published)

    return make


def small(name="photos", count=6, **fields):
    """A dataset of one zip."""
    number = sum(map(ord, name)) * 100
    contents = [media.image(number + offset, side=40) for offset in range(count)]
    files = {"data/all.zip": make_zip(named(contents, "png", "images/"))}
    return publish("image", name, files, contents, source_format="zip", **fields)


# Everything that is published


@pytest.fixture(scope="module", params=sorted(MAKERS))
def fetched(request, tmp_path_factory):
    """A workplace in which all datasets of a modality have been fetched, once for all tests of this section."""
    with HuggingFaceHub() as hub:
        workplace = Workplace(tmp_path_factory.mktemp(request.param), hub, of_modality(request.param))
        finished = workplace.prepare("--modality", request.param, "--max-samples", 100)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        workplace.modality, workplace.said = request.param, finished.stdout
        yield workplace


def test_of_every_dataset_what_should_arrive_arrives(fetched):
    problems = []
    for dataset in fetched.datasets:
        try:
            fetched.check_dataset(dataset)
        except AssertionError as error:
            problems.append(f"{error}\n{fetched.state_of(dataset).get('reason')}")
    assert not problems, "\n\n".join(problems)
    fetched.check_index()


def test_every_dataset_is_ok(fetched):
    for dataset in fetched.datasets:
        assert fetched.state_of(dataset)["status"] == "ok", dataset.name
    finished = fetched.prepare("--verify", "--modality", fetched.modality, "--json")
    assert finished.returncode == 0, finished.stderr
    text = finished.stdout
    for dataset in fetched.datasets:
        assert dataset.name in text
    # Whatever else the report says, it is JSON, and OK never stands beside nothing.
    for row in find_rows(json.loads(text)):
        assert row["samples"] > 0 or row["status"] != "OK"


def find_rows(value):
    """The objects of a report that have a status and a number of samples."""
    if isinstance(value, dict):
        if {"status", "samples"} <= value.keys():
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from find_rows(inner)


def test_float_arrays_become_the_recordings_that_they_are(fetched):
    for dataset in fetched.datasets:
        waveforms = dataset.waveforms
        for name in fetched.media_of(dataset) if waveforms else ():
            rate, samples = scipy.io.wavfile.read(fetched.folder_of(dataset) / name)
            assert (rate, samples.dtype, samples.ndim) == (media.SAMPLE_RATE, np.int16, 1)
            distances = [
                np.abs(samples / 32767 - waveform).max() if len(waveform) == len(samples) else np.inf
                for waveform in waveforms
            ]
            # A step and a half of 16 bits, whichever way somebody rounds and scales.
            assert min(distances) < 1.5 / 32767
            waveforms = [waveform for waveform, far in zip(waveforms, distances, strict=True) if far != min(distances)]
        assert not dataset.waveforms or not waveforms


def test_a_second_run_asks_the_hub_for_no_content(fetched):
    before = fetched.snapshot()
    fetched.hub.record.clear()
    assert fetched.prepare("--modality", fetched.modality, "--max-samples", 100).returncode == 0
    assert not fetched.hub.record(subject="content")
    assert fetched.snapshot() == before


def test_the_loader_s_samples_are_those_of_the_cache(fetched):
    from dfresearch import samples

    config = samples.load_dataset_config(fetched.cache, fetched.modality, fetched.folder / "none")
    found = samples.gather_samples(fetched.cache, fetched.modality, config, "all")
    assert len(found) == sum(dataset.expected for dataset in fetched.datasets)


# What is asked for, and how much


def test_the_same_seed_gives_the_same_samples_anywhere(place):
    published = [dataset for dataset in datasets.image_datasets() if dataset.name in ("struct-some", "some-parts")]
    first, second, other = place(*published), place(*published), place(*published)
    for workplace, workers in ((first, 1), (second, 8)):
        assert workplace.prepare("--modality", "image", "--workers", workers).returncode == 0
    assert first.snapshot() == second.snapshot()
    assert other.prepare("--modality", "image", "--seed", 7).returncode == 0
    assert other.snapshot().contents != first.snapshot().contents


def test_more_samples_later_begin_with_those_of_before(place):
    published = [dataset for dataset in datasets.image_datasets() if dataset.name in ("struct-shards", "files-png")]
    grown, whole = place(*published), place(*published)
    assert grown.prepare("--modality", "image", "--max-samples", 3).returncode == 0
    few = grown.snapshot()
    assert len(few.files) == 6
    assert grown.prepare("--modality", "image", "--max-samples", 6).returncode == 0
    assert whole.prepare("--modality", "image", "--max-samples", 6).returncode == 0
    assert few.files.items() <= grown.snapshot().files.items()
    assert grown.snapshot() == whole.snapshot()


def test_a_few_samples_of_a_large_zip_cost_little(hub, place):
    contents = [media.image(70_000 + number, side=300) for number in range(40)]
    archive = make_zip(named(contents, "png"))
    workplace = place(publish("image", "large", {"large.zip": archive}, contents, source_format="zip"))
    assert workplace.prepare("--modality", "image", "--max-samples", 2).returncode == 0
    assert len(archive) > 10_000_000
    assert hub.record.sent(subject="content") < len(archive) / 2


def test_a_few_rows_of_a_large_parquet_file_cost_little(hub, place):
    contents = [media.image(71_000 + number, side=300) for number in range(40)]
    table = make_parquet({"image": structs(contents)}, rows_per_group=4)
    workplace = place(publish("image", "large", {"large.parquet": table}, contents, source_format="parquet"))
    assert workplace.prepare("--modality", "image", "--max-samples", 2).returncode == 0
    assert len(table) > 10_000_000
    assert hub.record.sent(subject="content") < len(table) / 2


def test_files_that_are_not_meant_are_not_asked_for(hub, place):
    [dataset] = [dataset for dataset in datasets.image_datasets() if dataset.name == "files-png"]
    workplace = place(dataset)
    assert workplace.prepare("--modality", "image").returncode == 0
    files = dataset.repository.find("main").files
    asked = {exchange.path for exchange in hub.record(subject="resolve")}
    assert asked == {path for path in files if path.startswith("images/real/") and path.endswith(".png")}
    assert hub.record.sent(subject="content") == sum(files[path].content.size for path in asked)


def test_datasets_and_media_types_can_be_chosen(place):
    workplace = place(small("photos-a"), small("photos-b"), small("renders", media_type="synthetic"))
    assert workplace.prepare("--modality", "image", "--datasets", "photos-*").returncode == 0
    assert {path.split("/")[1] for path in workplace.snapshot().files} == {"photos-a", "photos-b"}
    assert workplace.prepare("--modality", "image", "--media-type", "synthetic").returncode == 0
    assert {path.split("/")[1] for path in workplace.snapshot().files} == {"photos-a", "photos-b", "renders"}


def test_a_dry_run_fetches_nothing(hub, place):
    workplace = place(small())
    finished = workplace.prepare("--modality", "image", "--dry-run")
    assert finished.returncode == 0
    assert "photos" in finished.stdout
    assert not hub.record(subject="content")
    assert not list(workplace.cache.rglob("*.png"))


# Access


def test_a_gated_dataset_says_where_to_ask_and_is_fetched_once_it_may_be(hub, place):
    gated, open_one = small("faces"), small("photos")
    gated.repository.gated, gated.repository.readers = "auto", {ALICE}
    workplace = place(gated, open_one)
    finished = workplace.prepare("--modality", "image")
    said = finished.stdout + finished.stderr
    assert "GATED" in said
    assert f"{hub.url}/datasets/publisher/faces" in said
    workplace.check_dataset(open_one)
    assert not workplace.media_of(gated)
    assert workplace.prepare("--modality", "image", HF_TOKEN=ALICE).returncode == 0
    workplace.check_dataset(gated)
    assert {exchange.token for exchange in hub.record(host="storage")} == {None}


def test_a_token_in_the_hub_s_folder_counts(hub, place):
    private = small("secret")
    private.repository.private, private.repository.readers = True, {ALICE}
    workplace = place(private)
    (workplace.folder / "huggingface").mkdir()
    (workplace.folder / "huggingface/token").write_text(f"{ALICE}\n")
    assert workplace.prepare("--modality", "image").returncode == 0
    workplace.check_dataset(private)


def test_what_does_not_exist_fails_with_its_reason_and_stops_nobody(hub, place):
    missing, moved, other = small("missing"), small("moved"), small("photos")
    workplace = place(missing, moved, other)
    del hub.repositories["publisher/missing"]
    hub.renamed["publisher/moved"] = "publisher/elsewhere"
    del hub.repositories["publisher/moved"]
    moved.repository.name = "publisher/elsewhere"
    hub.add(moved.repository)
    finished = workplace.prepare("--modality", "image", HF_TOKEN=ALICE)
    said = finished.stdout + finished.stderr
    assert "FAILED" in said
    assert "publisher/missing" in said
    for dataset in (moved, other):
        workplace.check_dataset(dataset)


# The cache


def test_what_a_person_put_there_stays(place):
    workplace = place(small("photos"), small("others"))
    by_hand = workplace.cache / "datasets/image/photos"
    by_hand.mkdir(parents=True)
    (by_hand / "holiday.png").write_bytes(media.image(5))
    workplace.prepare("--modality", "image")
    assert [path.name for path in by_hand.iterdir() if not path.name.startswith(".")] == ["holiday.png"]
    workplace.check_dataset(workplace.datasets[1])


def test_media_are_stored_as_they_came_with_the_extension_of_what_they_are(place):
    contents = [media.image(80_000 + number, extension) for number, extension in enumerate(media.IMAGE_FORMATS)]
    # All under one extension, which is that of a third of them at most.
    archive = make_zip(named(contents, "png"))
    workplace = place(publish("image", "mislabelled", {"m.zip": archive}, contents, source_format="zip"))
    assert workplace.prepare("--modality", "image").returncode == 0
    arrived = {digest: Path(name).suffix for name, digest in workplace.media_of(workplace.datasets[0]).items()}
    for content, extension in zip(contents, media.IMAGE_FORMATS, strict=True):
        assert arrived[sha256(content)] in ({".jpg", ".jpeg"} if extension in ("jpg", "jpeg") else {f".{extension}"})


def test_the_same_bytes_under_both_labels_are_in_conflict(place):
    from dfresearch import samples

    shared = [media.image(81_000 + number) for number in range(2)]
    made = []
    for name, media_type, start in (("photos", "real", 81_100), ("renders", "synthetic", 81_200)):
        own = [media.image(start + number) for number in range(3)]
        archive = make_zip(named([*own, *shared], "png"))
        made.append(publish("image", name, {"a.zip": archive}, [*own, *shared], media_type=media_type))
    workplace = place(*made)
    finished = workplace.prepare("--modality", "image")
    verified = workplace.prepare("--verify", "--modality", "image")
    assert finished.returncode == 0
    assert "left out, because the same bytes are called both real and synthetic" in verified.stdout
    config = samples.load_dataset_config(workplace.cache, "image", workplace.folder / "none")
    left = {sha256(path.read_bytes()) for path, _ in samples.gather_samples(workplace.cache, "image", config, "all")}
    assert len(left) == 6
    assert not left & set(map(sha256, shared))


def test_a_label_that_moved_upstream_is_changed_and_nothing_fetched_again(hub, place):
    dataset = small("photos")
    workplace = place(dataset)
    assert workplace.prepare("--modality", "image").returncode == 0
    before = workplace.snapshot()
    dataset.definition["media_type"] = "synthetic"
    Workplace(workplace.folder, hub, [dataset])
    hub.record.clear()
    finished = workplace.prepare("--modality", "image", "--refresh-configs")
    assert finished.returncode == 0
    assert "photos" in finished.stdout + finished.stderr
    assert not hub.record(subject="content")
    assert workplace.snapshot().files == before.files
    workplace.check_index()


def test_one_group_for_all_media_of_a_row(place):
    [dataset] = [dataset for dataset in datasets.image_datasets() if dataset.name == "swapped-faces"]
    workplace = place(dataset)
    assert workplace.prepare("--modality", "image").returncode == 0
    lines = [json.loads(line) for line in (workplace.folder_of(dataset) / "manifest.jsonl").read_text().splitlines()]
    groups = {line["row"]: line["group"] for line in lines}
    assert len(groups) == 3
    assert all(line["group"] == groups[line["row"]] for line in lines)
    assert {line["column"] for line in lines} == {"src_img", "tgt_img"}


# Other sources


def test_modelscope(tmp_path):
    dataset = small("photos", source="modelscope")
    dataset.repository.branches["master"] = dataset.repository.branches["main"]
    with ModelScopeHub([dataset.repository], largest_page=2) as hub:
        workplace = Workplace(tmp_path, None, [dataset])
        finished = workplace.prepare("--modality", "image", MODELSCOPE_ENDPOINT=hub.url)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    workplace.check_dataset(dataset)


def test_s3(tmp_path):
    dataset = small("photos", source="s3")
    files = {
        path: file.content.read(0, file.content.size) for path, file in dataset.repository.find("main").files.items()
    }
    with S3Server() as server:
        server.add("local-bucket", {f"some/prefix/{path}": content for path, content in files.items()})
        dataset.definition["path"] = "local-bucket/some/prefix"
        workplace = Workplace(tmp_path, None, [dataset])
        finished = workplace.prepare("--modality", "image", **server.environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert set(workplace.media_of(dataset).values()) == dataset.media


# One fault, so that the ordinary test run sees one; the others are in `make test-faults`


def test_a_broken_connection_costs_no_sample(hub, place):
    disturbed, quiet = place(small()), place(small())
    assert quiet.prepare("--modality", "image").returncode == 0
    hub.inject(faults.reset_mid_file(after=4000), faults.status_500(times=2, subjects=("resolve",)))
    assert disturbed.prepare("--modality", "image").returncode == 0
    assert [fault.hits for fault in hub.faults] == [1, 2]
    assert disturbed.snapshot() == quiet.snapshot()
