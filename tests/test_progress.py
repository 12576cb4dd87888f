"""What a person sees of a download while it goes on: in place on a terminal, a line a dataset elsewhere."""

import io
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfresearch import progress
from dfresearch.progress import CheckDisplay, DownloadDisplay, Terminal, shown_bytes, shown_seconds


class Screen(io.StringIO):
    """A terminal of a size: knows the sequences that are used, and what they leave on it."""

    def __init__(self, columns=100, lines=24):
        super().__init__()
        self.columns, self.height = columns, lines
        self.rows, self.cursor = [""], 0

    def isatty(self):
        return True

    def write(self, text):
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\n|[^\x1b\n]+", text):
            if part == "\n":
                self._next_row()
            elif part == "\x1b[J":
                del self.rows[self.cursor :]
                self.rows.append("")
            elif part.startswith("\x1b"):
                count = int(re.fullmatch(r"\x1b\[(\d+)F", part)[1])
                # What scrolled out of sight cannot be reached.
                assert count < self.height
                self.cursor -= count
                assert self.cursor >= 0
            else:
                for index, row in enumerate(self.wrapped(part)):
                    if index:
                        self._next_row()
                    self.rows[self.cursor] = row
        return len(text)

    def _next_row(self):
        self.cursor += 1
        if self.cursor == len(self.rows):
            self.rows.append("")

    def wrapped(self, line):
        return [line[start : start + self.columns] for start in range(0, len(line), self.columns)]

    def shown(self):
        return [row for row in self.rows if row]

    def size(self):
        return self.columns, self.height


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def news(*datasets, speed=0, left=None):
    return SimpleNamespace(
        datasets=list(datasets),
        samples=sum(each[2] for each in datasets),
        wanted=sum(each[3] for each in datasets),
        bytes=sum(each[4] for each in datasets),
        bytes_per_second=speed,
        seconds_left=left,
    )


def report(*datasets):
    fields = ("name", "status", "samples", "wanted", "bytes", "reason")
    return SimpleNamespace(datasets=[SimpleNamespace(**dict(zip(fields, each, strict=True))) for each in datasets])


def test_without_a_terminal_each_dataset_is_a_line_when_it_ends():
    stream = io.StringIO()
    with progress.download_display(stream) as display:
        display.update(news(("done", "OK", 5, 5, 10), ("a", "waiting", 0, 5, 0), ("b", "waiting", 0, 5, 0)))
        display.update(news(("done", "OK", 5, 5, 10), ("a", "fetching", 2, 5, 9), ("b", "GATED", 0, 5, 0)))
        display.update(news(("done", "OK", 5, 5, 10), ("a", "fetching", 4, 5, 9), ("b", "GATED", 0, 5, 0)))
        assert "a:" not in stream.getvalue()
        display.finish(report(("done", "OK", 5, 5, 10, ""), ("a", "OK", 5, 5, 2500, ""), ("b", "GATED", 0, 5, 0, "")))
    assert stream.getvalue().splitlines() == [
        "1 of 3 datasets are complete already",
        "b: GATED, 0 of 5 samples, 0 B",
        "a: OK, 5 of 5 samples, 2.5 kB",
    ]


def test_datasets_that_needed_nothing_are_counted():
    stream = io.StringIO()
    with progress.download_display(stream) as display:
        display.update(news(("a", "waiting", 0, 5, 0), ("b", "waiting", 0, 5, 0)))
        display.update(news(("a", "OK", 5, 5, 0), ("b", "KEPT", 0, 0, 0), ("c", "FAILED", 0, 0, 0)))
        display.finish(report(("a", "OK", 5, 5, 0, ""), ("b", "KEPT", 0, 0, 0, ""), ("c", "FAILED", 0, 5, 0, "why")))
    assert stream.getvalue().splitlines() == ["c: FAILED, no samples, 0 B", "2 of 3 datasets needed nothing"]


