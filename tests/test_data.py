"""`make_dataloader`: which samples, in which batches, and what happens to files that cannot be decoded."""

import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import dfresearch_rs
from dfresearch import batch_loader, data

CONFIG = {
    "datasets": [
        {"name": "photos", "path": "by-hand/photos", "modality": "image", "media_type": "real"},
        {"name": "renders", "path": "by-hand/renders", "modality": "image", "media_type": "synthetic"},
    ]
}
SIZE = (16, 16)
PER_DATASET = 30


def write_image(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def truncate(path):
    """Keep the header, so that the fault shows only when the pixels are decoded."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of thirty small images a class; the module is pointed at it as a script would."""
    for dataset in CONFIG["datasets"]:
        for number in range(PER_DATASET):
            seed = number + (1000 if dataset["name"] == "renders" else 0)
            write_image(tmp_path / "datasets" / "image" / dataset["name"] / f"{number:06d}.png", seed)
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(data, "load_dataset_config", lambda modality, force_refresh=False: CONFIG)
    return tmp_path


def make(split="train", batch_size=8, **options):
    options = {"target_size": SIZE, "augment_level": 2, "num_workers": 2} | options
    return data.make_dataloader("image", split, batch_size, **options)


def batches(loader):
    return [(inputs.clone(), labels.clone()) for inputs, labels in loader]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(one[0], two[0]) and torch.equal(one[1], two[1]) for one, two in zip(first, second, strict=True)
    )


def sorted_labels(loader):
    return sorted(torch.cat([labels for _, labels in loader]).tolist())


# Samples and splits


def test_train_and_val_part_the_samples(cache):
    train, val, everything = (data.gather_samples("image", split) for split in ("train", "val", "test"))
    assert {*train} | {*val} == {*everything}
    assert not {*train} & {*val}
    assert len(everything) == 2 * PER_DATASET
    assert all(label == (path.parent.name == "renders") for path, label in everything)


def test_the_seed_of_a_training_does_not_move_the_split(cache):
    validated = [{path for path, _ in make("val", seed=seed).dataset} for seed in (1, 2, 42)]
    assert validated[0] == validated[1] == validated[2]


def test_max_per_class_is_a_cap_of_each_class_before_the_split(cache):
    capped = {split: data.gather_samples("image", split, max_per_class=10) for split in ("train", "val", "all")}
    labels = [label for _, label in capped["all"]]
    assert (labels.count(0), labels.count(1)) == (10, 10)
    assert {*capped["train"]} <= {*data.gather_samples("image", "train")}
    assert {*capped["val"]} <= {*data.gather_samples("image", "val")}


def test_config_and_cache_are_looked_up_when_they_are_needed(cache, tmp_path, monkeypatch):
    asked = []

    def real_only(modality, force_refresh=False):
        asked.append(modality)
        return {"datasets": CONFIG["datasets"][:1]}

    monkeypatch.setattr(data, "load_dataset_config", real_only)
    assert {label for _, label in data.gather_samples("image", "all")} == {0}
    assert len(make("all").dataset) == PER_DATASET
    assert set(asked) == {"image"}
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "elsewhere")
    assert len(data.gather_samples("image", "all")) == 0


def test_the_label_map_knows_every_media_type():
    assert data.LABEL_MAP == {"real": 0, "synthetic": 1, "semisynthetic": 1}


# Batches


def test_batches_are_torch_tensors_of_the_documented_kinds(cache):
    for split in ("train", "val"):
        for inputs, labels in make(split):
            assert (inputs.dtype, labels.dtype) == (torch.uint8, torch.int64)
            assert inputs.shape[1:] == (3, *SIZE)
            assert inputs.shape[0] == labels.shape[0]


