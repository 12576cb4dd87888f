"""What one process has for itself: cores to decode on, and its share of the samples."""

import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, write_cache

from dfresearch import data, processes
from dfresearch_rs import ArgumentError

SIZE = (16, 16)
BATCH_SIZE = 4
RANK_SCRIPT = Path(__file__).with_name("sharded_training.py")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    write_cache(tmp_path / "cache")
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def make(split="train", batch_size=BATCH_SIZE, **options):
    return data.make_dataloader("image", split, batch_size, SIZE, **({"augment_level": 2, "seed": 9} | options))


def contents(batches):
    """Every sample of the batches as its label and its pixels, with how often it is there."""
    return Counter(
        (label, sample.numpy().tobytes())
        for inputs, labels in batches
        for sample, label in zip(inputs, labels.tolist(), strict=True)
    )


# Cores


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("cores", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("local_processes", [None, 1, 2, 8])
def test_threads_leave_the_training_its_cores(monkeypatch, has_gpu, cores, local_processes):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    if local_processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local_processes))
    own = cores // (local_processes or 1)
    most = processes.worker_threads(None)
    assert 1 <= most <= max(1, own)
    if own > 2 or (own == 2 and not has_gpu):
        assert most == own - 1
    for requested in range(-1, 20):
        assert processes.worker_threads(requested) == min(max(1, requested), most)


@pytest.mark.parametrize("value", ["", "0", "-2", "two"])
def test_a_count_that_is_none_divides_nothing(monkeypatch, value):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", value)
    assert processes.worker_threads(None) == 7