def test_a_terminal_is_redrawn_in_place():
    screen, clock = Screen(), Clock()
    display = DownloadDisplay(screen, Terminal(screen, screen.size), clock)
    for second in range(5):
        clock.now = float(second)
        display.update(
            news(("a", "fetching", 10 * second, 100, 1000 * second), ("b", "waiting", 0, 5, 0), speed=2e6, left=65)
        )
    assert screen.shown() == [
        "  a                                fetching      40/100       4.0 kB    1.0 kB/s  6 s left",
        "0 of 2 datasets, 40 of 105 samples, 4.0 kB, 2.0 MB/s, 1:05 min left",
    ]
    # More often than people look, nothing is drawn.
    clock.now += 0.01
    before = len(screen.rows), screen.shown()
    display.update(news(("a", "fetching", 41, 100, 4100), ("b", "waiting", 0, 5, 0)))
    assert (len(screen.rows), screen.shown()) == before
    # An end is told at once, and stays.
    display.update(news(("a", "OK", 100, 100, 9000), ("b", "fetching", 1, 5, 10)))
    assert screen.shown()[0] == "a: OK, 100 of 100 samples, 9.0 kB"
    assert screen.shown()[1].split()[:2] == ["b", "fetching"]
    display.finish(report(("a", "OK", 100, 100, 9000, ""), ("b", "PARTIAL", 3, 5, 20, "why")))
    assert screen.shown() == ["a: OK, 100 of 100 samples, 9.0 kB", "b: PARTIAL, 3 of 5 samples, 20 B"]


def test_a_display_that_is_left_by_an_error_takes_its_block_away(monkeypatch):
    screen = Screen()
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyboardInterrupt), progress.download_display(screen) as display:  # noqa: PT012
        display.update(news(("a", "fetching", 1, 5, 10)))
        assert len(screen.shown()) == 2
        raise KeyboardInterrupt
    assert screen.shown() == []


def test_a_dumb_terminal_gets_lines(monkeypatch):
    screen = Screen()
    monkeypatch.setenv("TERM", "dumb")
    with progress.download_display(screen) as display:
        display.update(news(("a", "fetching", 1, 5, 10)))
    assert screen.shown() == []


STATES = st.lists(st.sampled_from(["waiting", "fetching", "OK", "FAILED"]), min_size=1, max_size=60)


@given(columns=st.integers(2, 120), lines=st.integers(3, 40), steps=st.lists(STATES, max_size=5))
def test_any_terminal_keeps_what_ended_and_redraws_the_rest(columns, lines, steps):
    screen, clock = Screen(columns, lines), Clock()
    display = DownloadDisplay(screen, Terminal(screen, screen.size), clock)
    final, kept = {}, []
    for number, states in enumerate(steps):
        clock.now += 1
        states = [final.get(index, state) for index, state in enumerate(states)]
        fresh = {index: state for index, state in enumerate(states) if state.isupper() and index not in final}
        final |= fresh
        if number == 0 and "OK" in states:
            kept.append(f"{states.count('OK')} of {len(states)} datasets are complete already")
            fresh = {index: state for index, state in fresh.items() if state != "OK"}
        kept += [f"dataset-{index}: {state}, 1 of 2 samples, 3 B" for index, state in fresh.items()]
        display.update(news(*((f"dataset-{index}", state, 1, 2, 3) for index, state in enumerate(states))))
        stays = [row for line in kept for row in screen.wrapped(line)]
        assert screen.rows[: len(stays)] == stays
        block = [row for row in screen.rows[len(stays) :] if row]
        assert 1 <= len(block) <= min(states.count("fetching") + 1, lines - 2, progress.MAX_LINES + 1)
        assert all(len(row) < columns for row in block)
    display.clear()
    assert screen.shown() == [row for line in kept for row in screen.wrapped(line)]


def test_a_check_counts_on_a_terminal_alone(monkeypatch):
    screen, clock = Screen(), Clock()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.shutil, "get_terminal_size", screen.size)
    display = CheckDisplay(100, screen, clock)
    for second in range(3):
        clock.now = float(second)
        display.update(20 * second)
    assert screen.shown() == ["40 of 100 files, 20/s, 3 s left"]
    display.clear()
    assert screen.shown() == []
    stream = io.StringIO()
    CheckDisplay(100, stream, clock).update(1)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1250, "1.2 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (1.5e9, "1.5 GB"),
        (2e12, "2.0 TB"),
        (5e18, "5000.0 PB"),
    ],
)
def test_bytes_are_read_by_people(count, text):
    assert shown_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (3599, "59:59 min"),
        (7385, "2:03 h"),
        (1e6, "277:46 h"),
    ],
)
def test_times_are_read_by_people(seconds, text):
    assert shown_seconds(seconds) == text
