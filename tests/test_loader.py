"""The loader as Python sees it: contents, order, faults, shutdown."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import dfresearch_rs

SIZE = (48, 64)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[tuple[Path, int]]:
    """Forty small photograph-like files, JPEG and PNG in turn, of differing sizes."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(5)
    listed = []
    for number in range(40):
        height, width = rng.integers(40, 160, 2)
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        path = folder / f"{number:06d}.{'jpg' if number % 2 else 'png'}"
        assert cv2.imwrite(str(path), image)
        listed.append((path, number % 2))
    return listed


def make_loader(samples, **keywords):
    defaults = {"modality": "image", "batch_size": 8, "size": SIZE, "num_workers": 2, "seed": 3}
    return dfresearch_rs.Loader(samples, **(defaults | keywords))


def batches(loader) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(loader)


def assert_same(left, right) -> None:
    assert len(left) == len(right)
    for (inputs, labels), (other_inputs, other_labels) in zip(left, right, strict=True):
        assert torch.equal(inputs, other_inputs)
        assert torch.equal(labels, other_labels)


def test_batches_are_tensors_of_the_documented_kind(samples):
    loader = make_loader(samples)
    assert len(loader) == 5
    assert loader.num_samples == 40
    got = batches(loader)
    assert len(got) == 5
    for inputs, labels in got:
        assert type(inputs) is torch.Tensor
        assert inputs.shape == (8, 3, *SIZE)
        assert inputs.dtype == torch.uint8
        assert inputs.is_contiguous()
        assert labels.shape == (8,)
        assert labels.dtype == torch.int64
    assert torch.cat([labels for _, labels in got]).tolist() == [label for _, label in samples]


@pytest.mark.parametrize("mode", ["competition", "stretch"])
def test_a_sample_is_what_the_single_calls_make_of_it(samples, mode):
    loader = make_loader(samples, mode=mode)
    inputs = torch.cat([inputs for inputs, _ in loader])
    for (path, _), pixels in zip(samples, inputs, strict=True):
        source = dfresearch_rs.recompress_image(path) if mode == "competition" else path
        expected = dfresearch_rs.preprocess_image(dfresearch_rs.decode_image(source), SIZE, mode=mode)
        np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), expected)


def test_recompression_can_be_switched_off(samples):
    inputs = torch.cat([inputs for inputs, _ in make_loader(samples, recompress=False)])
    for (path, _), pixels in zip(samples, inputs, strict=True):
        expected = dfresearch_rs.preprocess_image(dfresearch_rs.decode_image(path), SIZE)
        np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("num_workers", [2, 8])
def test_batches_are_bit_identical_for_any_number_of_threads(samples, num_workers):
    keywords = {"shuffle": True, "augment": 3, "prefetch": 3}
    expected = batches(make_loader(samples, num_workers=1, **keywords))
    assert_same(batches(make_loader(samples, num_workers=num_workers, **keywords)), expected)


def test_epochs_differ_and_can_be_chosen(samples):
    loader = make_loader(samples, shuffle=True, augment=2)
    first, second = batches(loader), batches(loader)
    assert not torch.equal(first[0][0], second[0][0])
    loader.set_epoch(0)
    assert_same(batches(loader), first)
    assert_same(batches(make_loader(samples, shuffle=True, augment=2, epoch=1)), second)


def test_batches_are_never_overwritten(samples):
    loader = make_loader(samples, prefetch=1)
    iterator = iter(loader)
    inputs, _ = next(iterator)
    kept = inputs.clone()
    rest = list(iterator)
    assert len(rest) == 4
    assert torch.equal(inputs, kept)
    assert len({batch.data_ptr() for batch, _ in rest} | {inputs.data_ptr()}) == 5


