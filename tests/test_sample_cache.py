"""The sample cache as Python sees it: the same batches with and without it, for every modality, whoever fills it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from media_files import write_clip, write_image, write_recording

import dfresearch_rs

OPTIONS = {
    "image": {"size": (32, 24), "batch_size": 5, "augment": 2},
    "video": {"size": (32, 24), "batch_size": 2, "num_frames": 4, "augment": 1},
    "audio": {"duration_seconds": 0.5, "batch_size": 3, "crop": "random"},
}


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
