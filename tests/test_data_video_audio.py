"""`make_dataloader` for clips and recordings; what it does alike for every modality is in `test_data.py`."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch
from training_runs import FRAMES, write_cache

import dfresearch_rs
from dfresearch import data, samples

SHAPES = {"video": (FRAMES, 3, 16, 24), "audio": (96000,)}
DTYPES = {"video": torch.uint8, "audio": torch.float32}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for modality in SHAPES:
        write_cache(tmp_path, modality=modality)
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path)
    return tmp_path


def make(modality, split="train", batch_size=4, **options):
    options = {"target_size": (16, 24), "num_frames": FRAMES, "num_workers": 2} | options
    return data.make_dataloader(modality, split, batch_size, **options)


def batches(loader):
    return [(inputs.clone(), labels.clone()) for inputs, labels in loader]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(one[0], two[0]) and torch.equal(one[1], two[1]) for one, two in zip(first, second, strict=True)
    )


# What the native loader is asked for


@pytest.fixture
def asked(monkeypatch):
    """Collect the keywords that native loaders are made with; the listing is one sample a class."""
    keywords = []

    def loader(listing, **options):
        keywords.append(options)
        return SimpleNamespace(quarantined=[], __len__=lambda: 1)

    listing = dfresearch_rs.Samples([("a.mp4", 0), ("b.mp4", 1)])
    monkeypatch.setattr(samples, "gather_samples", lambda *arguments: listing)
    monkeypatch.setattr(data, "load_dataset_config", lambda modality, force_refresh=False: {"datasets": []})
    monkeypatch.setattr(dfresearch_rs, "Loader", loader)
    return keywords


SHARED_KEYWORDS = {
    "modality",
    "batch_size",
    "drop_last",
    "augment",
    "shuffle",
    "num_workers",
    "prefetch",
    "seed",
    "rank",
    "world_size",
    "sample_cache",
    "sample_cache_gb",
}


@pytest.mark.parametrize(
    ("modality", "own"),
    [
        ("image", {"size": (16, 24), "mode": "stretch"}),
        (
            "video",
            {"size": (16, 24), "mode": "stretch", "num_frames": FRAMES, "sampling": "rate", "frame_rate": 5.0},
        ),
        ("audio", {"crop": "random"}),
    ],
)
def test_a_loader_gets_what_its_modality_has(asked, modality, own):
    make(modality, mode="stretch", sampling="rate", frame_rate=5.0)
    assert {key: value for key, value in asked[0].items() if key not in SHARED_KEYWORDS} == own
    assert asked[0]["modality"] == modality


@pytest.mark.parametrize(("split", "crop"), [("train", "random"), ("val", "center"), ("all", "center")])
def test_only_training_hears_random_windows(asked, split, crop):
    make("audio", split)
    assert asked[0]["crop"] == crop


@pytest.mark.parametrize(("modality", "level"), [("image", 1), ("video", 1), ("audio", 0)])
def test_the_level_that_is_not_given_is_that_of_the_modality(asked, monkeypatch, modality, level):
    tables = {"image": data.transforms, "video": data.transforms}
    for split in ("train", "val"):
        make(modality, split)
    expected = None if level == 0 else (tables[modality].AUGMENTATION_LEVELS, level)
    assert [keywords["augment"] for keywords in asked] == [expected, None]


def test_audio_has_a_table_of_its_own(asked, monkeypatch):
    table = {0: [], 1: ["gain"]}
    module = SimpleNamespace(AUDIO_AUGMENTATION_LEVELS=table)
    monkeypatch.setitem(sys.modules, "dfresearch.audio_transforms", module)
    monkeypatch.setattr("dfresearch.audio_transforms", module, raising=False)
    make("audio", augment_level=1)
    assert asked[0]["augment"] == (table, 1)
    with pytest.raises(dfresearch_rs.ArgumentError, match=r"levels 0, 1$"):
        make("audio", augment_level=2)


def test_an_unknown_modality_is_named():
    with pytest.raises(dfresearch_rs.ArgumentError, match="modality: 'smell' is none of image, video, audio"):
        make("smell")


# What comes out


@pytest.mark.parametrize("modality", SHAPES)
@pytest.mark.parametrize("split", ["train", "val"])
def test_batches_are_torch_tensors_of_the_documented_kinds(cache, modality, split):
    loader = make(modality, split)
    seen = batches(loader)
    assert len(seen) == len(loader)
    for inputs, labels in seen:
        assert (inputs.dtype, labels.dtype) == (DTYPES[modality], torch.int64)
        assert inputs.shape == (len(labels), *SHAPES[modality])
    assert {label for _, labels in seen for label in labels.tolist()} == {0, 1}


@pytest.mark.parametrize("modality", SHAPES)
def test_workers_change_nothing_but_speed(cache, monkeypatch, modality):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    level = {"video": 2, "audio": 0}[modality]
    first = batches(make(modality, augment_level=level, num_workers=1))
    assert same(batches(make(modality, augment_level=level, num_workers=3)), first)


@pytest.mark.parametrize("modality", SHAPES)
def test_a_loader_goes_on_in_mid_epoch_where_another_stopped(cache, modality):
    first = make(modality)
    iterator = iter(first)
    for _ in range(2):
        next(iterator)
    state = first.state_dict()
    rest, next_epoch = list(iterator), batches(first)
    second = make(modality, num_workers=1)
    second.load_state_dict(state)
    assert same(batches(second), rest)
    assert same(batches(second), next_epoch)


@pytest.mark.parametrize("modality", SHAPES)
def test_a_file_that_cannot_be_decoded_leaves_its_batch_and_later_epochs(cache, modality):
    loader = make(modality, "val")
    count, bad = len(loader.dataset), loader.dataset[1][0]
    bad.write_bytes(b"<html>not found</html>")
    assert sum(len(labels) for _, labels in loader) == count - 1
    ((path, reason),) = loader.quarantined
    assert path == bad
    assert reason
    assert len(make(modality, "val").dataset) == count - 1


def test_a_clip_with_fewer_frames_repeats_its_last(cache):
    clips = torch.cat([inputs for inputs, _ in make("video", "val", num_frames=FRAMES + 3)])
    for position in range(FRAMES, FRAMES + 3):
        assert torch.equal(clips[:, position], clips[:, FRAMES - 1])


def test_frames_of_a_clip_are_augmented_alike(cache):
    """Frames of one colour stay alike: what is drawn once a clip (compression, blur) does not flicker."""
    clips = torch.cat([inputs for inputs, labels in make("video", augment_level=1, batch_size=1) if labels.item() == 1])
    assert len(clips) > 8
    assert all(torch.equal(clips[:, position], clips[:, 0]) for position in range(1, FRAMES))