@pytest.mark.parametrize("step", [0, 2, 5])
def test_stopping_and_resuming_is_exact(samples, step):
    keywords = {"shuffle": True, "augment": 2}
    whole = make_loader(samples, **keywords)
    expected = batches(whole) + batches(whole)
    stopped = make_loader(samples, **keywords)
    iterator = iter(stopped)
    for _ in range(step):
        next(iterator)
    state = stopped.state_dict()
    resumed = make_loader(samples, **keywords)
    resumed.load_state_dict(state)
    assert_same(batches(resumed) + batches(resumed), expected[step:])


def test_a_state_of_another_loader_is_refused(samples):
    state = make_loader(samples).state_dict()
    with pytest.raises(dfresearch_rs.ArgumentError, match=r"batch_size = 8.*has 4"):
        make_loader(samples, batch_size=4).load_state_dict(state)


@pytest.mark.parametrize(
    "other", [{"augment": 3}, {"augment": None}, {"size": (48, 48)}, {"mode": "stretch"}, {"recompress": False}]
)
def test_a_state_of_a_loader_that_makes_other_samples_is_refused(samples, other):
    state = make_loader(samples, augment=2).state_dict()
    make_loader(samples, augment=2).load_state_dict(state)
    with pytest.raises(dfresearch_rs.ArgumentError, match="it was saved with ImagePreprocess"):
        make_loader(samples, **({"augment": 2} | other)).load_state_dict(state)


def test_ranks_share_an_epoch(samples):
    whole = torch.cat([inputs for inputs, _ in make_loader(samples, shuffle=True, batch_size=1)])
    shares = [
        torch.cat([x for x, _ in make_loader(samples, shuffle=True, batch_size=1, rank=rank, world_size=2)])
        for rank in (0, 1)
    ]
    assert torch.equal(shares[0], whole[0::2])
    assert torch.equal(shares[1], whole[1::2])


@pytest.fixture
def damaged(samples, tmp_path) -> tuple[list[tuple[Path, int]], dict[Path, str]]:
    """Good samples with every kind of bad one between them, and a word of each reason."""
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(samples[1][0].read_bytes()[:200])
    empty = tmp_path / "empty.png"
    empty.touch()
    html = tmp_path / "page.jpg"
    html.write_text("<!DOCTYPE html><html><body>404</body></html>")
    folder = tmp_path / "folder.png"
    folder.mkdir()
    missing = tmp_path / "missing.png"
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    bad = {
        truncated: "truncated", empty: "empty", html: "HTML", folder: "directory", missing: "no such file",
        pipe: "not a regular file",
    }  # fmt: skip
    mixed = list(samples)
    for place, path in enumerate(bad):
        mixed.insert(7 * place, (path, 1))
    return mixed, bad


def test_bad_samples_are_named_dropped_and_then_left_out(samples, damaged):
    mixed, bad = damaged
    loader = make_loader(mixed)
    got = batches(loader)
    assert sum(len(labels) for _, labels in got) == len(samples)
    assert all(len(inputs) == len(labels) > 0 for inputs, labels in got)
    clean = torch.cat([inputs for inputs, _ in make_loader(samples)])
    assert torch.equal(torch.cat([inputs for inputs, _ in got]), clean)
    reasons = dict(loader.quarantined)
    assert reasons.keys() == bad.keys()
    for path, word in bad.items():
        assert str(path) not in reasons[path]
        assert word.lower() in reasons[path].lower()

    assert len(loader) == 5, "the next epoch lists good samples only"
    assert_same(batches(loader), batches(make_loader(samples)))
    assert len(loader.quarantined) == len(bad)


def test_a_batch_of_bad_samples_alone_is_skipped(samples, tmp_path):
    gone = [(tmp_path / f"{number}.png", 0) for number in range(8)]
    got = batches(make_loader(gone + samples))
    assert_same(got, batches(make_loader(samples)))


def test_all_samples_bad_is_an_error(tmp_path):
    gone = [(tmp_path / f"{number}.png", 0) for number in range(9)]
    with pytest.raises(dfresearch_rs.LoaderError, match=r"all 9 samples failed.*0\.png"):
        batches(make_loader(gone))


