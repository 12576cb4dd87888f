"""Decodes every file completely, in processes of their own: a decoder that crashes or hangs names its file.

A process gets one file at a time. It may take so much memory, processor time and time in all; one that ends, or that
has to be ended, is replaced by another. A file that cost a process its life is tried once more, alone, before it is
blamed: the system may have been short of memory because of another one.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

import dfresearch_rs
from dfresearch.progress import CheckDisplay
from dfresearch.training import TrainingError

__all__ = ["CheckLimits", "CheckReport", "Finding", "check_cache", "check_media", "worker_command"]

# A process that imports its modules from a slow disk.
START_SECONDS = 300.0
# How much of what a process said before it ended is told.
LAST_WORDS = 300
READ_BYTES = 65536


@dataclass(frozen=True)
class CheckLimits:
    """What the decoding of one file may take."""

    memory_bytes: int = 4 * 2**30
    """Address space on top of what the process takes by itself."""
    cpu_seconds: int = 600
    """Processor time, of all threads together."""
    wall_seconds: float = 300.0
    """Time on the clock."""


@dataclass(frozen=True)
class Finding:
    """A file that did not decode."""

    path: Path
    reason: str
    is_content: bool
    """Whether the content is to blame; otherwise the file could not even be read, and may come back."""


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    decoded: int
    """Files that were tried."""
    quarantined: list[tuple[Path, str]]
    """Those whose content is not sound, with the reason."""
    unreadable: list[tuple[Path, str]]
    """Those that could not be read; they are left as they are."""


def check_cache(
    cache_dir: Path,
    modality: str,
    files: Iterable[Path],
    count: int,
    workers: int,
    stream: TextIO,
    limits: CheckLimits = CheckLimits(),  # noqa: B008 -- frozen
    command: Sequence[str] | None = None,
) -> CheckReport:
    """Decode files of a cache, quarantine each that fails as soon as it does, and print both and the totals.

    Args:
        cache_dir: the folder whose index learns of the files.
        modality: "image", "video" or "audio".
        files: the files.
        count: how many they are.
        workers: processes at a time.
        stream: where lines are printed.
        limits: of each file.
        command: of a decoding process; None means `worker_command`'s.
    """
    report = CheckReport(count, [], [])
    display = CheckDisplay(count, stream)
    command = worker_command(modality, limits) if command is None else command
    with contextlib.closing(check_media(files, command, limits, workers, display.update)) as findings:
        for finding in findings:
            display.clear()
            entry = (finding.path, finding.reason)
            if finding.is_content:
                dfresearch_rs.quarantine(cache_dir, [entry])
                report.quarantined.append(entry)
            else:
                report.unreadable.append(entry)
            verb = "quarantined" if finding.is_content else "not readable"
            print(f"{verb}: {finding.path}: {finding.reason}", file=stream, flush=True)
    display.clear()
    print(
        f"{count} {modality} files decoded: {len(report.quarantined)} quarantined, "
        f"{len(report.unreadable)} not readable",
        file=stream,
    )
    return report


def worker_command(modality: str, limits: CheckLimits) -> list[str]:
    """Return the command of a process that decodes files of `modality`."""
    module = "dfresearch.media_check_worker"
    return [sys.executable, "-m", module, modality, str(limits.memory_bytes), str(limits.cpu_seconds)]


def check_media(
    files: Iterable[Path],
    command: Sequence[str],
    limits: CheckLimits = CheckLimits(),  # noqa: B008 -- frozen
    workers: int = 4,
    checked: Callable[[int], None] = lambda _count: None,
) -> Generator[Finding, None, None]:
    """Decode `files`, which are taken as they are needed, and yield those that do not decode as they are found.

    Args:
        files: paths of media files, or of folders of frames.
        command: starts a process that answers as `dfresearch.media_check_worker` does.
        limits: for each file; those of memory and processor are the command's to keep.
        workers: processes at a time.
        checked: called with the number of files that are done, whenever it grows.

    Raises:
        TrainingError: the processes do not start, or do not answer as they should.
    """
    crew = _Crew(command, limits.wall_seconds)
    try:
        done = 0
        suspects: list[Path] = []
        for path, answer in crew.answers(iter(files), workers):
            if isinstance(answer, str):
                suspects.append(path)
                continue
            done += 1
            yield from _findings(path, answer)
            checked(done)
        # The others are through: nobody else takes memory or processors now.
        for path, answer in crew.answers(iter(suspects), 1):
            done += 1
            if isinstance(answer, str):
                yield Finding(path, answer, is_content=True)
            else:
                yield from _findings(path, answer)
            checked(done)
    finally:
        crew.close()


def _findings(path: Path, answer: dict[str, str]) -> Iterator[Finding]:
    if "refused" in answer:
        yield Finding(path, answer["refused"], is_content=True)
    elif "unreadable" in answer:
        yield Finding(path, answer["unreadable"], is_content=False)


class _Crew:
    """Processes that each have a file at a time; everything happens in the thread that asks for answers."""

    def __init__(self, command: Sequence[str], wall_seconds: float) -> None:
        self._command = list(command)
        self._wall_seconds = wall_seconds
        self._selector = selectors.DefaultSelector()
        self._processes: set[_Process] = set()

    def answers(self, files: Iterator[Path], count: int) -> Iterator[tuple[Path, dict[str, str] | str]]:
        """Yield each file with its process's answer, or with the reason why the process did not live to give one."""
        for process in list(self._processes)[count:]:
            self._dismiss(process)
        waiting: deque[tuple[Path, dict[str, str] | str]] = deque()
        files_left = True
        while True:
            while files_left and (idle := self._idle(count)) is not None:
                path = next(files, None)
                if path is None:
                    files_left = False
                else:
                    idle.give(path, self._wall_seconds)
            if not any(process.path is not None for process in self._processes):
                return
            self._wait(waiting)
            while waiting:
                yield waiting.popleft()

    def _idle(self, count: int) -> "_Process | None":
        for process in self._processes:
            if process.path is None:
                return process
        if len(self._processes) >= count:
            return None
        process = _Process(self._command)
        self._processes.add(process)
        self._selector.register(process.output, selectors.EVENT_READ, process)
        return process

    def _wait(self, answered: deque[tuple[Path, dict[str, str] | str]]) -> None:
        """Wait until a process answers or ends, or its time is over."""
        nearest = min(process.deadline for process in self._processes if process.path is not None)
        for key, _events in self._selector.select(max(0.0, nearest - time.monotonic())):
            process: _Process = key.data
            path = process.path
            content = os.read(process.output.fileno(), READ_BYTES)
            if not content:
                reason = process.ending()
                self._dismiss(process)
                if not process.is_ready:
                    raise TrainingError(f"{' '.join(self._command)} does not start: {reason}")
                if path is not None:
                    answered.append((path, reason))
            elif (answer := process.take(content, self._wall_seconds)) is not None and path is not None:
                answered.append((path, answer))
        now = time.monotonic()
        for process in [process for process in self._processes if process.path is not None and process.deadline < now]:
            path = process.path
            self._dismiss(process)
            if not process.is_ready:
                raise TrainingError(f"{' '.join(self._command)} is not ready after {START_SECONDS:.0f} seconds")
            if path is not None:
                answered.append((path, f"the decoder was not done after {self._wall_seconds:g} seconds"))

    def _dismiss(self, process: "_Process") -> None:
        self._selector.unregister(process.output)
        self._processes.discard(process)
        process.end()

    def close(self) -> None:
        """End all processes."""
        for process in list(self._processes):
            self._dismiss(process)
        self._selector.close()


