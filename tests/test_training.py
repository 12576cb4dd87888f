"""What the training scripts share: budget, schedule, seeds, checks, progress, summary, exit codes."""

import errno
import math
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dfresearch import training
from dfresearch.models import MODEL_REGISTRY, get_model
from dfresearch_rs import ArgumentError


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


# Budget


def test_the_budget_counts_only_what_runs_inside_of_its_clock():
    clock = Clock()
    budget = training.Budget(seconds=10, clock=clock)
    clock.now += 50  # start-up
    with budget.running():
        clock.now += 4
        assert budget.training_seconds == 4
    clock.now += 1000  # evaluation
    assert budget.training_seconds == 4
    assert not budget.spent
    with budget.running():
        clock.now += 6
        assert budget.spent
    assert budget.training_seconds == 10
    assert budget.progress == 1.0


def test_an_interrupted_epoch_leaves_its_seconds_on_the_clock():
    clock = Clock()
    budget = training.Budget(seconds=10, clock=clock)

    def train():
        with budget.running():
            clock.now += 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert budget.training_seconds == 3


def test_a_budget_of_steps_ends_after_them():
    budget = training.Budget(steps=4)
    seen = []
    while not budget.spent:
        seen.append(budget.progress)
        budget.count_step()
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_the_limit_that_is_reached_first_ends_the_budget():
    clock = Clock()
    budget = training.Budget(seconds=10, steps=1000, clock=clock)
    budget.count_step()
    with budget.running():
        clock.now += 10
    assert budget.spent


def test_finish_ends_a_budget_early():
    budget = training.Budget(steps=1000)
    budget.finish()
    assert budget.spent
    assert budget.progress == 0.0


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": -1}, {"steps": 0}, {"seconds": math.nan}])
def test_a_budget_of_nothing_is_refused(limits):
    with pytest.raises(training.TrainingError, match="budget"):
        training.Budget(**limits)


# Schedule


def test_the_learning_rate_warms_up_over_steps():
    factors = [training.learning_rate_factor(step, 100, 0.0) for step in (0, 49, 99, 100, 5000)]
    assert factors == pytest.approx([0.01, 0.5, 1.0, 1.0, 1.0])


def test_the_learning_rate_falls_along_a_half_cosine_of_the_budget():
    factors = [training.learning_rate_factor(1000, 100, progress) for progress in (0, 0.25, 0.5, 0.75, 1, 1.2)]
    assert factors == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0, 0])


def test_without_warm_up_the_first_step_is_whole():
    assert training.learning_rate_factor(0, 0, 0.0) == 1.0


def test_parameter_groups_keep_their_own_scale():
    head, body = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [{"params": head.parameters()}, {"params": body.parameters(), "learning_rate_scale": 0.1}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    training.set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05]


# Seeds and precision


def test_one_seed_sets_every_generator():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()

    training.seed_everything(7)
    first = draw()
    training.seed_everything(7)
    assert draw() == first
    training.seed_everything(8)
    again = draw()
    assert all(one != other for one, other in zip(first, again, strict=True))


def test_a_step_clips_gradients_and_clears_them():
    model = nn.Linear(4, 1, bias=False)
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    precision = training.MixedPrecision(torch.device("cpu"))
    with precision.autocast():
        loss = 1000 * model(torch.ones(1, 4)).sum()
    assert loss.dtype == torch.float32
    precision.backward(loss)
    precision.step(optimizer, max_gradient_norm=1.0)
    assert (model.weight - before).norm().item() == pytest.approx(1.0, rel=1e-5)
    assert model.weight.grad is None


def test_the_cpu_has_no_peak_of_gpu_memory():
    assert training.peak_memory_mebibytes(torch.device("cpu")) == 0


def test_frozen_parameters_are_counted_too():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert training.count_parameters(model) == 8


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_a_generator_would_refuse_is_named(seed):
    with pytest.raises(ArgumentError, match=f"seed: {seed} is not from 0 to 4294967295"):
        training.seed_everything(seed)


# Checks


class NeedsValues(nn.Module):
    """A detector whose constructor reads numbers from a tensor, which the meta device cannot give."""

    def __init__(self, num_classes=2, pretrained=True):
        super().__init__()
        width = int(torch.linspace(1, 4, 2)[1].item())
        self.head = nn.Linear(width, num_classes)


def test_an_architecture_is_compared_by_names_and_shapes():
    for name in ("forensic-cnn", "efficientnet-b4"):
        model = get_model("image", name, pretrained=False)
        training.require_registered_architecture(model, "image", name)
        training.require_registered_architecture(model.half(), "image", name)
    model.backbone.conv_stem = nn.Conv2d(3, 48, 5, bias=False)
    message = r"backbone.conv_stem.weight is \[48, 3, 5, 5\] instead of \[48, 3, 3, 3\]\. Edit .*efficientnet_b4\.py"
    with pytest.raises(training.TrainingError, match=message):
        training.require_registered_architecture(model, "image", "efficientnet-b4")
    with pytest.raises(training.TrainingError, match=r"and [0-9]+ more"):
        training.require_registered_architecture(model, "image", "forensic-cnn")


