"""Types of command line arguments: a value that no run could use is refused before anything starts."""

import argparse
import math

from dfresearch.training import MAX_SEED

__all__ = ["positive_integer", "positive_number", "seed"]


def positive_integer(text: str) -> int:
    """Parse a whole number of at least one."""
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than one")
    return value


def positive_number(text: str) -> float:
    """Parse a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no finite number above zero")
    return value


def seed(text: str) -> int:
    """Parse a seed that every generator takes."""
    value = _integer(text)
    if not 0 <= value <= MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {MAX_SEED}")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
