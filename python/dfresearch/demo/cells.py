"""Squares of a photograph that share no pixel: what the samples of both classes are cut from."""

import numpy as np

SMALLEST_CELL_SIDE = 128  # photographs that hold no two cells of this side are left out
# Mean difference between diagonal neighbours, in grey levels: flatter crops are clear sky or blur, without any trace.
MINIMUM_TEXTURE = 1.0


def draw_cells(
    width: int, height: int, sides: tuple[int, int], random: np.random.Generator
) -> list[tuple[int, int, int, bool]]:
    """Cut a photograph into (left, top, side, synthetic): bands of squares, the classes by turns.

    `sides` are the least and the greatest side in pixels, drawn for each band; a photograph that is too small for two
    such squares side by side is cut smaller, down to SMALLEST_CELL_SIDE, and not at all below that.
    """
    low, high = sides
    low = min(low, height, width // 2)
    if low < SMALLEST_CELL_SIDE:
        return []
    cells = []
    top = 0
    while top + low <= height:
        side = int(random.integers(low, high, endpoint=True))
        side = min(side, height - top, max(low, width // 2))
        count = width // side
        left = int(random.integers(0, width - count * side, endpoint=True))
        first_synthetic = bool(random.integers(2))
        cells += [(left + i * side, top, side, first_synthetic ^ bool(i % 2)) for i in range(count)]
        top += side
    return cells


def measure_texture(pixels: np.ndarray) -> float:
    """Mean difference between diagonal neighbours of pixels u8 [H, W, 3], in grey levels."""
    grey = pixels.mean(axis=2)
    return float(np.abs(grey[1:, 1:] - grey[:-1, :-1]).mean())
