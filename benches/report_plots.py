"""The report's two plots, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from measure import format_rate, format_ratio

INK, FAINT, GRID = "#333333", "#767676", "#e4e4e4"
# Baseline, first epoch, steady state: told apart by lightness alone, too.
COLOURS = {"baseline": "#8c8c8c", "first": "#5aa2cf", "steady": "#0b4a7d"}
NAMES = {"baseline": "baseline", "first": "ours, first epoch", "steady": "ours, steady state"}
STARVED_NAMES = {"baseline": "baseline", "first epoch": "first", "steady state": "steady"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.hashsalt": "dfresearch",
}


def save(figure: Figure, path: Path) -> None:
    # No date, so that the same figures give the same file.
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    pyplot.close(figure)


def clear_frame(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)


def plot_throughput(works: list[dict[str, Any]], path: Path) -> None:
    """Samples per second of the baseline, the first epoch and the steady state, a line for each work."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(8.2, 1.5 + 0.62 * len(works)), layout="constrained")
        clear_frame(axes)
        axes.set_xscale("log")
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        for row, work in enumerate(works):
            at = len(works) - 1 - row
            medians = {name: work[name]["median"] for name in COLOURS}
            axes.plot([min(medians.values()), max(medians.values())], [at, at], color="#cfcfcf", linewidth=2, zorder=1)
            for name, colour in COLOURS.items():
                spread = work[name]
                axes.plot(
                    [spread["least"], spread["greatest"]], [at, at], color=colour, linewidth=5, alpha=0.35, zorder=2
                )
                axes.scatter(
                    spread["median"], at, s=64, color=colour, zorder=3, label=NAMES[name] if row == 0 else None
                )
            for name in ("first", "steady"):
                ratio = format_ratio(work[f"{name}_ratio"]["median"])
                axes.annotate(
                    ratio,
                    (medians[name], at),
                    xytext=(0, 9),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8.5,
                    color=COLOURS[name],
                )
            axes.annotate(
                f"{format_rate(medians['baseline'])}/s",
                (medians["baseline"], at),
                xytext=(0, -16),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=FAINT,
            )
            axes.annotate(
                f"{format_rate(medians['steady'])}/s",
                (medians["steady"], at),
                xytext=(0, -16),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=FAINT,
            )
        axes.set_yticks(range(len(works)), [work["title"] for work in reversed(works)], color=INK)
        axes.set_ylim(-0.6, len(works) - 0.35)
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("samples per second (logarithmic)")
        figure.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.2, columnspacing=1.4)
        save(figure, path)


def plot_starvation(starvation: list[dict[str, Any]], path: Path) -> None:
    """The share of time starved against the step time, a panel for each work."""
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            1, len(starvation), figsize=(8.2, 3.4), sharey=True, layout="constrained", squeeze=False
        )
        for axes, work in zip(panels[0], starvation, strict=True):
            clear_frame(axes)
            axes.grid(axis="y", color=GRID, linewidth=0.8)
            steps = [row["step_milliseconds"] for row in work["rows"]]
            for name, key in STARVED_NAMES.items():
                spreads = [row["starved"][name] for row in work["rows"]]
                colour = COLOURS[key]
                axes.fill_between(
                    steps,
                    [100 * spread["least"] for spread in spreads],
                    [100 * spread["greatest"] for spread in spreads],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
                medians = [100 * spread["median"] for spread in spreads]
                axes.plot(steps, medians, color=colour, linewidth=2, marker="o", markersize=4, label=NAMES[key])
            axes.set_xscale("log")
            axes.set_xticks(steps, [f"{step:g}" for step in steps])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_ylim(-3, 103)
            axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
            axes.set_title(f"{work['title']}, batches of {work['batch_size']}", fontsize=10, loc="left", color=INK)
            axes.set_xlabel("milliseconds that a step takes")
        panels[0][0].set_ylabel("time without a batch")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, columnspacing=1.4)
        save(figure, path)
