"""The sample cache as Python sees it: the same batches with and without it, for every modality, whoever fills it."""

import gc
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import write_clip, write_recording
from PIL import Image

import dfresearch_rs
import prepare
from dfresearch import data, sample_cache
from dfresearch.training import TrainingError

DEFINITIONS = {
    "datasets": [
        {"name": "photos", "path": "by-hand/photos", "modality": "image", "media_type": "real"},
        {"name": "renders", "path": "by-hand/renders", "modality": "image", "media_type": "synthetic"},
    ]
}
PER_DATASET = 12
OPTIONS = {
    "image": {"size": (32, 24), "batch_size": 5, "augment": 2},
    "video": {"size": (32, 24), "batch_size": 2, "num_frames": 4, "augment": 1},
    "audio": {"duration_seconds": 0.5, "batch_size": 3, "crop": "random"},
}


def write_image(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((70, 60), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> dict[str, list[tuple[Path, int]]]:
    """Fourteen images, five clips and seven recordings, the last of each too short for its slot or of another rate."""
    folder = tmp_path_factory.mktemp("media")
    images = [write_image(folder / f"{n}.{'jpg' if n % 2 else 'png'}", n) for n in range(14)]
    clips = [write_clip(folder / f"{n}.mp4", frames=3 if n == 4 else 9) for n in range(5)]
    recordings = [
        write_recording(folder / f"{n}.{'flac' if n % 2 else 'wav'}", seconds=0.3 if n == 6 else 1.5, frequency=200 + n)
        for n in range(7)
    ]
    return {
        modality: [(path, number % 2) for number, path in enumerate(paths)]
        for modality, paths in (("image", images), ("video", clips), ("audio", recordings))
    }


def epochs(samples, modality, count=2, **options) -> list[torch.Tensor]:
    """All inputs and labels of the first epochs, one after the other."""
    loader = dfresearch_rs.Loader(
        samples, modality=modality, **({"shuffle": True, "num_workers": 2} | OPTIONS[modality] | options)
    )
    return [tensor for _ in range(count) for batch in loader for tensor in batch]


def assert_same(left: list[torch.Tensor], right: list[torch.Tensor]) -> None:
    assert len(left) == len(right)
    assert all(torch.equal(one, other) for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize("modality", OPTIONS)
@pytest.mark.parametrize("workers", [1, 4])
def test_batches_are_the_same_without_a_cache_and_with_a_cold_and_a_warm_one(media, tmp_path, modality, workers):
    samples = media[modality]
    without = epochs(samples, modality)
    cold = epochs(samples, modality, sample_cache=tmp_path, num_workers=workers)
    warm = epochs(samples, modality, sample_cache=tmp_path, num_workers=workers)
    assert_same(cold, without)
    assert_same(warm, without)


def test_only_the_first_epoch_decodes(media, tmp_path):
    loader = dfresearch_rs.Loader(media["image"], modality="image", sample_cache=tmp_path, **OPTIONS["image"])
    for _ in range(3):
        list(loader)
    report = loader.sample_cache_report()
    assert (report.records, report.inserted, report.misses, report.hits) == (14, 14, 14, 28)
    assert (report.damaged, report.is_full, report.notices) == (0, False, [])
    assert report.folder.is_relative_to(tmp_path)
    assert 14 * 32 * 24 * 3 <= report.bytes <= report.max_bytes
    assert "14 records" in repr(report)
    assert dfresearch_rs.Loader(media["image"], modality="image").sample_cache_report() is None


def test_every_setting_has_records_of_its_own_and_augmentation_does_not_matter(media, tmp_path):
    def records(modality="image", **options):
        loader = dfresearch_rs.Loader(
            media[modality], modality=modality, sample_cache=tmp_path, **(OPTIONS[modality] | options)
        )
        list(loader)
        report = loader.sample_cache_report()
        return report.folder, report.misses

    folder, misses = records()
    assert misses == 14
    assert records(augment=3, batch_size=2, shuffle=True, seed=8) == (folder, 0)
    for other in ({"size": (24, 32)}, {"mode": "stretch"}, {"recompress": False}):
        other_folder, misses = records(**other)
        assert other_folder != folder
        assert misses == 14
    folder, misses = records("audio")
    assert misses == 7
    # Whole recordings are kept: windows of any kind come from them.
    assert records("audio", crop="center", duration_seconds=1.0) == (folder, 0)
    assert records("audio", sample_rate=8000)[0] != folder


def test_a_recording_of_more_than_a_minute_is_decoded_every_time(tmp_path):
    samples = [(write_recording(tmp_path / f"{seconds}.wav", seconds=seconds), 0) for seconds in (60.0, 60.5)]
    loader = dfresearch_rs.Loader(samples, modality="audio", sample_cache=tmp_path / "kept")
    for _ in range(2):
        list(loader)
    report = loader.sample_cache_report()
    assert (report.records, report.hits, report.misses) == (1, 1, 3)


def test_a_damaged_record_is_decoded_again(media, tmp_path):
    without = epochs(media["image"], "image", 1)
    assert_same(epochs(media["image"], "image", 1, sample_cache=tmp_path), without)
    (records,) = tmp_path.rglob("*.records")
    content = bytearray(records.read_bytes())
    content[len(content) // 2] ^= 0x10
    content[100] ^= 0x01
    records.write_bytes(content)
    loader = dfresearch_rs.Loader(
        media["image"], modality="image", sample_cache=tmp_path, shuffle=True, **OPTIONS["image"]
    )
    assert_same([tensor for batch in loader for tensor in batch], without)
    report = loader.sample_cache_report()
    assert report.damaged >= 1
    assert any("not what they were written as" in notice for notice in report.notices), report.notices
    again = dfresearch_rs.Loader(media["image"], modality="image", sample_cache=tmp_path, **OPTIONS["image"])
    list(again)
    assert (again.sample_cache_report().misses, again.sample_cache_report().damaged) == (0, 0)


def test_a_full_cache_keeps_what_it_has(media, tmp_path):
    without = epochs(media["image"], "image")
    room = {"sample_cache": tmp_path, "sample_cache_gb": 2e-5}
    assert_same(epochs(media["image"], "image", **room), without)
    loader = dfresearch_rs.Loader(media["image"], modality="image", shuffle=True, **OPTIONS["image"], **room)
    assert_same([tensor for _ in range(2) for batch in loader for tensor in batch], without)
    report = loader.sample_cache_report()
    assert 0 < report.records < 14
    assert report.is_full
    assert report.hits > 0
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.records")) <= 20_000


@pytest.mark.parametrize("gigabytes", [-1, float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused(media, tmp_path, gigabytes):
    with pytest.raises(dfresearch_rs.ArgumentError, match="sample_cache_gb"):
        dfresearch_rs.Loader(media["image"], modality="image", sample_cache=tmp_path, sample_cache_gb=gigabytes)


def test_warming_needs_a_cache_and_heeds_what_progress_raises(media, tmp_path):
    with pytest.raises(dfresearch_rs.ArgumentError, match="sample_cache"):
        dfresearch_rs.Loader(media["image"], modality="image").warm()
    loader = dfresearch_rs.Loader(media["image"], modality="image", sample_cache=tmp_path, **OPTIONS["image"])

    def stop(done, total):
        assert total == 14
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        loader.warm(stop)
    told = []
    report = loader.warm(lambda done, total: told.append((done, total)))
    assert report.present + report.added == 14
    assert told[-1] == (14, 14)
    list(loader)
    assert loader.sample_cache_report().misses == 0


# ---------------------------------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------------------------------

PROCESS = """
    import hashlib, json, sys
    import dfresearch_rs
    samples, folder, options = json.loads(sys.argv[1])
    loader = dfresearch_rs.Loader([tuple(each) for each in samples], sample_cache=folder, **options)
    digest = hashlib.sha256()
    print("ready", flush=True)
    sys.stdin.readline()
    for epoch in range(4):
        for inputs, labels in loader:
            digest.update(inputs.numpy().tobytes() + labels.numpy().tobytes())
    report = loader.sample_cache_report()
    print(json.dumps([digest.hexdigest(), report.records, report.damaged, report.hits, report.notices]))
"""


def start_process(samples, folder, **options) -> subprocess.Popen:
    argument = json.dumps([[(str(path), label) for path, label in samples], str(folder), options])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROCESS), argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_one_cache(media, tmp_path):
    """Both begin at the same moment with an empty cache, and go through the samples in different orders."""
    samples = media["image"] * 5
    options = {"modality": "image", "shuffle": True, "num_workers": 2} | OPTIONS["image"]
    results = {}
    for folder in (tmp_path / "shared", tmp_path / "alone"):
        both = [
            start_process(samples, folder / ("" if folder.name == "shared" else str(seed)), seed=seed, **options)
            for seed in (1, 2)
        ]
        for process in both:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        outputs = [process.communicate("go\n", timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        results[folder.name] = [json.loads(output) for output, _ in outputs]
    for shared, alone in zip(results["shared"], results["alone"], strict=True):
        assert shared[0] == alone[0], "the same batches"
        assert shared[1:3] == [14, 0]
        assert shared[4] == []


def test_a_killed_process_leaves_nothing_wrong(media, tmp_path):
    """The core's own test kills a writer at fifty moments; this one kills a whole loader while it fills the cache."""
    options = {"modality": "image", "shuffle": True, "num_workers": 2} | OPTIONS["image"]
    without = epochs(media["image"], "image")
    for _ in range(3):
        process = start_process(media["image"], tmp_path, **options)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        process.stdin.write("go\n")
        process.stdin.flush()
        while not list(tmp_path.rglob("*.records")):
            assert process.poll() is None
        process.kill()
        process.communicate()
        assert_same(epochs(media["image"], "image", sample_cache=tmp_path), without)


# ---------------------------------------------------------------------------------------------------------------------
# The training's loader, its settings, and prepare.py --warm
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of twelve small images a class; the module is pointed at it as a script would."""
    for number, dataset in enumerate(DEFINITIONS["datasets"]):
        for file in range(PER_DATASET):
            write_image(tmp_path / "datasets/image" / dataset["name"] / f"{file:06d}.png", 1000 * number + file)
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(data, "load_dataset_config", lambda modality, force_refresh=False: DEFINITIONS)
    monkeypatch.delenv("DFRESEARCH_SAMPLE_CACHE_DIR", raising=False)
    monkeypatch.delenv("DFRESEARCH_SAMPLE_CACHE_GB", raising=False)
    return tmp_path


def make(**options):
    return data.make_dataloader("image", "all", 8, target_size=(16, 16), **options)


def test_it_is_on_by_default_and_lies_in_the_cache(cache):
    loader = make()
    list(loader)
    report = loader.sample_cache_report()
    assert report.folder.parent == cache / "sample_cache"
    assert (report.records, report.misses) == (2 * PER_DATASET, 2 * PER_DATASET)
    # Files that the index knows are not even read where their records are there.
    again = make()
    list(again)
    assert again.sample_cache_report().misses == 0


@pytest.mark.parametrize(
    ("choice", "environment"),
    [
        (False, {}),
        ("off", {}),
        (True, {"DFRESEARCH_SAMPLE_CACHE_DIR": "off"}),
        (True, {"DFRESEARCH_SAMPLE_CACHE_DIR": "OFF"}),
        (True, {"DFRESEARCH_SAMPLE_CACHE_GB": "0"}),
    ],
)
def test_it_can_be_off(cache, monkeypatch, choice, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    loader = make(sample_cache=choice)
    list(loader)
    assert loader.sample_cache_report() is None
    assert loader.warm() is None
    assert not (cache / "sample_cache").exists()


def test_it_goes_where_it_is_told(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_DIR", str(tmp_path / "from-environment"))
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_GB", "0.25")
    report = make().sample_cache_report()
    assert report.folder.parent == tmp_path / "from-environment"
    assert report.max_bytes == 250_000_000
    report = make(sample_cache=tmp_path / "from-script").sample_cache_report()
    assert report.folder.parent == tmp_path / "from-script"


@pytest.mark.parametrize("size", ["much", "-1", "inf", "nan"])
def test_a_size_in_the_environment_that_is_none_is_refused(cache, monkeypatch, size):
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_GB", size)
    with pytest.raises(dfresearch_rs.ArgumentError, match="DFRESEARCH_SAMPLE_CACHE_GB"):
        make()


def test_where_it_cannot_be_made_training_goes_on_unless_somebody_named_it(cache, tmp_path):
    (cache / "sample_cache").write_text("a file in its place")
    with pytest.warns(UserWarning, match="no samples are kept between epochs"):
        loader = make()
    assert sum(len(labels) for _, labels in loader) == 2 * PER_DATASET
    assert loader.sample_cache_report() is None
    with pytest.raises(OSError, match="sample_cache"):
        make(sample_cache=cache / "sample_cache")


def test_a_file_that_was_overwritten_in_place_is_decoded_again(cache):
    loader = make(num_workers=1)
    before = torch.cat([inputs for inputs, _ in loader])
    path, _ = loader.dataset[3]
    write_image(path, 99)
    os.utime(path, (2e9, 2e9))
    after = torch.cat([inputs for inputs, _ in loader])
    changed = [number for number in range(len(before)) if not torch.equal(before[number], after[number])]
    assert changed == [3]


def test_warm_command(cache, capsys, monkeypatch):
    broken = cache / "datasets/image/photos/broken.png"
    broken.write_bytes((cache / "datasets/image/photos/000000.png").read_bytes()[:-60])
    monkeypatch.setattr(prepare, "TARGET_IMAGE_SIZE", (16, 16))
    arguments = prepare.parse_arguments(["--warm", "--modality", "image"])
    prepare.run(arguments)
    output = capsys.readouterr().out
    assert f"image: {2 * PER_DATASET + 1} samples: 0 were kept already, {2 * PER_DATASET} were decoded" in output
    assert f"left out: {broken}: " in output
    assert f"{2 * PER_DATASET} records in {cache / 'sample_cache'}" in output
    # It is quarantined now, and a training finds everything there.
    prepare.run(arguments)
    assert f"image: {2 * PER_DATASET} samples: {2 * PER_DATASET} were kept" in capsys.readouterr().out
    loader = make()
    list(loader)
    assert (loader.sample_cache_report().misses, loader.quarantined) == (0, [])


def test_verify_says_what_is_kept_and_it_can_be_cleared(cache, capsys):
    arguments = prepare.parse_arguments(["--verify", "--modality", "image"])
    prepare.run(arguments)
    assert "sample cache" not in capsys.readouterr().out
    loader = make()
    list(loader)
    prepare.run(arguments)
    output = capsys.readouterr().out
    assert re.search(
        rf"^sample cache: {2 * PER_DATASET} records, 0\.\d\d GB in {cache / 'sample_cache'}$", output, re.M
    )
    (store,) = dfresearch_rs.survey_sample_cache(cache / "sample_cache")
    assert (store.modality, store.records, store.is_current, store.is_open) == ("image", 2 * PER_DATASET, True, True)
    assert "16" in store.preprocessing
    assert abs(store.last_use.timestamp() - time.time()) < 600
    assert dfresearch_rs.clear_sample_cache(cache / "sample_cache") == (0, 0, [store.folder])
    del loader
    gc.collect()
    assert dfresearch_rs.clear_sample_cache(cache / "sample_cache")[0] == 1
    assert dfresearch_rs.survey_sample_cache(cache / "sample_cache") == []
    assert dfresearch_rs.survey_sample_cache(cache / "nowhere") == []


def test_warm_command_says_why_it_keeps_nothing(cache, capsys, monkeypatch):
    arguments = prepare.parse_arguments(["--warm", "--modality", "image"])
    monkeypatch.setattr(prepare, "TARGET_IMAGE_SIZE", (16, 16))
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_GB", "0.00001")
    prepare.run(arguments)
    assert "decoded in training every time: the sample cache is full" in capsys.readouterr().out
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_DIR", "off")
    with pytest.raises(TrainingError, match="DFRESEARCH_SAMPLE_CACHE_DIR"):
        prepare.run(arguments)
    monkeypatch.setattr(data, "load_dataset_config", lambda modality, force_refresh=False: {"datasets": []})
    with pytest.warns(UserWarning, match="no image samples"), pytest.raises(TrainingError, match="no usable sample"):
        prepare.run(arguments)


def test_home_folders_are_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_DIR", "~/fast")
    assert sample_cache.resolve(Path("cache"), True).folder == tmp_path / "fast"
