"""Copies everything that a process prints into a file, and still shows it.

```text
 Python, libraries, child processes ─► file descriptor 1 ─►┌──────────────┐─► what standard output was before
                                       file descriptor 2 ─►│ this file as │─► what standard error was before
                                                           │ a script     │─► the log, line by line
                                                           └──────────────┘
```

The copying is done below Python, so that nothing is missed; by a process of its own, so that the last words of a
process that was killed are in the log too.
"""

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["copied_output", "new_log"]

# A child that outlives the block keeps the copier waiting for its words.
WAIT_SECONDS = 5
CHUNK_BYTES = 65536


def new_log(folder: Path, name: str) -> Path:
    """Make an empty log `{name}_{timestamp}.log`, or the first free `{name}_{timestamp}-{n}.log`, and return its path.

    Raises:
        OSError: it cannot be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    timestamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        path = folder / f"{name}_{timestamp}{'' if number == 1 else f'-{number}'}.log"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path


@contextlib.contextmanager
def copied_output(path: Path) -> Iterator[None]:
    """Append what is printed inside of the `with` block, by whatever part of the process, to `path`.

    Raises:
        OSError: the file cannot be written.
    """
    # Found here, where it can be raised, and not by the copier.
    with path.open("ab"):
        pass
    outputs = [os.dup(1), os.dup(2)]
    pipes = [os.pipe() for _ in outputs]
    inputs = [reading for reading, _ in pipes]
    # -I, -S: nothing but the standard library is needed, and it starts at once.
    command = [sys.executable, "-I", "-S", __file__, str(path), *(str(number) for number in (*inputs, *outputs))]
    # A session of its own: Ctrl-C and `timeout` end the training, and its last words are copied.
    copier = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(*inputs, *outputs), start_new_session=True)
    _flush()
    for descriptor, (reading, writing) in zip((1, 2), pipes, strict=True):
        os.dup2(writing, descriptor)
        os.close(writing)
        os.close(reading)
    try:
        yield
    finally:
        _flush()
        for descriptor, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, descriptor)
            os.close(output)
        with contextlib.suppress(subprocess.TimeoutExpired):
            copier.wait(WAIT_SECONDS)


def _flush() -> None:
    """Pass on what Python holds back, to where it was printed."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _copy(log_path: str, inputs: Sequence[int], outputs: Sequence[int]) -> None:
    """Copy each input to its output as it comes, and whole lines of all inputs to the log.

    A log that cannot be written (the disk is full) is one warning, and the copying goes on: were this process gone, the
    next line that is printed would end the training.
    """
    unfinished = dict.fromkeys(inputs, b"")
    is_warned = False

    def write_log(lines: bytes) -> None:
        nonlocal is_warned
        try:
            while lines:
                lines = lines[log.write(lines) :]
        except OSError as error:
            if not is_warned:
                warning = f"warning: the log is not complete: {log_path}: {error.strerror}\n"
                write_output(outputs[-1], warning.encode())
            is_warned = True

    def write_output(output: int, chunk: bytes) -> None:
        # Who reads the output may be gone (`| head`); the log goes on.
        with contextlib.suppress(OSError), open(output, "wb", closefd=False) as output_file:
            output_file.write(chunk)

    with open(log_path, "ab", buffering=0) as log, selectors.DefaultSelector() as selector:
        for reading, output in zip(inputs, outputs, strict=True):
            selector.register(reading, selectors.EVENT_READ, output)
        while unfinished:
            for key, _ in selector.select():
                chunk = os.read(key.fd, CHUNK_BYTES)
                if not chunk:
                    selector.unregister(key.fd)
                    write_log(unfinished.pop(key.fd))
                    continue
                write_output(key.data, chunk)
                lines, newline, rest = (unfinished[key.fd] + chunk).rpartition(b"\n")
                write_log(lines + newline)
                unfinished[key.fd] = rest


if __name__ == "__main__":
    descriptors = [int(number) for number in sys.argv[2:]]
    _copy(sys.argv[1], descriptors[:2], descriptors[2:])