def test_a_loader_without_good_samples_stays_an_error(tmp_path):
    loader = make_loader([(tmp_path / f"{number}.png", 0) for number in range(9)])
    for message in ("all 9 samples failed", "all 9 samples are quarantined"):
        with pytest.raises(dfresearch_rs.LoaderError, match=message):
            batches(loader)


def test_the_only_batch_is_not_dropped(samples, tmp_path):
    mixed = [*samples[:4], (tmp_path / "0.png", 0), (tmp_path / "1.png", 1)]
    loader = make_loader(mixed, batch_size=5, drop_last=True)
    for _ in range(3):
        assert [len(labels) for _, labels in loader] == [4]


def test_files_that_could_not_be_read_are_told_from_undecodable_ones(damaged):
    mixed, bad = damaged
    loader = make_loader(mixed)
    batches(loader)
    unread = {"folder.png", "missing.png", "pipe.png"}
    assert {path for path, _ in loader.undecodable} == {path for path in bad if path.name not in unread}


def test_an_enormous_file_costs_one_sample(samples, tmp_path):
    sparse = tmp_path / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(1 << 42)
    loader = make_loader([*samples, (sparse, 0)])
    assert sum(len(labels) for _, labels in loader) == len(samples)
    assert "over the limit" in dict(loader.quarantined)[sparse]


def test_a_position_after_an_epoch_is_the_next_epoch(samples):
    loader = make_loader(samples, shuffle=True)
    batches(loader)
    resumed = make_loader(samples, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    assert_same(batches(resumed), batches(loader))


def test_resuming_before_a_bad_last_batch_is_as_quiet_as_going_on(samples, tmp_path):
    mixed = [*samples[:8], (tmp_path / "gone.png", 0)]
    loader = make_loader(mixed)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    assert list(iterator) == []
    resumed = make_loader(mixed)
    resumed.load_state_dict(state)
    assert batches(resumed) == []


@pytest.mark.parametrize(
    "change",
    [
        {"quarantined": [(0, "", True), (0, "", True)], "left_out": 2},
        {"quarantined": [(99, "", True)], "left_out": 1},
        {"left_out": 1},
    ],
)
def test_a_state_that_contradicts_itself_is_refused(samples, change):
    loader = make_loader(samples)
    with pytest.raises(dfresearch_rs.ArgumentError, match="quarantined samples are not"):
        loader.load_state_dict(loader.state_dict() | change)


def test_a_failing_callable_ends_the_epoch_and_names_the_sample(samples):
    loader = make_loader(samples, augment=({1: [lambda image: 1 / 0]}, 1))
    with pytest.raises(dfresearch_rs.AugmentError, match=r"division by zero.*00000\d\.(png|jpg)"):
        batches(loader)


def test_a_file_that_vanishes_in_mid_epoch(samples, tmp_path):
    copies = []
    for path, label in samples:
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        copies.append((copy, label))
    loader = make_loader(copies, prefetch=1, num_workers=1)
    iterator = iter(loader)
    next(iterator)
    copies[-1][0].unlink()
    assert sum(len(labels) for _, labels in iterator) == len(samples) - 8 - 1
    assert [path for path, _ in loader.quarantined] == [copies[-1][0]]


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": 0}, "num_workers"),
        ({"prefetch": 0}, "prefetch"),
        ({"size": (0, 8)}, "size"),
        ({"mode": "squash"}, "mode"),
        ({"modality": "smell"}, "modality"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"augment": 17}, "level"),
    ],
)
def test_settings_that_make_no_batches_are_named(samples, keywords, named):
    with pytest.raises(dfresearch_rs.ArgumentError, match=named):
        make_loader(samples, **keywords)


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(dfresearch_rs.ArgumentError, match="label: 2"):
        make_loader([("a.png", 2)])


def test_no_samples_make_no_batches():
    loader = make_loader([])
    assert len(loader) == 0
    assert batches(loader) == []


