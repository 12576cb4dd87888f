"""Batches on the device that trains, each copied there while the step before it is computed.

```text
 taken        1   2               3               4
 copied           1   2               3               4
 handed out           1               2               3
 computed             step 1 ───────► step 2 ───────► step 3 ───────►
```

One batch is taken before its turn. A loader that can be stopped and resumed is told what has been handed out, so that a
training that ends here goes on with the batch that it has not seen.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Batch", "BatchCopy", "PositionKeeper", "SideStreamCopy", "device_batches", "one_ahead"]

Batch = tuple[Tensor, Tensor]
"""Inputs and labels."""


def device_batches(loader: Iterable[Batch], device: torch.device | str) -> Iterator[Batch]:
    """Iterate over `loader` with inputs and labels on `device`: one epoch, the same batches in the same order.

    With CUDA, the copy of the next batch runs on a stream of its own beside the step that is being computed, from
    pinned memory without the processor's help. For this, one batch is taken before its turn, and the device holds one
    more. A `BatchLoader`'s `state_dict` does not count it before it is handed out, and an error of the loader is raised
    in its own turn.

    On a CPU the loader's tensors are handed on as they are, and nothing is taken ahead.
    """
    device = torch.device(device)
    if device.type == "cuda":
        yield from one_ahead(loader, SideStreamCopy(device))
        return
    for inputs, labels in loader:
        yield inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class BatchCopy(Protocol):
    """A copy of batches to another memory, in two parts between which something else can run."""

    def start(self, batch: Batch) -> Batch:
        """Begin to copy and return what will be the copy."""

    def finish(self, batch: Batch) -> Batch:
        """Return the copy, ready for use; no later copy has been started."""


@runtime_checkable
class PositionKeeper(Protocol):
    """A loader whose saved position may stay behind what has been taken from it, as `dfresearch.data.BatchLoader`."""

    def position(self) -> dict[str, Any]:
        """Return the position after the last batch that was taken."""

    def hold_position(self, position: dict[str, Any] | None) -> None:
        """Save `position` from now on, or None: again the one after the last batch that was taken."""


class SideStreamCopy:
    """Copies batches to a GPU on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        """Make the stream on `device`."""
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, batch: Batch) -> Batch:
        """Begin to copy; of pinned memory this returns at once, and torch keeps it until the copy is done."""
        inputs, labels = batch
        with torch.cuda.stream(self._stream):
            # The labels are not pinned: behind the inputs, the processor would wait for the copy of those.
            labels = labels.to(self._device, non_blocking=True)
            return inputs.to(self._device, non_blocking=True), labels

    def finish(self, batch: Batch) -> Batch:
        """Let the current stream wait for the copy, not the processor."""
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for tensor in batch:
            # The memory belongs to the stream of copies, which must not write to it again before the step is computed.
            tensor.record_stream(current)
        return batch


def one_ahead(loader: Iterable[Batch], copy: BatchCopy) -> Iterator[Batch]:
    """Iterate over the copies of `loader`'s batches; a batch is taken, and its copy begun, one turn ahead."""
    keeper = loader if isinstance(loader, PositionKeeper) else None
    batches = iter(loader)
    if keeper is not None:
        keeper.hold_position(keeper.position())
    ahead, error = _take(batches, copy)
    while ahead is not None:
        position = None if keeper is None else keeper.position()
        # Waited for before the next copy is begun, which would be waited for, too.
        batch = copy.finish(ahead)
        ahead, error = _take(batches, copy)
        if keeper is not None:
            keeper.hold_position(position)
        yield batch
    if keeper is not None:
        keeper.hold_position(None)
    if error is not None:
        raise error


def _take(batches: Iterator[Batch], copy: BatchCopy) -> tuple[Batch | None, Exception | None]:
    """Take a batch and begin to copy it; nothing at the end, which an error may be."""
    try:
        batch = next(batches, None)
        return (None if batch is None else copy.start(batch)), None
    except Exception as error:
        return None, error
