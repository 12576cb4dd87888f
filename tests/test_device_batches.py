"""Batches on the device: their order, when copies begin, and what a loader's position says meanwhile."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dfresearch import device_batches as subject
from dfresearch.data import BatchLoader
from dfresearch.device_batches import SideStreamCopy, device_batches, one_ahead
from dfresearch_rs import Samples

NUM_SAMPLES = 23
BATCH_SIZE = 4


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(11)
    listed = []
    for number in range(NUM_SAMPLES):
        path = folder / f"{number:06d}.png"
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
        listed.append((path, number % 2))
    return listed


def make_loader(listing):
    root = listing[0][0].parent
    options = {"modality": "image", "size": (8, 8), "augment": 2, "shuffle": True, "num_workers": 2}
    return BatchLoader(root, lambda: Samples(listing), batch_size=BATCH_SIZE, drop_last=False, seed=5, **options)


class Copies:
    """Copies in ordinary memory, and writes down what happens when."""

    def __init__(self):
        self.events = []
        self.unfinished = 0

    def start(self, batch):
        self.events.append("start")
        self.unfinished += 1
        return tuple(tensor.clone() for tensor in batch)

    def finish(self, batch):
        # Whoever waits for a stream waits for all that is on it.
        assert self.unfinished == 1
        self.unfinished -= 1
        self.events.append("finish")
        return batch


def assert_same(left, right):
    assert len(left) == len(right)
    for (inputs, labels), (other_inputs, other_labels) in zip(left, right, strict=True):
        assert torch.equal(inputs, other_inputs)
        assert torch.equal(labels, other_labels)


# On a CPU


def test_a_cpu_gets_the_loaders_own_tensors():
    batches = [(torch.rand(2, 3), torch.tensor([0, 1])) for _ in range(3)]
    for (inputs, labels), (given_inputs, given_labels) in zip(device_batches(batches, "cpu"), batches, strict=True):
        assert inputs is given_inputs
        assert labels is given_labels


def test_a_cpu_takes_nothing_ahead():
    taken = []

    def loader():
        for number in range(3):
            taken.append(number)
            yield torch.tensor([number]), torch.tensor([0])

    batches = device_batches(loader(), torch.device("cpu"))
    assert taken == []
    for number in range(3):
        inputs, _ = next(batches)
        assert inputs.item() == number
        assert taken == list(range(number + 1))


def test_other_devices_get_their_own_tensors():
    ((inputs, labels),) = device_batches([(torch.rand(2), torch.zeros(2))], "meta")
    assert inputs.device.type == labels.device.type == "meta"


# One ahead


@given(st.integers(0, 9))
def test_all_batches_come_once_and_in_order(count):
    batches = [(torch.full((2,), number), torch.tensor([number % 2])) for number in range(count)]
    assert_same(list(one_ahead(batches, Copies())), batches)


def test_the_next_copy_runs_while_a_batch_is_used():
    copies = Copies()
    batches = [(torch.zeros(1), torch.zeros(1))] * 3
    during = [list(copies.events) for _ in one_ahead(batches, copies)]
    assert during[0] == ["start", "finish", "start"]
    assert during[1] == [*during[0], "finish", "start"]
    assert during[2] == [*during[1], "finish"]


def test_an_error_of_the_loader_comes_in_its_turn():
    def loader():
        yield torch.zeros(1), torch.zeros(1)
        yield torch.ones(1), torch.ones(1)
        raise RuntimeError("the disk is gone")

    batches = one_ahead(loader(), Copies())
    assert next(batches)[0].item() == 0
    assert next(batches)[0].item() == 1
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(batches)


def test_an_interrupt_is_not_held_back():
    def loader():
        yield torch.zeros(1), torch.zeros(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(one_ahead(loader(), Copies()))


# The position meanwhile


def position_of(loader):
    """What a saved state says of the place in the epoch."""
    state = loader.state_dict()
    return state["epoch"], state.get("loader")


def test_the_position_is_that_of_a_loader_without_look_ahead(listing):
    plain, ahead = make_loader(listing), make_loader(listing)
    for _epoch in range(2):
        plain_batches, ahead_batches = iter(plain), one_ahead(ahead, Copies())
        for _ in range(len(plain)):
            next(plain_batches)
            next(ahead_batches)
            assert position_of(ahead) == position_of(plain)
        assert list(plain_batches) == list(ahead_batches) == []
        assert position_of(ahead) == position_of(plain)


def test_every_position_resumes_with_the_batch_that_was_not_handed_out(listing):
    expected = list(make_loader(listing))
    following = list(make_next_epoch(listing))
    for step in range(1, len(expected) + 1):
        stopped = make_loader(listing)
        for number, _batch in enumerate(one_ahead(stopped, Copies()), start=1):
            if number == step:
                break
        resumed = make_loader(listing)
        resumed.load_state_dict(stopped.state_dict())
        assert_same(list(one_ahead(resumed, Copies())), expected[step:])
        assert_same(list(resumed), following)


def make_next_epoch(listing):
    loader = make_loader(listing)
    loader.set_epoch(1)
    return loader


def test_a_loop_that_was_left_holds_no_later_one_back(listing):
    plain, ahead = make_loader(listing), make_loader(listing)
    next(iter(plain))
    for _batch in one_ahead(ahead, Copies()):
        break
    plain_batches, ahead_batches = iter(plain), iter(ahead)
    for _ in range(3):
        assert torch.equal(next(plain_batches)[0], next(ahead_batches)[0])
        assert position_of(ahead) == position_of(plain)
    assert position_of(ahead)[1]["step"] == 3


def test_an_error_leaves_the_loader_where_it_stands(listing):
    loader = make_loader(listing)
    copies = Copies()
    copies.finish = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(one_ahead(loader, copies))
    # Nothing was handed out: the epoch has not begun for whoever trains.
    assert position_of(loader) == position_of(make_loader(listing))


# CUDA


class Recorder:
    """Stands in for `torch.cuda` and for tensors: writes down what is asked of which stream."""

    def __init__(self):
        self.calls = []
        self.current = "steps"

    def Stream(self, device):  # noqa: N802 -- torch's name
        return "copies"

    def current_stream(self, device):
        recorder = self

        class Current:
            def wait_stream(self, stream):
                recorder.calls.append(("steps wait for", stream))

        return Current()

    @contextmanager
    def stream(self, stream):
        self.current, before = stream, self.current
        yield
        self.current = before

    def tensor(self, name):
        recorder = self

        class Tensor:
            def to(self, device, non_blocking):
                assert non_blocking
                recorder.calls.append(("copy", name, recorder.current))
                return self

            def record_stream(self, stream):
                recorder.calls.append(("keep for the step", name))

        return Tensor()


def test_copies_run_on_a_stream_of_their_own_and_steps_wait_for_them(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(subject.torch, "cuda", recorder)
    loader = [(recorder.tensor(f"inputs {number}"), recorder.tensor(f"labels {number}")) for number in range(2)]
    for number, _batch in enumerate(device_batches(loader, "cuda")):
        recorder.calls.append(("step", number))

    def copy(number):
        return [("copy", f"labels {number}", "copies"), ("copy", f"inputs {number}", "copies")]

    def use(number):
        kept = [("keep for the step", f"inputs {number}"), ("keep for the step", f"labels {number}")]
        return [("steps wait for", "copies"), *kept]

    assert recorder.calls == [*copy(0), *use(0), *copy(1), ("step", 0), *use(1), ("step", 1)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_computes_with_what_the_loader_gave(listing):
    device = torch.device("cuda")
    expected = list(make_loader(listing))
    got = []
    for inputs, labels in device_batches(make_loader(listing), device):
        assert inputs.device.type == labels.device.type == "cuda"
        # A long step before the batch is used again: memory that were given away too early would be overwritten.
        torch.cuda._sleep(10_000_000)
        got.append((inputs.clone(), labels.clone()))
    assert_same([(inputs.cpu(), labels.cpu()) for inputs, labels in got], expected)
    assert isinstance(SideStreamCopy(device)._stream, torch.cuda.Stream)
