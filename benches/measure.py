"""Timing that all benches share: contenders in alternating rounds, medians, spread, and the ratios of rounds."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

Batches = Iterable[tuple[object, object]]


@dataclass(frozen=True)
class Spread:
    """The median of some rounds' figures, the least and the greatest of them."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """The three figures to four digits, for report.json."""
        return {name: float(f"{value:.4g}") for name, value in asdict(self).items()}


def ratios(figures: Iterable[float], references: Iterable[float]) -> Spread:
    """The medians' ratio, and the least and greatest ratio of a round: a round's two sides saw the same machine."""
    figures, references = list(figures), list(references)
    rounds = [figure / reference for figure, reference in zip(figures, references, strict=True)]
    return Spread(statistics.median(figures) / statistics.median(references), min(rounds), max(rounds))


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call every contender once a round, each round beginning with the next of them: figures by name, in order."""
    names = list(contenders)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(contenders[name]())
    return figures


def count_samples(batches: Batches) -> int:
    """Go through batches as a training does that computes nothing, and count the labels."""
    return sum(len(labels) for _, labels in batches)  # type: ignore[arg-type]


def epoch_rate(make_loader: Callable[[], Batches]) -> float:
    """Samples per second of one whole epoch, from making the loader to its last batch."""
    start = time.perf_counter()
    count = count_samples(make_loader())
    return count / (time.perf_counter() - start)


def steady_rate(loader: Batches, least_seconds: float) -> float:
    """Samples per second of whole epochs in a row, as many as take `least_seconds`."""
    start = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - start) < least_seconds:
        epoch = count_samples(loader)
        if epoch == 0:
            raise RuntimeError("the loader delivers no samples: nothing can be timed")
        count += epoch
    return count / elapsed


def format_rate(rate: float) -> str:
    """Samples per second to three digits."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def format_ratio(ratio: float) -> str:
    """A ratio to the digits that its noise leaves."""
    return f"{ratio:,.0f}x" if ratio >= 20 else f"{ratio:.1f}x" if ratio >= 3 else f"{ratio:.2f}x"