# Shares that are given


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shares_are_disjoint_equally_long_and_together_the_epoch(cache, world_size):
    whole = make(batch_size=1)
    loaders = [make(rank=rank, world_size=world_size) for rank in range(world_size)]
    share = len(whole.dataset) // world_size
    for _epoch in range(2):
        samples = list(whole)
        shares = [list(loader) for loader in loaders]
        assert {len(batches) for batches in shares} == {share // BATCH_SIZE} == {len(loader) for loader in loaders}
        expected = Counter()
        for rank, batches in enumerate(shares):
            assert all(len(labels) == BATCH_SIZE for _, labels in batches)
            # Dealt out in turn; the incomplete last batch is left out.
            dealt = samples[rank : share * world_size : world_size][: share // BATCH_SIZE * BATCH_SIZE]
            assert contents(batches) == contents(dealt)
            expected += contents(dealt)
        assert max(expected.values()) == 1


def test_together_they_are_the_same_for_any_number_of_processes(cache):
    """With as many samples in an epoch as all of these numbers divide, and batches that leave none out."""
    count = len(make().dataset) // 6 * 6
    listed = list(make().dataset)[:count]
    unions = []
    for world_size in (1, 2, 3, 6):
        union = Counter()
        for rank in range(world_size):
            loader = make(batch_size=1, rank=rank, world_size=world_size)
            loader._open(data.dfresearch_rs.Samples(listed))
            union += contents(loader)
        assert sum(union.values()) == count
        unions.append(union)
    assert all(union == unions[0] for union in unions)


def test_another_split_is_whole_unless_a_share_of_it_is_asked_for(cache):
    count = len(make("val").dataset)
    assert sum(len(labels) for _, labels in make("val")) == count
    halves = [make("val", rank=rank, world_size=2) for rank in (0, 1)]
    assert [sum(len(labels) for _, labels in half) for half in halves] == [count // 2] * 2


@pytest.mark.parametrize(
    ("rank", "world_size", "message"),
    [
        (2, 2, "rank: 2 is not from 0"),
        (-1, 2, "rank: -1"),
        (0, 0, "rank: 0"),
        (1, None, "go together"),
        (None, 2, "go together"),
    ],
)
def test_a_share_that_is_none_is_refused(cache, rank, world_size, message):
    with pytest.raises(ArgumentError, match=message):
        make(rank=rank, world_size=world_size)


def test_fewer_samples_than_shares_are_refused(cache):
    count = len(make().dataset)
    assert len(make(rank=0, world_size=count)) == 1
    with pytest.raises(ArgumentError, match=f"{count + 1} processes cannot share {count} samples"):
        make(rank=0, world_size=count + 1)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def truncate_one_of_train():
    """Truncate a file whose header stays good, so that it is listed, and whose new content does not move it to val."""
    for path, _ in make().dataset:
        content = path.read_bytes()
        truncate(path)
        if path in [listed for listed, _ in make().dataset]:
            return path
        path.write_bytes(content)
    raise AssertionError("every file moved to the other split")


def test_a_bad_file_in_one_share_leaves_all_of_them_as_they_are(cache):
    loaders = [make(rank=rank, world_size=2) for rank in (0, 1)]
    bad = next(path for path, label in loaders[0].dataset if label == 0)
    truncate(bad)
    lengths = [len(loader) for loader in loaders]
    for _epoch in range(3):
        shares = [contents(loader) for loader in loaders]
        assert not shares[0] & shares[1]
        assert [len(loader) for loader in loaders] == lengths
    assert [path for loader in loaders for path, _ in loader.quarantined] == [bad]
    # A training that begins later does without it, in every process.
    assert {bad in [path for path, _ in make(rank=rank, world_size=2).dataset] for rank in (0, 1)} == {False}


@pytest.mark.parametrize("step", [1, 3])
def test_every_process_resumes_its_own_share(cache, step):
    truncate(make().dataset[5][0])
    loaders = [make(rank=rank, world_size=2) for rank in (0, 1)]
    iterators = [iter(loader) for loader in loaders]
    for iterator in iterators:
        for _ in range(step):
            next(iterator)
    states = [loader.state_dict() for loader in loaders]
    expected = [[contents(iterator), contents(loader)] for iterator, loader in zip(iterators, loaders, strict=True)]
    resumed = [make(rank=rank, world_size=2) for rank in (0, 1)]
    with pytest.raises(ArgumentError, match="rank = 1, this loader has 0"):
        resumed[0].load_state_dict(states[1])
    for loader, state, epochs in zip(resumed, states, expected, strict=True):
        loader.load_state_dict(state)
        # The rest of the epoch, and all of the next one.
        assert [contents(loader), contents(loader)] == epochs


# torch.distributed


def run_ranks(cache, folder, world_size, epochs, batch_size=BATCH_SIZE, lengths="alike"):
    """Train in `world_size` processes of `torchrun`, and return what each of them wrote."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}"]
    environment = os.environ | {
        "DFRESEARCH_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), *sys.path]),
    }
    done = subprocess.run(
        [*launcher, str(RANK_SCRIPT), str(folder), str(epochs), str(batch_size), lengths],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(world_size)]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_that_train_one_model_share_its_epochs(cache, tmp_path, world_size):
    bad = truncate_one_of_train()
    expected = [make(rank=rank, world_size=world_size) for rank in range(world_size)]
    whole = len(make("val").dataset)
    ranks = run_ranks(cache, tmp_path, world_size, epochs=2)
    assert len({rank["length"] for rank in ranks}) == 1
    for rank, loader in zip(ranks, expected, strict=True):
        assert [len(batches) for batches in rank["given"]] == [len(loader)] * 2
        assert [contents(batches) for batches in rank["given"]] == [contents(loader) for _ in range(2)]
        assert torch.equal(rank["weights"], ranks[0]["weights"])
        assert rank["validation"] == whole
    assert {name for rank in ranks for name in rank["quarantined"]} == {bad.name}


def test_a_process_with_a_batch_less_keeps_the_others_from_nothing(cache, tmp_path):
    bad = truncate_one_of_train()
    ranks = run_ranks(cache, tmp_path, 2, epochs=1, batch_size=1, lengths="unlike")
    for rank in ranks:
        assert len(rank["given"][0]) == rank["length"] - (rank["quarantined"] == [bad.name])
        assert torch.equal(rank["weights"], ranks[0]["weights"])
    assert sorted(rank["quarantined"] for rank in ranks) == [[], [bad.name]]


def test_processes_that_have_not_found_each_other_load_everything_and_say_so(cache, monkeypatch):
    alone = make()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.warns(UserWarning, match="4 processes were started together.*init_process_group") as told:
        loader = make()
    assert told[0].filename == __file__
    assert len(loader) == len(alone)
    assert contents(loader) == contents(alone)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("val")
        assert len(make(rank=1, world_size=4)) < len(alone)
