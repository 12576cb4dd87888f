"""What the entries of both augmentation tables share: a native operation, and the range its parameter is drawn from."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

import dfresearch_rs

__all__ = ["TableOperation", "uniform"]


def uniform(rng: np.random.Generator | None, low: float, high: float) -> float:
    """Draw from [low, high), from ``np.random``'s global state where no generator is given."""
    drawn = np.random.random() if rng is None else rng.random()
    return low + (high - low) * drawn


@dataclasses.dataclass(frozen=True)
class TableOperation:
    """An entry of a table, with one field: the range. The native code reads ``operation`` and ``range``.

    A range the wrong way round, or outside of what the operation accepts, is refused right here; so is a codec that
    this machine's FFmpeg has no encoder for.
    """

    operation: ClassVar[str]
    check: ClassVar[Callable[[str, float, float], None]]
    """Raises `AugmentError` for a range that the operation does not accept."""

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value of the parameter."""
        (field,) = dataclasses.fields(self)
        return getattr(self, field.name)

    def __post_init__(self) -> None:
        try:
            low, high = map(float, self.range)
        except (TypeError, ValueError):
            (field,) = dataclasses.fields(self)
            raise dfresearch_rs.AugmentError(
                f"augmentation {self.operation}: {field.name} is {self.range!r}; two numbers are expected, (low, high)"
            ) from None
        type(self).check(self.operation, low, high)
