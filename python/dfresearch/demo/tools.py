"""Commands that the demonstration data is made with, run so that a failure says what to do."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

NAMED_LINES = 4  # of what a command printed when it failed


class ToolError(RuntimeError):
    """A command is not installed or failed."""


def run_tool(command: Sequence[str], standard_input: bytes = b"") -> bytes:
    """Run a command and return what it wrote to its standard output.

    Raises:
        ToolError: it is not installed, or it failed; its last lines are named.

    """
    try:
        process = subprocess.run(command, input=standard_input, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ToolError(f"{command[0]} is not installed: `make setup` installs it or says how") from error
    if process.returncode != 0:
        said = " | ".join(process.stderr.decode(errors="replace").strip().splitlines()[-NAMED_LINES:])
        raise ToolError(f"`{' '.join(command)}` failed with exit code {process.returncode}: {said or 'no message'}")
    return process.stdout


@contextmanager
def single_torch_thread() -> Iterator[None]:
    """Let torch compute on one thread: where samples are made in parallel, more would get into each other's way."""
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def map_in_parallel(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Apply `function` to every item, one thread per core; results in the items' order, the first error is raised."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