def test_train_drops_its_last_batch_and_other_splits_keep_it(cache):
    train, val = make("train", batch_size=7), make("val", batch_size=7)
    count, val_count = len(train.dataset), len(val.dataset)
    assert len(train) == len(batches(train)) == count // 7
    assert all(len(labels) == 7 for _, labels in train)
    assert len(val) == -(-val_count // 7)
    assert sum(len(labels) for _, labels in val) == val_count


def test_a_batch_is_no_larger_than_the_split(cache):
    loader = make("train", batch_size=1000)
    assert len(loader) == 1
    ((inputs, _),) = batches(loader)
    assert len(inputs) == len(loader.dataset)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_empty_batch_is_refused(cache, batch_size):
    with pytest.raises(dfresearch_rs.ArgumentError, match="batch_size"):
        make(batch_size=batch_size)


def test_inputs_are_the_preprocessed_files_in_the_order_of_the_dataset(cache):
    loader = make("val")
    inputs = torch.cat([inputs for inputs, _ in loader])
    labels = torch.cat([labels for _, labels in loader]).tolist()
    assert labels == [label for _, label in loader.dataset]
    for image, (path, _) in zip(inputs, loader.dataset, strict=True):
        expected = dfresearch_rs.preprocess_image(dfresearch_rs.decode_image(path), SIZE)
        assert torch.equal(image, torch.from_numpy(expected).permute(2, 0, 1))


def test_train_without_augmentation_has_the_files_own_pixels(cache):
    loader = make("train", batch_size=1, augment_level=0)
    seen = {inputs.numpy().tobytes() for inputs, _ in loader}
    files = (dfresearch_rs.preprocess_image(dfresearch_rs.decode_image(path), SIZE) for path, _ in loader.dataset)
    assert seen == {pixels.transpose(2, 0, 1).tobytes() for pixels in files}


def test_only_train_is_augmented(cache):
    plain = {inputs.numpy().tobytes() for inputs, _ in make("train", batch_size=1, augment_level=0)}
    augmented = {inputs.numpy().tobytes() for inputs, _ in make("train", batch_size=1, augment_level=3)}
    assert len(augmented - plain) > len(plain) // 2
    assert same(batches(make("val", augment_level=3)), batches(make("val", augment_level=0)))


def test_a_table_of_ones_own_is_used(cache):
    def blacken(img):
        return np.zeros_like(img)

    inputs = torch.cat([inputs for inputs, _ in make(augment_table={1: [blacken]}, augment_level=1)])
    assert inputs.max() == 0


def test_the_modules_table_is_looked_up_when_it_is_needed(cache, monkeypatch):
    monkeypatch.setattr(data.transforms, "AUGMENTATION_LEVELS", {2: [np.zeros_like]})
    assert all(inputs.max() == 0 for inputs, _ in make())


@pytest.mark.parametrize("level", [9, -1, 1.5])
def test_a_level_that_the_table_lacks_is_refused(cache, level):
    with pytest.raises(dfresearch_rs.ArgumentError, match=rf"augment_level: {level} is none of .* 0, 1, 2, 3$"):
        make(augment_level=level)
    make("val", augment_level=level)


@pytest.mark.parametrize("max_per_class", [0, -1])
def test_a_cap_that_keeps_nothing_is_refused(cache, max_per_class):
    with pytest.raises(dfresearch_rs.ArgumentError, match=f"max_per_class: {max_per_class} keeps nothing"):
        make(max_per_class=max_per_class)
    with pytest.raises(dfresearch_rs.ArgumentError, match=f"max_per_class: {max_per_class} keeps nothing"):
        data.gather_samples("image", max_per_class=max_per_class)


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))


def test_workers_are_as_many_as_asked_for_up_to_a_core_less_than_there_are(cache, monkeypatch, eight_cores):
    given = []
    loader = dfresearch_rs.Loader
    monkeypatch.setattr(
        dfresearch_rs, "Loader", lambda *listing, **options: given.append(options) or loader(*listing, **options)
    )
    for num_workers in (None, 0, 3, 8):
        make(num_workers=num_workers)
    assert [options["num_workers"] for options in given] == [7, 1, 3, 7]


