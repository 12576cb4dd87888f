"""Stopping anywhere in an epoch and going on elsewhere changes no bit of what is loaded."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resumed_loader import digests, make_loader, rest_and_next_epoch, resume
from training_runs import FRAMES, ROOT, WRITERS

import dfresearch_rs
from dfresearch import samples
from dfresearch.data import BatchLoader

MODALITIES = ("image", "video", "audio")
KINDS = ("native", "cached")
NUM_GOOD = 14
NUM_BAD = 3
OPTIONS = {
    "image": {"size": [16, 24], "augment": 3},
    "video": {"size": [16, 24], "num_frames": FRAMES, "augment": 1},
    "audio": {"duration_seconds": 0.5, "crop": "random", "augment": 1},
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Good and bad files of every modality: `(root, good, bad)`."""
    found = {}
    for modality in MODALITIES:
        root = tmp_path_factory.mktemp(modality)
        WRITERS[modality](root, np.random.default_rng(3), True)
        good = sorted(root.iterdir())[:NUM_GOOD]
        bad = []
        for number in range(NUM_BAD):
            path = root / f"bad-{number}{good[0].suffix}"
            path.write_bytes(good[number].read_bytes()[: 200 + number] if number else b"<html>not found</html>")
            bad.append(path)
        found[modality] = root, good, bad
    return found


def is_name(text):
    return text not in (".", "..")


def describe(media, modality, kind, num_workers, places, batch_size=3, seed=1, drop_last=False, **more):
    """Return how a loader is made that lists a bad file at each of `places`: arguments of `make_loader`."""
    root, good, bad = media[modality]
    listing = [(str(path), number % 2) for number, path in enumerate(good)]
    for path, place in zip(bad, places, strict=False):
        listing.insert(place, (str(path), 0))
    options = {"modality": modality, "batch_size": batch_size, "shuffle": True, "drop_last": drop_last}
    options |= {"num_workers": num_workers, "prefetch": 2, "seed": seed} | OPTIONS[modality] | more
    return kind, str(root), listing, options


def stop_after(loader, step):
    """Take `step` batches, or all if there are fewer, and return the state and everything that comes after it."""
    iterator = iter(loader)
    for _ in range(step):
        if next(iterator, None) is None:
            pytest.fail("the epoch has fewer batches")
    state = loader.state_dict()
    return state, [digests(iterator), digests(loader)]


def batches_of(description):
    return sum(1 for _ in make_loader(*description))


# In this process: anywhere, with anything wrong anywhere


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modality", MODALITIES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_the_rest_of_an_epoch_does_not_depend_on_a_stop(media, modality, kind, data):
    places = data.draw(st.lists(st.integers(0, NUM_GOOD - 1), max_size=NUM_BAD, unique=True), "places of bad files")
    shape = {
        "batch_size": data.draw(st.integers(1, 5), "batch size"),
        "seed": data.draw(st.integers(0, 1000), "seed"),
        "drop_last": data.draw(st.booleans(), "drop last"),
    }
    workers = data.draw(st.permutations([1, 4]), "workers")
    before = describe(media, modality, kind, workers[0], places, **shape)
    step = data.draw(st.integers(0, batches_of(before)), "step")
    state, expected = stop_after(make_loader(*before), step)
    after = describe(media, modality, kind, workers[1], places, **shape)
    assert resume({"loader": after, "state": state}) == expected


# In another process: after every batch


