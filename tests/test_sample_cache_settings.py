"""The sample cache of a training: its settings, what a loader of it says, and the commands that fill and show it."""

import gc
import os
import re
import time
import warnings
from pathlib import Path

import pytest
import torch
from media_files import write_image

import dfresearch_rs
import prepare
from dfresearch import data, sample_cache
from dfresearch.training import TrainingError, run_to_exit_code

DEFINITIONS = {
    "datasets": [
        {"name": "photos", "path": "by-hand/photos", "modality": "image", "media_type": "real"},
        {"name": "renders", "path": "by-hand/renders", "modality": "image", "media_type": "synthetic"},
    ]
}
PER_DATASET = 12


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
    with pytest.raises(dfresearch_rs.LoaderError, match="sample_cache"):
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


@pytest.mark.parametrize("choice", [None, "", " ", 1, b"folder"])
def test_what_is_no_choice_is_refused(cache, choice):
    with pytest.raises(dfresearch_rs.ArgumentError, match="sample_cache: "):
        make(sample_cache=choice)
    assert sample_cache.resolve(cache, " OFF ") is None


def test_a_relative_folder_stays_where_it_is_when_the_process_goes_elsewhere(cache, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    loader = make(sample_cache="kept")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for _ in range(2):
        list(loader)
    report = loader.sample_cache_report()
    assert report.folder.parent == tmp_path / "here/kept"
    assert (report.hits, report.notices) == (2 * PER_DATASET, [])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_warning_that_nothing_is_kept_names_the_line_of_the_script(cache):
    (cache / "sample_cache").write_text("a file in its place")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    (warning,) = caught
    assert warning.filename == __file__
    assert str(cache / "sample_cache") in str(warning.message)
    assert "PosixPath" not in str(warning.message)


@pytest.mark.parametrize("failure", [OSError("read-only"), OSError(20, "Not a directory", Path("/fast/kept"))])
def test_a_named_folder_that_cannot_be_used_is_one_line(cache, monkeypatch, capsys, failure):
    """Whatever the system says of it, with a number of an error or without one."""

    class Refusing:
        def __init__(self, *arguments, **options):
            raise failure

    monkeypatch.setenv("DFRESEARCH_SAMPLE_CACHE_DIR", str(cache / "kept"))
    monkeypatch.setattr(dfresearch_rs, "Loader", Refusing)
    arguments = prepare.parse_arguments(["--warm", "--modality", "image"])
    assert run_to_exit_code(lambda: prepare.run(arguments)) == 1
    reason = "read-only" if failure.filename is None else "/fast/kept: Not a directory"
    assert capsys.readouterr().err == f"error: the sample cache cannot be used: {reason}\n"


def test_verify_is_not_kept_from_its_tables_by_a_sample_cache_that_cannot_be_read(cache, capsys):
    (cache / "sample_cache").write_text("a file in its place")
    prepare.run(prepare.parse_arguments(["--verify", "--modality", "image"]))
    output = capsys.readouterr().out
    assert f"{2 * PER_DATASET} image samples" in output
    assert f"sample cache: it cannot be read: {cache / 'sample_cache'}: " in output


def test_warming_does_not_pretend_to_choose(capsys):
    for choice in (["--datasets", "photos"], ["--media-type", "real"]):
        with pytest.raises(SystemExit):
            prepare.parse_arguments(["--warm", *choice])
        assert "--warm keeps all samples of a modality" in capsys.readouterr().err


def test_what_warming_finds_broken_is_counted_like_what_an_epoch_finds(cache):
    broken = cache / "datasets/image/photos/broken.png"
    broken.write_bytes((cache / "datasets/image/photos/000000.png").read_bytes()[:-60])
    loader = make()
    ((path, reason),) = loader.warm().failed
    assert loader.quarantined == [(broken, reason)]
    assert path == broken
    list(loader)
    assert len(loader.dataset) == 2 * PER_DATASET
    assert loader.quarantined == [(broken, reason)]
