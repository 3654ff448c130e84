"""A small curve for the terminal, plotted with braille dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

# Bit of each dot in a braille character, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


def plot_curve(
    steps: Sequence[float],
    values: Sequence[float],
    *,
    bounds: tuple[float, float] | None = None,
    percent: bool = False,
    unit: str = "environment steps",
    width: int = 56,
    height: int = 6,
) -> str:
    """Lines of text with the curve of ``values`` over ``steps`` and both axes.

    Args:
        steps: increasing.
        values: one per step; neighbours are joined by straight lines.
        bounds: lowest and highest value of the axis; None fits them to the values.
        percent: label the axis in percent.
        unit: what ``steps`` count.
        width, height: of the plot, in characters.
    """
    if len(steps) != len(values) or not steps:
        raise ValueError(f"a curve needs one value per step, got {len(steps)} steps and {len(values)} values")
    low, high = bounds or _fitted(values)
    columns, rows = 2 * width, 4 * height
    cells = [[_BLANK] * width for _ in range(height)]
    span = steps[-1] - steps[0]
    previous: int | None = None
    for column in range(columns):
        step = steps[0] + span * column / (columns - 1)
        fraction = (_interpolate(steps, values, step) - low) / (high - low)
        row = round((1 - min(max(fraction, 0.0), 1.0)) * (rows - 1))
        # A steep piece fills the dots between it and its neighbour, so that the line has no gaps.
        reach = range(row, previous, 1 if previous > row else -1) if previous not in (None, row) else (row,)
        for dot in (row, *reach):
            cells[dot // 4][column // 2] |= _DOTS[dot % 4][column % 2]
        previous = row
    labels = [_label(high - (high - low) * line / (height - 1), percent) for line in range(height)]
    margin = max(map(len, labels))
    lines = [
        f"{labels[line] if line % (height - 1) == 0 else '':>{margin}} ┤{''.join(map(chr, cells[line]))}"
        for line in range(height)
    ]
    ends = f"{steps[0]:,.0f}", f"{steps[-1]:,.0f} {unit}"
    lines.append(f"{'':>{margin}} └{'─' * width}")
    lines.append(f"{'':>{margin}}  {ends[0]}{ends[1]:>{width - len(ends[0])}}")
    return "\n".join(lines)


def _fitted(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-12 * max(1.0, abs(high)) else (low - 0.5, high + 0.5)


def _interpolate(steps: Sequence[float], values: Sequence[float], step: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(zip(steps, values, strict=True)):
        if step <= x1:
            return y0 + (y1 - y0) * (step - x0) / max(x1 - x0, math.ulp(1.0))
    return values[-1]


def _label(value: float, percent: bool) -> str:
    return f"{value:.0%}" if percent else f"{value:.3g}"
