"""What goes on, shown while it does: in place on a terminal, a line for each dataset as it ends otherwise."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from dfresearch_rs import PrepareProgress, PrepareReport

__all__ = ["CheckDisplay", "DownloadDisplay", "download_display", "shown_bytes", "shown_seconds"]

# How often a terminal is redrawn.
REDRAW_SECONDS = 0.2
# The past that a rate is taken over: shorter jumps about, longer lags behind.
RATE_SECONDS = 10.0
# Datasets that are shown at a time, before they are only counted.
MAX_LINES = 12
NAME_WIDTH = 32
# What the last line of a terminal is for: the cursor.
SPARE_LINES = 2

CLEAR_BELOW = "\x1b[J"
WAITING = "waiting"
COMPLETE = "OK"
KEPT = "KEPT"

BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
UNIT = 1000


def shown_bytes(count: float) -> str:
    """Return a number of bytes as people read it: `999 B`, `1.5 MB`; a thousand of each unit make the next."""
    unit = 0
    # What would be rounded to 1000 is 1.0 of the next unit.
    while count >= UNIT - 0.05 and unit < len(BYTE_UNITS) - 1:
        count /= UNIT
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.1f} {BYTE_UNITS[unit]}"


def shown_seconds(seconds: float | None) -> str:
    """Return a time as people read it: `8 s`, `1:05 min`, `2:03 h`; `?` when it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def is_final(state: str) -> bool:
    """Tell whether a dataset is through: its state is a status then, such as `OK`."""
    return state.isupper()