@pytest.fixture(scope="module")
def resumed_elsewhere(media, tmp_path_factory):
    """Every loader, stopped after every number of batches, and what another process made of its state."""
    folder = tmp_path_factory.mktemp("states")
    jobs, expected, names = [], [], []
    for modality in MODALITIES:
        for kind in KINDS:
            # One bad file comes early in the epoch, one late, wherever the seed puts them.
            before = describe(media, modality, kind, 4, [2, 9])
            after = (*before[:3], before[3] | {"num_workers": 1})
            for step in range(batches_of(before) + 1):
                state, rest = stop_after(make_loader(*before), step)
                jobs.append({"loader": after, "state": state})
                expected.append(rest)
                names.append((modality, kind))
    torch.save(jobs, folder / "jobs.pt")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "python"), *sys.path])}
    command = [sys.executable, str(Path(__file__).with_name("resumed_loader.py")), "jobs.pt", "results.pt"]
    done = subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    results = torch.load(folder / "results.pt", weights_only=True)
    return list(zip(names, results, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_another_process_goes_on_bit_by_bit(resumed_elsewhere, modality, kind):
    ours = [(result, rest) for name, result, rest in resumed_elsewhere if name == (modality, kind)]
    assert len(ours) > 4
    for result, rest in ours:
        assert result == rest
    # The last of them stopped after the last batch: nothing is left but the next epoch.
    assert ours[-1][0][0] == []
    assert len(ours[-1][0][1]) > 4


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_store_of_preprocessed_samples_changes_no_position(media, tmp_path, modality):
    """A loader that fills the store is stopped, and those that go on read it, fill another one, or have none."""
    before = describe(media, modality, "native", 4, [2, 9], sample_cache=str(tmp_path / "first"))
    for step in range(batches_of(before) + 1):
        state, expected = stop_after(make_loader(*before), step)
        for folder in (tmp_path / "first", tmp_path / f"other-{step}", None):
            after = describe(media, modality, "native", 1, [2, 9], sample_cache=folder and str(folder))
            assert resume({"loader": after, "state": state}) == expected


# Again and again


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_loader_that_is_stopped_after_every_batch_gives_the_epoch(media, modality, kind):
    description = describe(media, modality, kind, 2, [4])
    expected = digests(make_loader(*description))
    got, state, is_over = [], make_loader(*description).state_dict(), False
    while not is_over:
        loader = make_loader(*description)
        loader.load_state_dict(state)
        batch = next(iter(loader), None)
        is_over = batch is None
        got += [] if is_over else digests([batch])
        state = loader.state_dict()
    assert got == expected
    assert state["epoch"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_passed_on_unused_stays_what_it_is(media, kind):
    description = describe(media, "image", kind, 2, [4])
    state, expected = stop_after(make_loader(*description), 3)
    for _ in range(3):
        loader = make_loader(*description)
        loader.load_state_dict(state)
        state = loader.state_dict()
    assert resume({"loader": description, "state": state}) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_loader_that_has_gone_further_goes_back(media, kind):
    loader = make_loader(*describe(media, "image", kind, 2, [4]))
    state, expected = stop_after(loader, 2)
    loader.load_state_dict(state)
    assert rest_and_next_epoch(loader) == expected


# The listing within the state


def test_what_has_come_and_gone_since_does_not_change_the_epoch(media):
    """A training that is resumed after a download, and after its bad files were found, ends the epoch that it began."""
    before = describe(media, "image", "cached", 2, [1, 5])
    state, (rest, _) = stop_after(make_loader(*before), 2)
    _, root, listing, options = before
    now = [sample for sample in listing if "bad" not in sample[0]][3:]
    loader = make_loader("cached", root, now, options)
    loader.load_state_dict(state)
    assert digests(loader) == rest
    assert len(loader.dataset) == len(listing)
    assert sum(len(labels) for _, labels in loader) == len(now)
    assert len(loader.dataset) == len(now)


def test_a_state_of_a_later_epoch_has_the_samples_of_that_epoch(media):
    before = describe(media, "image", "cached", 2, [1, 5])
    loader = make_loader(*before)
    first, _ = stop_after(loader, 2)
    # The two epochs since have found the bad files, and listed anew without them.
    second, expected = stop_after(loader, 2)
    assert len(samples.unpack_listing(first["samples"], Path(before[1]))) == NUM_GOOD + 2
    assert len(samples.unpack_listing(second["samples"], Path(before[1]))) == NUM_GOOD
    resumed = make_loader(*before)
    resumed.load_state_dict(second)
    assert digests(resumed) == expected[0]


def test_a_cache_that_was_moved_is_found(media, tmp_path):
    before = describe(media, "image", "cached", 2, [1])
    state, expected = stop_after(make_loader(*before), 2)
    kind, root, listing, options = before
    moved = tmp_path / "moved"
    moved.symlink_to(root, target_is_directory=True)
    listing = [(path.replace(root, str(moved)), label) for path, label in listing]
    loader = make_loader(kind, moved, listing, options)
    loader.load_state_dict(state)
    assert all(path.is_relative_to(moved) for path, _ in loader.dataset)
    assert rest_and_next_epoch(loader) == expected


@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1).filter(is_name), max_size=9
    )
)
def test_a_packed_listing_is_the_listing(names):
    root = Path("/somewhere/cache")
    pairs = [
        (root / name if number % 3 else Path("/elsewhere") / name, number % 2) for number, name in enumerate(names)
    ]
    packed = samples.pack_listing(dfresearch_rs.Samples(pairs), root)
    assert list(samples.unpack_listing(packed, root)) == pairs


def test_a_state_of_many_samples_is_small(tmp_path):
    """Names as they are in a cache, whose common parts cost next to nothing, and nothing is packed twice."""
    count = 20_000
    listing = dfresearch_rs.Samples(
        [(tmp_path / f"datasets/image/set-{i % 5}/{i:08d}.png", i % 2) for i in range(count)]
    )
    loader = BatchLoader(
        tmp_path, lambda: listing, batch_size=4, drop_last=False, seed=1, modality="image", num_workers=1
    )
    loader._is_mid_epoch = True
    state = loader.state_dict()
    assert len(pickle.dumps(state)) < 8 * count
    assert loader.state_dict()["samples"] is state["samples"]