def test_an_outdated_iterator_says_so(samples):
    loader = make_loader(samples)
    outdated = iter(loader)
    next(outdated)
    iter(loader)
    with pytest.raises(dfresearch_rs.LoaderError, match="another iteration"):
        next(outdated)


def test_breaking_off_stops_the_threads(samples):
    before = len(os.listdir("/proc/self/task"))
    for _ in range(5):
        loader = make_loader(samples, num_workers=8)
        for _batch in loader:
            break
        del _batch, loader
    # The system lists a thread for a moment after it was joined.
    deadline = time.monotonic() + 60
    while len(os.listdir("/proc/self/task")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) == before


def test_waiting_is_measured(samples):
    loader = make_loader(samples)
    assert loader.data_wait_seconds == 0
    begun = time.monotonic()
    batches(loader)
    assert 0 < loader.data_wait_seconds <= time.monotonic() - begun


def run_script(body: str, samples, **keywords) -> subprocess.CompletedProcess[str]:
    listed = [(str(path), label) for path, label in samples]
    head = f"import dfresearch_rs\nsamples = {listed!r}\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(body)],
        capture_output=True, text=True, timeout=120, **keywords,
    )  # fmt: skip


def test_a_forked_child_gets_an_error_and_not_a_deadlock(samples):
    done = run_script(
        """
        import os, sys
        loader = dfresearch_rs.Loader(samples, modality="image", size=(32, 32), batch_size=4)
        iterator = iter(loader)
        next(iterator)
        child = os.fork()
        if child == 0:
            try:
                next(iterator)
            except dfresearch_rs.LoaderError as error:
                print(error, flush=True)
                assert len(list(dfresearch_rs.Loader(samples, modality="image", size=(32, 32)))) == 2
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(list(iterator)) == 9
        """,
        samples,
    )
    assert done.returncode == 0, done.stderr
    assert "fork" in done.stdout


def test_a_forked_child_does_not_warm_the_cache_of_its_parent(samples):
    done = run_script(
        """
        import os, tempfile
        with tempfile.TemporaryDirectory() as folder:
            loader = dfresearch_rs.Loader(samples, modality="image", size=(32, 32), sample_cache=folder)
            child = os.fork()
            if child == 0:
                try:
                    loader.warm()
                except dfresearch_rs.LoaderError as error:
                    print(error, flush=True)
                    os._exit(7)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert loader.warm().not_kept == 0
        """,
        samples,
    )
    assert done.returncode == 0, done.stderr
    assert "fork" in done.stdout


def test_a_child_forked_while_another_thread_waits_can_end(samples):
    done = run_script(
        """
        import os, sys, threading, time

        def slow(image):
            time.sleep(1)
            return image

        loader = dfresearch_rs.Loader(samples[:8], modality="image", num_workers=1, augment=({1: [slow]}, 1))
        iterator = iter(loader)
        threading.Thread(target=lambda: next(iterator), daemon=True).start()
        time.sleep(0.5)
        child = os.fork()
        if child == 0:
            for use in (loader.close, loader.__iter__, loader.__len__, loader.state_dict):
                try:
                    use()
                except dfresearch_rs.LoaderError as error:
                    assert "fork" in str(error)
                else:
                    os._exit(1)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        os._exit(0)
        """,
        samples,
    )
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_the_interpreter_exits_in_mid_epoch(samples):
    done = run_script(
        """
        loader = dfresearch_rs.Loader(samples, modality="image", size=(224, 224), batch_size=4, augment=3)
        iterator = iter(loader)
        next(iterator)
        print("leaving")
        """,
        samples,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


def test_ctrl_c_interrupts_a_wait(samples):
    done = run_script(
        """
        import os, signal, threading, time

        def slow(image):
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(3600)

        loader = dfresearch_rs.Loader(samples, modality="image", num_workers=1, augment=({1: [slow]}, 1))
        try:
            next(iter(loader))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            os._exit(0)
        """,
        samples,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