class Rate:
    """How fast a count grows, over the last seconds."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def add(self, now: float, count: float) -> None:
        """Take the count at a time."""
        self._points.append((now, count))
        while len(self._points) > 2 and self._points[1][0] <= now - RATE_SECONDS:
            del self._points[0]

    def per_second(self) -> float:
        """Return the growth per second; 0 while there is nothing to compare."""
        if len(self._points) < 2:
            return 0.0
        (start, first), (end, last) = self._points[0], self._points[-1]
        return (last - first) / (end - start) if end > start else 0.0


class Terminal:
    """A block of lines that is drawn over itself, below lines that stay."""

    def __init__(self, stream: TextIO, size: Callable[[], tuple[int, int]] = shutil.get_terminal_size) -> None:
        self._stream = stream
        self._size = size
        self._drawn = 0

    @property
    def lines(self) -> int:
        """How many lines a block may have."""
        return max(1, self._size()[1] - SPARE_LINES)

    def draw(self, block: Sequence[str], stay: Sequence[str] = ()) -> None:
        """Replace the block; the lines of `stay` are printed above it for good."""
        # A line that wraps would be two, and the block could not be found again.
        width = max(1, self._size()[0] - 1)
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        lines = [*stay, *(line[:width] for line in block[: self.lines])]
        self._stream.write(up + CLEAR_BELOW + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = min(len(block), self.lines)


class DownloadDisplay:
    """Shows the progress of a download; `update` is called with it as often as there is news."""

    def __init__(self, stream: TextIO, terminal: Terminal | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream`, or in place where there is a terminal."""
        self._stream = stream
        self._terminal = terminal
        self._clock = clock
        self._ended: set[str] | None = None
        self._num_unchanged = 0
        self._rates: dict[str, tuple[Rate, Rate]] = {}
        self._drawn_at = float("-inf")

    def update(self, news: "PrepareProgress") -> None:
        """Print the datasets that ended since the last call, and redraw when it is time to."""
        lines = []
        if self._ended is None:
            # Whole since an earlier run: a line each would hide what happens now.
            self._ended = {each[0] for each in news.datasets if each[1] == COMPLETE}
            if self._ended:
                lines.append(f"{len(self._ended)} of {len(news.datasets)} datasets are complete already")
        ended = [each for each in news.datasets if is_final(each[1]) and each[0] not in self._ended]
        self._ended.update(each[0] for each in ended)
        lines += self._told(ended)
        if self._terminal is None:
            self._print(lines)
            return
        now = self._clock()
        if not lines and now - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = now
        self._terminal.draw(self._block(news, now), stay=lines)

    def finish(self, report: "PrepareReport") -> None:
        """Print the datasets that ended since the last call, and take the block away."""
        told = self._ended or set()
        rest = [each for each in report.datasets if each.name not in told]
        lines = self._told((each.name, each.status, each.samples, each.wanted, each.bytes) for each in rest)
        if self._num_unchanged:
            lines.append(f"{self._num_unchanged} of {len(report.datasets)} datasets needed nothing")
        if self._terminal is None:
            self._print(lines)
        else:
            self._terminal.draw([], stay=lines)

    def clear(self) -> None:
        """Take the block away."""
        if self._terminal is not None:
            self._terminal.draw([])

    def _told(self, ended: Iterable[tuple[str, str, int, int, int]]) -> list[str]:
        """Return a line for each dataset of which something was fetched or should have been; count the others."""
        ended = list(ended)
        changed = [each for each in ended if not _needed_nothing(each[1], each[4])]
        self._num_unchanged += len(ended) - len(changed)
        return [_ended_line(*each) for each in changed]

    def _print(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(line, file=self._stream, flush=True)

    def _block(self, news: "PrepareProgress", now: float) -> list[str]:
        active = [each for each in news.datasets if each[1] != WAITING and not is_final(each[1])]
        lines = []
        for name, state, samples, wanted, size in active:
            by_bytes, by_samples = self._rates.setdefault(name, (Rate(), Rate()))
            by_bytes.add(now, size)
            by_samples.add(now, samples)
            lines.append(_active_line(name, state, samples, wanted, size, by_bytes, by_samples))
        room = min(MAX_LINES, self._terminal.lines - 1 if self._terminal else MAX_LINES)
        if len(lines) > room:
            lines[max(0, room - 1) :] = [f"  and {len(lines) - max(0, room - 1)} more"]
        through = sum(is_final(each[1]) for each in news.datasets)
        total = (
            f"{through} of {len(news.datasets)} datasets, {news.samples} of {news.wanted} samples, "
            f"{shown_bytes(news.bytes)}, {shown_bytes(news.bytes_per_second)}/s, "
            f"{shown_seconds(news.seconds_left)} left"
        )
        return [*lines, total]


def _active_line(name: str, state: str, samples: int, wanted: int, size: int, by_bytes: Rate, by_samples: Rate) -> str:
    speed = by_samples.per_second()
    left = (wanted - samples) / speed if speed > 0 else None
    return (
        f"  {name[:NAME_WIDTH]:{NAME_WIDTH}} {state:9} {samples:>6}/{wanted:<6} {shown_bytes(size):>9} "
        f"{shown_bytes(by_bytes.per_second()) + '/s':>11}  {shown_seconds(left)} left"
    )


def _ended_line(name: str, status: str, samples: int, wanted: int, size: int) -> str:
    counted = f"{samples} of {wanted} samples" if wanted else "no samples"
    return f"{name}: {status}, {counted}, {shown_bytes(size)}"


def _needed_nothing(status: str, size: int) -> bool:
    # What is whole without a byte was so before; a line each would hide the others.
    return status == KEPT or (status == COMPLETE and size == 0)


@contextlib.contextmanager
def download_display(stream: TextIO | None = None) -> Iterator[DownloadDisplay]:
    """Give a display of what `stream`, standard output unless said otherwise, can show; it is cleared at the end."""
    stream = sys.stdout if stream is None else stream
    display = DownloadDisplay(stream, Terminal(stream) if _is_terminal(stream) else None)
    try:
        yield display
    finally:
        display.clear()


class CheckDisplay:
    """Shows how many files of a check are through, on a terminal alone."""

    def __init__(self, total: int, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Count up to `total`, on `stream`."""
        self._terminal = Terminal(stream) if _is_terminal(stream) else None
        self._total = total
        self._clock = clock
        self._rate = Rate()
        self._drawn_at = float("-inf")

    def update(self, done: int) -> None:
        """Take the number of files that are through."""
        now = self._clock()
        if self._terminal is None or now - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = now
        self._rate.add(now, done)
        speed = self._rate.per_second()
        left = (self._total - done) / speed if speed > 0 else None
        self._terminal.draw([f"{done} of {self._total} files, {speed:.0f}/s, {shown_seconds(left)} left"])

    def clear(self) -> None:
        """Take the line away."""
        if self._terminal is not None:
            self._terminal.draw([])


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
