"""What the training scripts share: seeds, precision, the budget, the schedule, progress, the summary and its errors.

The scripts keep what a researcher edits (knobs, model, data, loop); this file keeps what no modality changes.
"""

import contextlib
import errno
import math
import os
import random
import select
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from dfresearch.models import PretrainedWeightsError, get_model, model_module
from dfresearch_rs import ArgumentError, DfresearchError

# The exit code by which a shell reports a program that Ctrl-C (signal 2) ended: 128 + 2.
EXIT_INTERRUPTED = 130
# The same for a program whose output nobody reads any more (signal 13).
EXIT_BROKEN_PIPE = 141
BYTES_PER_MEBIBYTE = 2**20
# NumPy takes no larger seed, and every generator gets the same one.
MAX_SEED = 2**32 - 1
# What the system says of disks and rights, which no edit of a script mends: no space, no quota, no right, no folder.
MACHINE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR}
)
# How many parameters a message names before it only counts them.
NAMED_PARAMETERS = 3


class TrainingError(RuntimeError):
    """The training cannot go on, or its score would mean nothing."""


# ---------------------------------------------------------------------------------------------------------------------
# Seeds, device, precision
# ---------------------------------------------------------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators (every GPU's too).

    Raises:
        ArgumentError: the seed is negative or above `MAX_SEED`.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ArgumentError(f"seed: {seed} is not from 0 to {MAX_SEED}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def select_device() -> torch.device:
    """Return the first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class MixedPrecision:
    """Runs forward passes in bfloat16 (float16 on older GPUs, with loss scaling) on CUDA, and in float32 on a CPU."""

    def __init__(self, device: torch.device) -> None:
        """Choose the precision that `device` supports."""
        self.device = device
        self.dtype = torch.float32
        if device.type == "cuda":
            self.dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which the forward pass and the loss are computed."""
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scalar `loss` to the parameters'."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: Optimizer, max_gradient_norm: float) -> None:
        """Clip the gradients to `max_gradient_norm` (L2, over all parameters), take one step and clear them."""
        self.scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)


def peak_memory_mebibytes(device: torch.device) -> float:
    """Return the most GPU memory that was allocated at once; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / BYTES_PER_MEBIBYTE if device.type == "cuda" else 0.0


def count_parameters(model: nn.Module) -> int:
    """Return the number of the model's parameters, trained or frozen."""
    return sum(parameter.numel() for parameter in model.parameters())


# ---------------------------------------------------------------------------------------------------------------------
# Budget and schedule
# ---------------------------------------------------------------------------------------------------------------------


