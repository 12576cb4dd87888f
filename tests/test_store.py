"""The cache folder: what is listed, what is left out and why, and what the index remembers."""

import multiprocessing
import os
import pickle
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dfresearch_rs
from dfresearch import samples
from dfresearch_rs import Samples

CONFIG = {
    "datasets": [
        {"name": "photos", "media_type": "real"},
        {"name": "renders", "media_type": "synthetic"},
        {"name": "edits", "media_type": "semisynthetic"},
    ]
}
FORMATS = ("png", "jpg", "bmp", "gif", "tif")


def write_image(path, seed, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def cache(tmp_path):
    """Ten images of each dataset, in all formats and at two depths."""
    for offset, definition in enumerate(CONFIG["datasets"]):
        folder = tmp_path / "datasets/image" / definition["name"]
        for number in range(10):
            name = f"{'deep/' * (number % 2)}{number:06d}.{FORMATS[number % len(FORMATS)]}"
            write_image(folder / name, 100 * offset + number)
        (folder / ".download_complete").touch()
    return tmp_path


def folder_of(cache, name="photos"):
    return cache / "datasets/image" / name


def survey(cache, config=CONFIG):
    return samples.survey_cache(cache, "image", config)


def status(cache):
    return {dataset.name: (dataset.status, dataset.samples) for dataset in survey(cache).report.datasets}


def rows(cache):
    with sqlite3.connect(cache / "index.sqlite3") as index:
        found = index.execute("SELECT name, size, width, height, status, reason, group_name FROM file").fetchall()
    return {row[0]: row[1:] for row in found}


# Samples


def test_every_media_file_is_a_sample_with_its_dataset_s_label(cache):
    found = samples.gather_samples(cache, "image", CONFIG, "all")
    on_disk = {path for path in (cache / "datasets/image").rglob("*.*") if path.suffix}
    assert {path for path, _ in found} == on_disk
    for position, (path, label) in enumerate(found):
        dataset = path.relative_to(cache / "datasets/image").parts[0]
        assert found.dataset(position) == dataset
        assert label == (0 if dataset == "photos" else 1)


def test_samples_are_a_sequence(cache):
    found = samples.gather_samples(cache, "image", CONFIG, "all")
    listed = list(found)
    assert isinstance(found, Sequence)
    assert len(found) == len(listed) == 30
    assert isinstance(found[0][0], Path)
    assert type(found[0][1]) is int
    assert found[-1] == listed[-1] == found[29] == found[np.int64(29)]
    for cut in (slice(3), slice(None, None, -1), slice(20, 5, -4), slice(-5, None), slice(7, 7), slice(99)):
        assert list(found[cut]) == listed[cut]
        assert isinstance(found[cut], Samples)
    assert list(reversed(found)) == listed[::-1]
    assert listed[4] in found
    assert (Path("elsewhere"), 0) not in found
    assert found.index(listed[4]) == 4
    assert found.count(listed[4]) == 1
    for outside in (30, -31):
        with pytest.raises(IndexError):
            found[outside]
    with pytest.raises(TypeError):
        found["0"]
    with pytest.raises(ValueError, match="not among"):
        found.index((Path("elsewhere"), 0))
    assert repr(found) == "Samples(30 samples: 10 real, 20 synthetic)"


def test_samples_from_anywhere_and_through_pickle():
    pairs = [(Path("/a/b.png"), 1), (Path("relative.jpg"), 0)]
    made = Samples(pairs)
    assert list(made) == pairs
    assert list(pickle.loads(pickle.dumps(made))) == pairs
    assert len(Samples([])) == 0
    with pytest.raises(dfresearch_rs.ArgumentError, match="label: 2"):
        Samples([("x.png", 2)])


def test_a_cache_that_does_not_exist_is_empty_and_stays_away(tmp_path):
    assert len(samples.gather_samples(tmp_path / "none", "image", CONFIG)) == 0
    assert not (tmp_path / "none").exists()
    assert {entry for entry, _ in status(tmp_path / "none").values()} == {"MISSING"}


def test_the_cache_s_place_is_the_environment_s(monkeypatch):
    monkeypatch.setenv("DFRESEARCH_CACHE", "/data/cache")
    assert samples.default_cache_dir() == Path("/data/cache")
    monkeypatch.delenv("DFRESEARCH_CACHE")
    assert samples.default_cache_dir() == Path.home() / ".cache/dfresearch"


# The index


def test_the_index_knows_size_dimensions_and_groups(cache):
    (folder_of(cache) / "manifest.jsonl").write_text('{"file": "000000.png", "group": "one photograph"}\n')
    survey(cache)
    known = rows(cache)
    assert len(known) == 10, "the three datasets have the same names"
    with sqlite3.connect(cache / "index.sqlite3") as index:
        assert index.execute("SELECT count(*), min(width), max(height) FROM file").fetchone() == (30, 24, 20)
        assert index.execute("SELECT group_name FROM file WHERE group_name IS NOT NULL").fetchall() == [
            ("one photograph",)
        ]


def test_a_second_start_reads_nothing_that_has_not_changed(cache):
    assert survey(cache).report.read == 30
    unchanged = folder_of(cache) / "000000.png"
    state = unchanged.stat()
    # Nobody could tell from outside that this is no longer an image: only reading it would.
    unchanged.write_bytes(b"x" * state.st_size)
    os.utime(unchanged, ns=(state.st_atime_ns, state.st_mtime_ns))
    write_image(folder_of(cache) / "new.png", 999)
    second = survey(cache).report
    assert second.read == 1
    assert second.quarantined == []
    os.utime(unchanged)
    assert [path for path, _ in survey(cache).report.quarantined] == [unchanged]


def test_a_repaired_file_comes_back(cache):
    broken = folder_of(cache) / "broken.jpg"
    broken.write_bytes(b"")
    assert status(cache)["photos"] == ("PARTIAL", 10)
    write_image(broken, 77)
    assert status(cache)["photos"] == ("OK", 11)


def test_quarantine_lasts_until_the_file_changes(cache):
    bad = folder_of(cache) / "000000.png"
    survey(cache)
    outside = cache / "elsewhere.png"
    assert dfresearch_rs.quarantine(cache, [(bad, "truncated PNG"), (outside, "gone")]) == 1
    assert survey(cache).report.quarantined == [(bad, "truncated PNG")]
    with pytest.warns(UserWarning, match="truncated PNG"):
        assert bad not in dict(samples.gather_samples(cache, "image", CONFIG, "all"))
    write_image(bad, 78, size=(8, 8))
    assert bad in dict(samples.gather_samples(cache, "image", CONFIG, "all"))


def test_a_damaged_index_is_announced_and_built_anew(cache):
    survey(cache)
    (cache / "index.sqlite3").write_bytes(b"no database" * 100)
    with pytest.warns(UserWarning, match="the index is damaged.*read again"):
        found = samples.gather_samples(cache, "image", CONFIG, "all")
    assert len(found) == 30
    assert survey(cache).report.notices == []


def open_fresh_caches(caches, start, outcomes):
    for cache in caches:
        start.wait()
        try:
            found, report = dfresearch_rs.gather_samples(cache, "image", [("photos", "real")], "all")
            outcomes.put((len(found), report.notices))
        except Exception as error:
            outcomes.put((type(error).__name__, [str(error)]))


def test_processes_that_open_a_fresh_cache_at_once_share_its_index(tmp_path):
    openers = 4
    caches = [tmp_path / str(number) for number in range(25)]
    for cache in caches:
        write_image(folder_of(cache) / "a.png", 1)
    context = multiprocessing.get_context("fork")
    start, outcomes = context.Barrier(openers, timeout=60), context.Queue()
    processes = [
        context.Process(target=open_fresh_caches, args=(caches, start, outcomes), daemon=True) for _ in range(openers)
    ]
    for process in processes:
        process.start()
    found = [outcomes.get(timeout=60) for _ in range(openers * len(caches))]
    for process in processes:
        process.join(timeout=60)
    assert found == [(1, [])] * len(found)
    for cache in caches:
        assert not (cache / "index.sqlite3.unusable").exists()
        assert rows(cache).keys() == {"a.png"}


def test_a_newer_index_is_refused(cache):
    survey(cache)
    with sqlite3.connect(cache / "index.sqlite3") as index:
        index.execute("PRAGMA user_version = 1000")
    with pytest.raises(dfresearch_rs.CacheIndexError, match=r"index\.sqlite3: written by a newer version"):
        survey(cache)


def test_a_cache_that_cannot_hold_an_index_works_and_says_so(cache):
    (cache / "index.sqlite3").mkdir()
    with pytest.warns(UserWarning, match="in memory only"):
        assert len(samples.gather_samples(cache, "image", CONFIG, "all")) == 30


# Bad input


def bad_files(folder):
    """Files that can be no samples, and a word of each one's reason."""
    folder.mkdir(parents=True)
    photograph = write_image(folder / "whole.png", 5).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    (folder / "header_only.png").write_bytes(photograph[:12])
    large = bytearray(photograph)
    large[16:24] = (60_000).to_bytes(4) * 2
    large[29:33] = zlib.crc32(large[12:29]).to_bytes(4)
    (folder / "large.png").write_bytes(large)
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to("nowhere")
    # Reading another process's memory at address 0 fails for everybody, root included.
    (folder / "unreadable.jpg").symlink_to("/proc/self/mem")
    return {
        "empty.jpg": "empty",
        "page.jpg": "HTML",
        "header_only.png": "PNG",
        "large.png": "60000",
        "folder.jpg": "a folder",
        "dangling.jpg": "cannot be read",
        "unreadable.jpg": "cannot be read",
    }


def test_every_bad_file_is_quarantined_with_its_reason(tmp_path):
    expected = bad_files(folder_of(tmp_path))
    for _ in range(2):
        report = survey(tmp_path).report
        reasons = {path.name: reason for path, reason in report.quarantined}
        assert reasons.keys() == expected.keys()
        for name, word in expected.items():
            assert word in reasons[name], reasons[name]
    with pytest.warns(UserWarning, match="quarantined, because they cannot be used: .*; and 4 more"):
        found = samples.gather_samples(tmp_path, "image", CONFIG, "all")
    assert [path.name for path, _ in found] == ["whole.png"]


def test_content_decides_and_not_the_extension(cache):
    (folder_of(cache) / "really_a.jpg").write_bytes(write_image(cache / "some.png", 6).read_bytes())
    assert status(cache)["photos"] == ("OK", 11)


def test_folders_without_definition_are_named_and_left_out(cache):
    write_image(folder_of(cache, "stray") / "a.png", 7)
    with pytest.warns(UserWarning, match=r"no definition says .*stray"):
        found = samples.gather_samples(cache, "image", CONFIG, "all")
    assert len(found) == 30


def test_the_same_bytes_under_both_labels_are_named_and_left_out(cache):
    real = folder_of(cache) / "000000.png"
    copy = folder_of(cache, "renders") / "copy.png"
    copy.write_bytes(real.read_bytes())
    with pytest.warns(UserWarning, match=r"called both real and synthetic: .*000000\.png = .*copy\.png"):
        found = samples.gather_samples(cache, "image", CONFIG, "all")
    assert {real, copy}.isdisjoint(dict(found))
    assert survey(cache).report.conflicts == [([real], [copy])]


def test_a_bad_manifest_is_refused_by_file_and_line(cache):
    (folder_of(cache) / "manifest.jsonl").write_text('{"file": "a.png", "group": "x"}\n{"file": 7}\n')
    with pytest.raises(dfresearch_rs.DefinitionError, match=r"photos/manifest\.jsonl:2: "):
        survey(cache)


def test_a_manifest_may_not_leave_files_unmentioned_silently(cache):
    (folder_of(cache) / "manifest.jsonl").write_text('{"file": "typo.png", "group": "x"}\n')
    with pytest.warns(UserWarning, match=r"not there: .*manifest\.jsonl:1: typo\.png"):
        samples.gather_samples(cache, "image", CONFIG)


@pytest.mark.parametrize("name", ["../image", "/etc", "", "a/b", "."])
def test_names_that_leave_the_cache_are_refused(cache, name):
    with pytest.raises(dfresearch_rs.ArgumentError):
        survey(cache, {"datasets": [{"name": name, "media_type": "real"}]})


def test_a_config_without_a_media_type_is_refused(cache):
    with pytest.raises(dfresearch_rs.DefinitionError, match="media_type"):
        survey(cache, {"datasets": [{"name": "photos"}]})
    with pytest.raises(dfresearch_rs.ArgumentError, match="fake"):
        survey(cache, {"datasets": [{"name": "photos", "media_type": "fake"}]})


# The table


def test_the_table_has_a_line_for_every_dataset_and_the_totals(cache):
    (folder_of(cache) / "empty.jpg").write_bytes(b"")
    (folder_of(cache) / "twin.png").write_bytes((folder_of(cache) / "000000.png").read_bytes())
    for path in folder_of(cache, "edits").rglob("*.*"):
        if path.suffix:
            path.unlink()
    found = survey(cache)
    lines = found.table().splitlines()
    assert lines[0].split() == ["dataset", "type", "samples", "quarantined", "status", "reason"]
    assert lines[1].split() == ["photos", "real", "11", "1", "PARTIAL", "1", "quarantined"]
    assert lines[2].split() == ["renders", "synthetic", "10", "0", "OK"]
    assert lines[3].split()[:5] == ["edits", "semisynthetic", "0", "0", "MISSING"]
    assert lines[4] == "21 image samples: 11 real, 10 synthetic; 1 files quarantined"
    assert lines[5].startswith("quarantined: ")
    assert lines[5].endswith("empty.jpg: the file is empty")
    assert lines[6] == "1 samples are copies of another one with the same label"
    assert found.num_samples == 21