# Epochs


def test_every_iteration_is_a_new_epoch(cache):
    loader = make()
    first, second = batches(loader), batches(loader)
    assert not same(first, second)
    fresh = make()
    assert same(batches(fresh), first)
    fresh.set_epoch(1)
    assert same(batches(fresh), second)
    fresh.set_epoch(0)
    assert same(batches(fresh), first)


def test_the_seed_decides_order_and_augmentation(cache):
    assert same(batches(make(seed=5)), batches(make(seed=5)))
    assert not same(batches(make(seed=5)), batches(make(seed=6)))


@pytest.mark.parametrize("num_workers", [None, 0, 1, 2, 6])
def test_workers_change_nothing_but_speed(cache, eight_cores, num_workers):
    assert same(batches(make(num_workers=num_workers)), batches(make(num_workers=3)))


def test_batches_are_the_callers_to_keep(cache):
    kept, copies = [], []
    for inputs, _ in make():
        kept.append(inputs)
        copies.append(inputs.clone())
    assert all(torch.equal(one, two) for one, two in zip(kept, copies, strict=True))


def test_an_epoch_that_was_left_counts_as_one(cache):
    loader = make()
    for _ in loader:
        break
    later = batches(loader)
    fresh = make()
    fresh.set_epoch(1)
    assert same(batches(fresh), later)