class Budget:
    """How long to train: until `seconds` of training have passed or `steps` optimizer steps are done.

    The clock runs between `running()`'s start and end only, so that start-up, evaluation and export are free.
    """

    def __init__(
        self,
        seconds: float = math.inf,
        steps: float = math.inf,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Set the limits; without any, training ends only when it is interrupted."""
        if not seconds > 0 or not steps > 0:
            raise TrainingError(f"a budget is more than nothing: got {seconds} seconds, {steps} steps")
        self.seconds = seconds
        self.steps = steps
        self._clock = clock
        self._started_at: float | None = None
        self._seconds_before = 0.0
        self._steps_done = 0
        self._finished = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the clock run inside of the `with` block; a later block goes on where this one stopped."""
        self._started_at = self._clock()
        try:
            yield
        finally:
            self._seconds_before = self.training_seconds
            self._started_at = None

    def count_step(self) -> None:
        """Count one optimizer step."""
        self._steps_done += 1

    def finish(self) -> None:
        """Call the budget spent, whatever is left of it."""
        self._finished = True

    @property
    def training_seconds(self) -> float:
        """Seconds of training so far, the waiting for data included."""
        running = 0.0 if self._started_at is None else self._clock() - self._started_at
        return self._seconds_before + running

    @property
    def progress(self) -> float:
        """The part of the budget that is used, from 0 to 1."""
        return min(1.0, max(self.training_seconds / self.seconds, self._steps_done / self.steps))

    @property
    def spent(self) -> bool:
        """Whether training is over."""
        return self._finished or self.progress >= 1.0


def learning_rate_factor(step: int, warmup_steps: int, progress: float) -> float:
    """Return what to multiply the learning rate by: a linear warm-up over steps, then a half cosine over the budget.

    `step` counts optimizer steps from zero, `progress` is the used part of the budget (0 to 1). The decay follows the
    budget, not the steps, so that a run ends near zero however fast the machine is.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
    decay = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return warmup * decay


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Give every parameter group `learning_rate`, times the group's `learning_rate_scale` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("learning_rate_scale", 1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Progress
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class TrainingRecord:
    """What happened in a training, for the summary."""

    steps: int = 0
    """Optimizer steps."""
    epochs: int = 0
    """Epochs begun."""
    samples: int = 0
    """Samples that went through the model, repeats included."""
    epoch_losses: list[float] = field(default_factory=list)
    """Mean training loss of each epoch, in nats."""


class Progress:
    """Shows a bar on a terminal, and one line per epoch everywhere else (in logs)."""

    def __init__(self, budget: Budget, on_terminal: bool | None = None) -> None:
        """Show the use of `budget` on standard error; `on_terminal` None asks standard error what it is."""
        on_terminal = sys.stderr.isatty() if on_terminal is None else on_terminal
        self._budget = budget
        self._loss_sum = 0.0
        self._samples = 0
        self._bar = (
            tqdm(total=100, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}", leave=False)
            if on_terminal
            else None
        )

    def batch(self, epoch: int, loss: float, samples: int, learning_rate: float) -> None:
        """Count a batch of `samples` with the mean `loss`."""
        self._loss_sum += loss * samples
        self._samples += samples
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch}", refresh=False)
            self._bar.set_postfix_str(f"loss {loss:.4f} lr {learning_rate:.2e}", refresh=False)
            self._bar.update(100 * self._budget.progress - self._bar.n)

    def end_epoch(self, epoch: int, learning_rate: float) -> float:
        """Print the epoch's line and return its mean loss."""
        mean_loss = self._loss_sum / self._samples if self._samples else math.nan
        line = (
            f"epoch {epoch}: loss {mean_loss:.4f}, {self._samples} samples, learning rate {learning_rate:.2e}, "
            f"{self._budget.training_seconds:.1f} s ({100 * self._budget.progress:.0f} % of the budget)"
        )
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.write(line, file=sys.stdout)
        self._loss_sum, self._samples = 0.0, 0
        return mean_loss

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


# ---------------------------------------------------------------------------------------------------------------------
# Checks
# ---------------------------------------------------------------------------------------------------------------------


def require_both_classes(labels: Iterable[int], split: str, modality: str) -> None:
    """Refuse a split without samples, or with one class only: no score of it would mean anything.

    Raises:
        TrainingError: names the split, the class that is missing and what to do.
    """
    present: set[int] = set()
    for label in labels:
        present.add(label)
        if len(present) == 2:
            # Of a million samples, the first few tell.
            return
    if not present:
        raise TrainingError(
            f"there are no {modality} samples in the {split} split: fill the cache "
            f"(`uv run prepare.py --modality {modality}` says how), then look at `uv run prepare.py --verify`"
        )
    for label, name in ((0, "real"), (1, "synthetic")):
        if label not in present:
            raise TrainingError(
                f"the {split} split holds no {name} {modality} samples: a detector needs both classes; "
                f"`uv run prepare.py --verify --modality {modality}` shows what there is"
            )


def require_writable(folder: Path) -> None:
    """Refuse a folder, or one that could not be made, before anything is computed that should be kept in it.

    Nothing is left behind: the nearest folder that exists is tried with a file that is gone at once.

    Raises:
        TrainingError: names the folder and the system's reason.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"writable")
    except OSError as error:
        raise TrainingError(
            f"{folder}: results cannot be written there: {error.strerror}; DFRESEARCH_RESULTS names another place"
        ) from error


def require_registered_architecture(model: nn.Module, modality: str, name: str) -> None:
    """Refuse a model whose weights would not fit the file that a checkpoint carries as its `model.py`.

    Names and shapes of the state dict are compared with those of the registered model; the names that torch.compile and
    data parallelism add are left out, as they are in a checkpoint.

    Raises:
        TrainingError: names the differences and the file to edit instead.
    """
    expected = _shapes(_build_without_memory(modality, name))
    actual = _shapes(model)
    differences = [
        *(f"{key} is missing" for key in expected if key not in actual),
        *(f"{key} is new" for key in actual if key not in expected),
        *(
            f"{key} is {actual[key]} instead of {expected[key]}"
            for key in expected
            if key in actual and actual[key] != expected[key]
        ),
    ]
    if not differences:
        return
    named = "; ".join(differences[:NAMED_PARAMETERS])
    rest = len(differences) - NAMED_PARAMETERS
    path = f"python/{model_module(modality, name).replace('.', '/')}.py"
    raise TrainingError(
        f"the model is not the registered {name}, whose file its checkpoint would carry: {named}"
        f"{f'; and {rest} more' if rest > 0 else ''}. Edit the architecture in {path}, or register a file of its own"
    )


def _build_without_memory(modality: str, name: str) -> nn.Module:
    """Build the registered model on the meta device, or on the CPU where its constructor computes with values."""
    try:
        with torch.device("meta"):
            return get_model(modality, name, num_classes=2, pretrained=False)
    except (NotImplementedError, RuntimeError):
        # The training's generator stays where it was.
        with torch.random.fork_rng(devices=[]):
            return get_model(modality, name, num_classes=2, pretrained=False)


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    """Return the shape of every entry of the state dict, under the names that a checkpoint has."""
    shapes = {key.replace("_orig_mod.", ""): list(value.shape) for key, value in model.state_dict().items()}
    if all(key.startswith("module.") for key in shapes):
        shapes = {key.removeprefix("module."): shape for key, shape in shapes.items()}
    return shapes


def finite_loss(loss: Tensor, step: int, learning_rate: float) -> float:
    """Return the value of the scalar `loss`.

    Raises:
        TrainingError: the loss is NaN or infinite; the run is worth nothing and its time is better used elsewhere.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at step {step} (learning rate {learning_rate:.2e}): training diverged; "
            "lower the learning rate, or look for a division by zero or a logarithm of zero in the change"
        )
    return value