def test_an_architecture_that_needs_values_is_compared_too(monkeypatch):
    monkeypatch.setitem(MODEL_REGISTRY["image"], "needs-values", NeedsValues)
    torch.manual_seed(1)
    model = NeedsValues()
    state = torch.random.get_rng_state()
    training.require_registered_architecture(model, "image", "needs-values")
    assert torch.equal(torch.random.get_rng_state(), state)
    model.head = nn.Linear(5, 2)
    with pytest.raises(training.TrainingError, match=r"head\.weight is \[2, 5\] instead of \[2, 4\]"):
        training.require_registered_architecture(model, "image", "needs-values")


def test_a_folder_is_tried_without_a_trace(tmp_path):
    training.require_writable(tmp_path / "results" / "checkpoints")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "results").write_text("a file")
    with pytest.raises(training.TrainingError, match="checkpoints: results cannot be written there: Not a directory"):
        training.require_writable(tmp_path / "results" / "checkpoints")


def test_both_classes_pass():
    training.require_both_classes(iter([0, 0, 1]), "val", "image")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no image samples in the val split.*prepare.py --modality image"),
        ([0, 0], "val split holds no synthetic image samples"),
        ([1], "val split holds no real image samples"),
    ],
)
def test_a_split_without_both_classes_is_refused(labels, message):
    with pytest.raises(training.TrainingError, match=message):
        training.require_both_classes(labels, "val", "image")


def test_a_finite_loss_is_its_value():
    assert training.finite_loss(torch.tensor(0.25), 3, 1e-4) == 0.25


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_diverged_names_step_and_learning_rate(value):
    with pytest.raises(training.TrainingError, match=r"step 17 \(learning rate 3\.00e-04\).*diverged"):
        training.finite_loss(torch.tensor(value), 17, 3e-4)


# Progress and summary


def test_a_log_gets_one_line_per_epoch_with_the_mean_loss(capsys):
    clock = Clock()
    budget = training.Budget(seconds=10, clock=clock)
    progress = training.Progress(budget, on_terminal=False)
    with budget.running():
        progress.batch(1, 1.0, 3, 1e-4)
        progress.batch(1, 0.0, 1, 1e-4)
        clock.now += 5
    assert progress.end_epoch(1, 1e-4) == 0.75
    progress.batch(2, 0.5, 2, 1e-4)
    assert progress.end_epoch(2, 1e-4) == 0.5
    progress.close()
    captured = capsys.readouterr()
    first, second = captured.out.splitlines()
    assert first == "epoch 1: loss 0.7500, 4 samples, learning rate 1.00e-04, 5.0 s (50 % of the budget)"
    assert second.startswith("epoch 2: loss 0.5000, 2 samples")
    assert captured.err == ""


def test_a_terminal_gets_a_bar_on_standard_error(capsys):
    budget = training.Budget(steps=2)
    progress = training.Progress(budget, on_terminal=True)
    budget.count_step()
    progress.batch(1, 0.5, 4, 1e-4)
    progress.end_epoch(1, 1e-4)
    progress.close()
    captured = capsys.readouterr()
    assert captured.out.startswith("epoch 1: loss 0.5000")
    assert "%" in captured.err


def test_the_summary_is_keys_and_values_after_a_line_of_dashes(capsys):
    training.print_summary({"model": "forensic-cnn", "sn34_score": 0.123456789, "num_steps": 12, "learning_rate": 1e-4})
    assert capsys.readouterr().out == (
        "---\nmodel: forensic-cnn\nsn34_score: 0.123457\nnum_steps: 12\nlearning_rate: 0.0001\n"
    )


# Exit codes


def test_a_run_that_ends_well_exits_with_zero(capsys):
    assert training.run_to_exit_code(lambda: None) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (training.TrainingError("the loss is nan"), 1, "error: the loss is nan\n"),
        (ArgumentError("mode: no such mode"), 1, "error: mode: no such mode\n"),
        (torch.OutOfMemoryError("CUDA out of memory.\nmore"), 1, "lower --batch-size (CUDA out of memory.)"),
        (OSError(errno.ENOSPC, "No space left", "a/file"), 1, "error: a/file: No space left\n"),
        (OSError(errno.EROFS, "Read-only file system"), 1, "error: Read-only file system\n"),
    ],
)
def test_expected_errors_are_one_line_and_an_exit_code(capsys, error, exit_code, message):
    def run():
        raise error

    assert training.run_to_exit_code(run) == exit_code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "defect", [KeyError("a typo in the script"), FileNotFoundError(errno.ENOENT, "no", "typo.csv")]
)
def test_defects_keep_their_traceback(defect):
    def run():
        raise defect

    with pytest.raises(type(defect)):
        training.run_to_exit_code(run)


def test_what_the_package_warns_of_is_a_line_without_code(capsys):
    def warn():
        source = Path(training.__file__).parent / "data.py"
        warnings.warn_explicit("a folder is left out", UserWarning, str(source), 138)
        warnings.warn_explicit("something else", UserWarning, "elsewhere.py", 7)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest records warnings; a script prints them.
        warnings.showwarning = lambda *about: sys.stderr.write(warnings.formatwarning(*about[:4]))
        assert training.run_to_exit_code(warn) == 0
    assert capsys.readouterr().err == "warning: a folder is left out\nelsewhere.py:7: UserWarning: something else\n"
