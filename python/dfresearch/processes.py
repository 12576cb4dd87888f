"""What one process of a training has for itself: cores to decode on, and its share of the samples.

`torchrun` starts one process for each GPU. They find each other when the script calls
`torch.distributed.init_process_group()`, and only then do they train one model.
"""

import os
import warnings
from collections.abc import Mapping

import torch
from torch import distributed

from dfresearch_rs import ArgumentError

__all__ = ["share_of_epoch", "worker_threads"]


def worker_threads(requested: int | None) -> int:
    """Return how many threads decode: `requested`, but no more than there are cores beside the training's.

    The cores that this process may run on are divided among the processes that `torchrun` has started on this machine.
    Of three and more, one is left to the training. Without a GPU that is so of two as well: the training then computes
    on all cores, with threads that wait for each other in a loop, and a decoder that takes the place of one costs the
    time of them all. Two decoders instead of one take up to twice the processor time for a step, measured on two cores.

    None stands for as many as this allows; less than one is one.
    """
    cores = len(os.sched_getaffinity(0)) // _positive(os.environ, "LOCAL_WORLD_SIZE", 1)
    keeps_one = cores > 2 or not torch.cuda.is_available()
    most = max(1, cores - 1 if keeps_one else cores)
    return most if requested is None else min(max(1, requested), most)


def share_of_epoch(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return which share of an epoch this process loads, and among how many processes it is divided.

    Where both are None they are those of `torch.distributed`, or (0, 1) where it has not been initialised.

    Raises:
        ArgumentError: only one of them is given, or there is no such share.

    Warns:
        UserWarning: `torchrun` has started several processes that have not found each other. Each of them loads all
            samples: shares of their own would make each a model that has seen only a part of them.
    """
    if rank is not None and world_size is not None:
        if not 0 <= rank < world_size:
            raise ArgumentError(f"rank: {rank} is not from 0 to below world_size, which is {world_size}")
        return rank, world_size
    if rank is not None or world_size is not None:
        raise ArgumentError(f"rank and world_size go together: got {rank} and {world_size}")
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    processes = _positive(os.environ, "WORLD_SIZE", 1)
    if processes > 1:
        warnings.warn(
            f"{processes} processes were started together (WORLD_SIZE), but torch.distributed is not initialised: each "
            "loads all samples and trains a model of its own. Call torch.distributed.init_process_group() before the "
            "loader is made, or give rank and world_size",
            stacklevel=3,
        )
    return 0, 1


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    """Read a count that a launcher has set; anything else is as if it were not there."""
    value = environment.get(name, "")
    return int(value) if value.isdecimal() and int(value) > 0 else default