def test_the_wait_for_data_is_counted(cache):
    loader = make()
    assert loader.data_wait_seconds == 0
    batches(loader)
    assert loader.data_wait_seconds > 0


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def test_the_wait_is_what_the_loader_takes_and_nothing_else(cache, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(batch_loader, "time", clock)
    truncate(cache / "datasets" / "image" / "photos" / "000007.png")
    loader = make("all", batch_size=16)
    gather, quarantine = loader._gather, dfresearch_rs.quarantine

    def slow_gather():
        clock.now += 20
        return gather()

    def slow_quarantine(*found):
        clock.now += 3
        return quarantine(*found)

    monkeypatch.setattr(loader, "_gather", slow_gather)
    monkeypatch.setattr(dfresearch_rs, "quarantine", slow_quarantine)

    def epoch():
        for _batch in loader:
            clock.now += 1000  # a step

    epoch()
    assert loader.data_wait_seconds == 3, "the index learns of the bad file when the epoch ends"
    epoch()
    assert loader.data_wait_seconds == 23, "the samples are listed anew before the next epoch begins"
    epoch()
    assert loader.data_wait_seconds == 23


# No data


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_data_is_a_warning_with_the_way_out_and_an_empty_loader(tmp_path, monkeypatch, split):
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(data, "load_dataset_config", lambda modality, force_refresh=False: {"datasets": []})
    with pytest.warns(UserWarning, match="uv run prepare.py --modality image"):
        loader = make(split)
    assert len(loader) == len(loader.dataset) == 0
    assert list(loader) == []
    assert loader.quarantined == []


def test_samples_are_no_reason_to_warn(cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("val")


# Bad files


def test_a_file_that_cannot_be_decoded_leaves_its_batch_and_later_epochs(cache):
    bad = cache / "datasets" / "image" / "photos" / "000007.png"
    truncate(bad)
    loader = make("all", batch_size=4)
    position = [path for path, _ in loader.dataset].index(bad)
    sizes = [len(labels) for _, labels in loader]
    assert sizes == [3 if step == position // 4 else 4 for step in range(15)]
    ((path, reason),) = loader.quarantined
    assert path == bad
    assert "PNG" in reason
    # The next epoch does not list it, and neither does another loader.
    assert sum(len(labels) for _, labels in loader) == 2 * PER_DATASET - 1
    assert len(loader.dataset) == 2 * PER_DATASET - 1
    assert bad not in {path for path, _ in make("all").dataset}
    assert [path for path, _ in loader.quarantined] == [bad]


def test_a_file_that_vanishes_in_mid_epoch_is_quarantined(cache):
    loader = make("all", batch_size=1)
    gone = [path for path, _ in loader.dataset][-3:]
    iterator = iter(loader)
    next(iterator)
    for path in gone:
        path.unlink()
    rest = list(iterator)
    # Prepared batches may hold a file that is gone by now.
    assert 2 * PER_DATASET - 4 <= len(rest) <= 2 * PER_DATASET - 1
    assert {path for path, _ in loader.quarantined} <= set(gone)
    assert len(rest) + len(loader.quarantined) == 2 * PER_DATASET - 1
    assert sum(len(labels) for _, labels in loader) == 2 * PER_DATASET - 3


def test_a_file_that_changes_after_it_was_listed_leaves_later_epochs_too(cache):
    loader = make("all", batch_size=4)
    bad = loader.dataset[5][0]
    truncate(bad)
    assert [len(labels) for _, labels in loader][:3] == [4, 3, 4]
    assert [path for path, _ in loader.quarantined] == [bad]
    assert sum(len(labels) for _, labels in loader) == 2 * PER_DATASET - 1
    assert len(loader.dataset) == 2 * PER_DATASET - 1


def test_leaving_an_epoch_early_remembers_what_it_found(cache):
    bad = cache / "datasets" / "image" / "photos" / "000007.png"
    truncate(bad)
    loader = make("all", batch_size=1)
    for _ in loader:
        if loader.quarantined:
            break
    assert bad not in {path for path, _ in data.gather_samples("image", "all")}


def test_a_mended_file_comes_back(cache):
    bad = cache / "datasets" / "image" / "photos" / "000007.png"
    truncate(bad)
    list(make("all"))
    assert len(data.gather_samples("image", "all")) == 2 * PER_DATASET - 1
    write_image(bad, seed=77)
    assert len(data.gather_samples("image", "all")) == 2 * PER_DATASET


def test_an_epoch_of_bad_files_only_is_an_error(cache):
    loader = make("val")
    for path, _ in loader.dataset:
        truncate(path)
    with pytest.raises(dfresearch_rs.LoaderError):
        list(loader)


# Stopping and going on


@pytest.mark.parametrize("split", ["train", "all"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_loader_goes_on_in_mid_epoch_where_another_stopped(cache, split, steps):
    first = make(split)
    batches(first)
    iterator = iter(first)
    for _ in range(steps):
        next(iterator)
    state = first.state_dict()
    rest, next_epoch = list(iterator), batches(first)
    second = make(split, num_workers=1)
    second.load_state_dict(state)
    if steps:
        assert same(batches(second), rest)
    else:
        batches(second)
    assert same(batches(second), next_epoch)


def test_the_rest_of_an_epoch_is_the_same_after_a_quarantine(cache):
    truncate(data.gather_samples("image", "train")[0][0])
    first = make("train", batch_size=4)
    iterator = iter(first)
    head = [next(iterator) for _ in range(5)]
    state = first.state_dict()
    rest, next_epoch = list(iterator), batches(first)
    assert sum(len(labels) for _, labels in head + rest) < 4 * len(first)
    second = make("train", batch_size=4)
    second.load_state_dict(state)
    assert same(batches(second), rest)
    assert same(batches(second), next_epoch)


def test_a_state_between_epochs_continues_with_the_next(cache):
    first = make()
    batches(first)
    state = first.state_dict()
    second = make()
    second.load_state_dict(state)
    assert same(batches(second), batches(first))


@pytest.mark.parametrize("other", [{"seed": 7}, {"batch_size": 3}])
def test_the_state_of_another_kind_of_loader_is_refused(cache, other):
    (key,) = other
    with pytest.raises(ValueError, match=key):
        make(**other).load_state_dict(make().state_dict())


def test_a_closed_loader_can_be_iterated_again(cache):
    loader = make("val")
    first = batches(loader)
    loader.close()
    assert same(batches(loader), first)