class _Process:
    """A process that decodes, and the file that it has."""

    def __init__(self, command: Sequence[str]) -> None:
        # A file, since a pipe that nobody reads would fill up.
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed when the process is ended
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            # Ctrl-C is for whoever asked; it ends the processes itself.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout
        self._words_from = 0
        self._received = b""
        self.path: Path | None = None
        self.is_ready = False
        self.deadline = time.monotonic() + START_SECONDS

    def give(self, path: Path, wall_seconds: float) -> None:
        """Let it decode `path`; the time of the first file begins when the process is ready for it."""
        self.path = path
        self._words_from = os.fstat(self._words.fileno()).st_size
        if self.is_ready:
            self.deadline = time.monotonic() + wall_seconds
        try:
            self._input.write(json.dumps(os.fspath(path)).encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            # It ended between two files: its output ends, too, and says so.
            pass

    def take(self, content: bytes, wall_seconds: float) -> dict[str, str] | None:
        """Return the answer for the file that it has, once all of the answer is there."""
        self._received += content
        while b"\n" in self._received:
            line, self._received = self._received.split(b"\n", 1)
            try:
                answer = json.loads(line)
            except ValueError:
                raise TrainingError(f"a decoding process answered {line!r}") from None
            if not self.is_ready:
                self.is_ready = True
                self.deadline = time.monotonic() + wall_seconds
                continue
            self.path = None
            return dict(answer)
        return None

    def ending(self) -> str:
        """Say how the process ended, after its output did."""
        code = self._process.wait()
        # What it said since it got the file, of which the end tells the most.
        self._words.seek(max(self._words_from, os.fstat(self._words.fileno()).st_size - LAST_WORDS))
        said = self._words.read().decode(errors="replace").strip().replace("\n", " | ")
        if code < 0:
            name = signal.Signals(-code).name
            reason = {
                "SIGXCPU": "the decoder took more processor time than the check allows",
                "SIGKILL": "the decoder was killed (SIGKILL): out of memory?",
            }.get(name, f"the decoder crashed ({name})")
        else:
            reason = f"the decoder ended with exit code {code}"
        return f"{reason}: {said}" if said else reason

    def end(self) -> None:
        """End it now, and whatever it started."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()
            self._process.wait()
        for stream in (self._input, self.output, self._words):
            # What was written for a process that ended before it read it.
            with contextlib.suppress(BrokenPipeError):
                stream.close()
