"""What a ledger says: outcomes, the experiments that were kept, the running best, the largest gains, memory.

    uv run python -m dfresearch.experiment.report

prints it as text; `analysis.ipynb` draws it. Experiments are numbered from 1 in the ledger's order. The running best is
that of the kept experiments: a score that was discarded as luck is nobody's best.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from dfresearch.experiment.ledger import LEDGER, STATUSES, Experiment, LedgerError, read_ledger

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Improvement",
    "count_outcomes",
    "improvements",
    "improvements_table",
    "kept_table",
    "outcomes_table",
    "plot_memory",
    "plot_outcomes",
    "plot_scores",
    "running_best",
    "text_report",
]

TOP_IMPROVEMENTS = 10
# Tell the outcomes apart for the colour-blind too (Okabe and Ito's palette).
COLOURS = {"keep": "#009E73", "discard": "#999999", "crash": "#D55E00"}


@dataclass(frozen=True)
class Improvement:
    """A kept experiment that raised the best score."""

    number: int
    """The experiment's place in the ledger, from 1."""
    experiment: Experiment
    gain: float
    """How much higher its score is than the best that was kept before."""


def count_outcomes(experiments: Sequence[Experiment]) -> dict[str, int]:
    """Count the experiments of each status, statuses without one included."""
    return {status: sum(experiment.status == status for experiment in experiments) for status in STATUSES}


def running_best(experiments: Sequence[Experiment]) -> list[float]:
    """Return, after each experiment, the best score that was kept so far; NaN before the first one."""
    best, scores = math.nan, []
    for experiment in experiments:
        if experiment.status == "keep" and not experiment.sn34_score <= best:
            best = experiment.sn34_score
        scores.append(best)
    return scores


def improvements(experiments: Sequence[Experiment]) -> list[Improvement]:
    """Return the kept experiments that raised the best score, the largest gain first; the baseline raised nothing.

    Of equal gains the earlier one stands first.
    """
    found = []
    best = running_best(experiments)
    for index, (before, after) in enumerate(pairwise(best), start=1):
        if after > before:
            found.append(Improvement(index + 1, experiments[index], after - before))
    return sorted(found, key=lambda improvement: -improvement.gain)


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------


def outcomes_table(experiments: Sequence[Experiment]) -> str:
    """Return the counts of outcomes and their shares, as a Markdown table."""
    rows = [
        (status, str(count), f"{100 * count / len(experiments):.0f} %" if experiments else "")
        for status, count in count_outcomes(experiments).items()
    ]
    return _table(("outcome", "experiments", "share"), [*rows, ("all", str(len(experiments)), "")])


def kept_table(experiments: Sequence[Experiment]) -> str:
    """Return the kept experiments in the order in which they were tried, as a Markdown table."""
    rows = [
        (str(number), entry.commit, f"{entry.sn34_score:.6f}", f"{entry.accuracy:.4f}", entry.description)
        for number, entry in enumerate(experiments, start=1)
        if entry.status == "keep"
    ]
    return _table(("experiment", "commit", "sn34_score", "accuracy", "description"), rows)


def improvements_table(experiments: Sequence[Experiment], count: int = TOP_IMPROVEMENTS) -> str:
    """Return the largest gains, as a Markdown table."""
    rows = [
        (str(entry.number), f"+{entry.gain:.6f}", f"{entry.experiment.sn34_score:.6f}", entry.experiment.description)
        for entry in improvements(experiments)[:count]
    ]
    return _table(("experiment", "gain", "sn34_score", "description"), rows)


def text_report(experiments: Sequence[Experiment]) -> str:
    """Return all tables, and the best score beside the first, as text."""
    best = [score for score in running_best(experiments) if not math.isnan(score)]
    lines = ["# Outcomes", "", outcomes_table(experiments)]
    if best:
        lines += ["", f"Baseline {best[0]:.6f}, best {best[-1]:.6f}: +{best[-1] - best[0]:.6f}"]
    lines += ["", "# Kept experiments", "", kept_table(experiments)]
    return "\n".join([*lines, "", "# Largest gains", "", improvements_table(experiments), ""])


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Lay a Markdown table out so that it is readable as text."""
    # A bar would begin another column.
    cells = [header, *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


# ---------------------------------------------------------------------------------------------------------------------
# Plots
# ---------------------------------------------------------------------------------------------------------------------


def plot_outcomes(axes: "Axes", experiments: Sequence[Experiment]) -> None:
    """Draw a bar for each outcome, with its count."""
    counts = count_outcomes(experiments)
    bars = axes.bar(list(counts), list(counts.values()), color=[COLOURS[status] for status in counts])
    axes.bar_label(bars)
    axes.set_ylabel("experiments")
    axes.set_title(f"{len(experiments)} experiments")


def plot_scores(axes: "Axes", experiments: Sequence[Experiment]) -> None:
    """Draw the score of every experiment that has one, and the running best as a line. Crashes are marks below."""
    for status in ("discard", "keep"):
        numbers = _numbers(experiments, status)
        scores = [experiments[number - 1].sn34_score for number in numbers]
        axes.scatter(numbers, scores, s=24, color=COLOURS[status], label=status, zorder=3)
    crashes = _numbers(experiments, "crash")
    if crashes:
        # At the lower edge, whatever the scores are: a score of 0 would squeeze all others together.
        edge, heights = axes.get_xaxis_transform(), [0.02] * len(crashes)
        axes.plot(crashes, heights, "x", color=COLOURS["crash"], label="crash", transform=edge)
    best = running_best(experiments)
    axes.step(range(1, len(best) + 1), best, where="post", color="black", linewidth=1, label="running best")
    axes.set_xlabel("experiment")
    axes.set_ylabel("sn34_score")
    axes.set_title("Score over time")
    axes.legend()


def plot_memory(axes: "Axes", experiments: Sequence[Experiment]) -> None:
    """Draw the peak memory of every experiment that did not crash."""
    for status in ("discard", "keep"):
        numbers = _numbers(experiments, status)
        memory = [experiments[number - 1].memory_gb for number in numbers]
        axes.scatter(numbers, memory, s=24, color=COLOURS[status], label=status, zorder=3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("experiment")
    axes.set_ylabel("peak GPU memory (GiB)")
    axes.set_title("Memory")
    axes.legend()


def _numbers(experiments: Sequence[Experiment], status: str) -> list[int]:
    return [number for number, experiment in enumerate(experiments, start=1) if experiment.status == status]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report of a ledger and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dfresearch.experiment.report", description="Print what a ledger of experiments says."
    )
    parser.add_argument("ledger", type=Path, nargs="?", default=LEDGER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        experiments = read_ledger(options.ledger)
    except (LedgerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text_report(experiments), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