# ---------------------------------------------------------------------------------------------------------------------
# Summary and exit
# ---------------------------------------------------------------------------------------------------------------------


def print_summary(values: Mapping[str, object]) -> Mapping[str, object]:
    """Print a line `---` and then `key: value` lines, which programs read (`grep '^sn34_score:' run.log`).

    Returns `values`.
    """
    print("---")
    for key, value in values.items():
        print(f"{key}: {value:.6g}" if isinstance(value, float) else f"{key}: {value}")
    sys.stdout.flush()
    return values


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print what this package warns of as a line for people: the place in its code would tell them nothing."""
    package, with_place = Path(__file__).parent, warnings.formatwarning

    def plain(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category is UserWarning and Path(filename).is_relative_to(package):
            return f"warning: {message}\n"
        return with_place(message, category, filename, lineno, line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = with_place


def _reader_is_gone() -> bool:
    """Tell whether whoever read standard output, such as `head`, has seen enough."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _file, events in output.poll(0))


def run_to_exit_code(
    run: Callable[[], int | None],
    advice_out_of_memory: str = "lower --batch-size",
    interrupted: str = "no score, and the last complete checkpoint stays",
) -> int:
    """Call `run` and return the process's exit code: `run`'s own or 0, 1 after an error, 130 after Ctrl-C.

    Errors that are no fault of the code (data, budget, memory, disk, rights, a loss that diverged) are one line on
    standard error; everything else keeps its traceback, since whoever edited the script needs it.
    """
    try:
        with _plain_warnings():
            code = run() or 0
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # What Python flushes at its exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print(f"\ninterrupted: {interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except torch.OutOfMemoryError as error:
        first_line = str(error).splitlines()[0]
        print(f"error: the GPU is out of memory: {advice_out_of_memory} ({first_line})", file=sys.stderr)
        return 1
    except (TrainingError, DfresearchError, PretrainedWeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        print(f"error: {place}{error.strerror}", file=sys.stderr)
        return 1
