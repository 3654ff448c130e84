"""Curves and bins as SVG paths. They are stretched to the width of the page, so that text stays outside of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.view.grid import Grid
from zoomrl.demos.view.markup import Html, element

WIDTH, HEIGHT = 2000, 1000
_RULED = 200
"""Cells of the second level up to which their edges are shown."""


def curve(at: Sequence[int], values: NDArray[np.floating], low: float, high: float) -> Html:
    """Path through ``values`` [N] at the steps ``at`` (the last of which is the right edge), from low to high.

    With one value less than steps, the value of a step is kept up to the next.
    """
    x = _x(at)
    span = high - low
    y = np.rint((high - np.asarray(values, np.float64)) / span * HEIGHT if span > 0 else np.full(len(values), 500.0))
    y = y.astype(np.int64)
    if len(y) < len(x):
        x, y = np.repeat(x, 2)[1:-1], np.repeat(y, 2)
    dx, dy = np.diff(x), np.diff(y)
    return Html(f"M{x[0]} {y[0]}" + "".join(f"l{right} {down}" for right, down in zip(dx, dy, strict=True)))


def boxes(at: Sequence[int], cells: NDArray[np.int64], count: int) -> Html:
    """Path around the cell, of ``count``, that is taken at each step: [N] for N + 1 steps ``at``."""
    x = _x(at)
    begins = np.flatnonzero(np.diff(cells, prepend=-1))
    ends = [*begins[1:], len(cells)]
    parts = []
    for begin, end in zip(begins, ends, strict=True):
        top, bottom = _edges(int(cells[begin]), count)
        parts.append(f"M{x[begin]} {top}H{x[end]}V{bottom}H{x[begin]}z")
    return Html("".join(parts))


def action_plot(at: Sequence[int], unit: NDArray[np.float32], cells: NDArray[np.int64], grid: Grid) -> Html:
    """One action dimension [N] over the grid: bands of the first level, cells of the last, and the curve itself."""
    bands = _bands(np.unique(cells // grid.bins ** (grid.levels - 1)), grid.bins)
    ruled = grid.levels > 1 and grid.bins**2 <= _RULED
    return svg(
        element("path", class_="band", d=bands),
        element("path", class_="rule fine", d=_rules(grid.bins**2)) if ruled else "",
        element("path", class_="rule", d=_rules(grid.bins)),
        element("path", class_="cell", d=boxes(at, cells, grid.cells)),
        element("path", class_="line", d=curve(at, unit, -1.0, 1.0)),
    )


def ladder(path: NDArray[np.int64], bins: int) -> Html:
    """The zoom of one step: a column for each level, with its bins [L] marked; a script moves the marks."""
    columns: list[Html] = []
    for level, index in enumerate(path):
        top, bottom = _edges(int(index), bins)
        left = level * 100
        edges = Html("".join(f"M{left} {round(edge * HEIGHT / bins)}h80" for edge in range(1, bins)))
        columns += [
            element("rect", class_="level", x=left, y=0, width=80, height=HEIGHT),
            element("rect", class_="chosen", x=left, y=top, width=80, height=bottom - top),
            element("path", class_="rule", d=edges),
        ]
    return element(
        "svg",
        *columns,
        class_="ladder",
        viewBox=f"0 0 {len(path) * 100 - 20} {HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def svg(*children: object) -> Html:
    """A plot of these paths."""
    return element("svg", *children, viewBox=f"0 0 {WIDTH} {HEIGHT}", preserveAspectRatio="none", aria_hidden="true")


def _x(at: Sequence[int]) -> NDArray[np.int64]:
    steps = np.asarray(at, np.float64)
    return np.rint(steps / steps[-1] * WIDTH).astype(np.int64)


def _edges(cell: int, count: int) -> tuple[int, int]:
    """Top and bottom of a cell; cell 0 lies at the bottom."""
    return round((count - 1 - cell) * HEIGHT / count), round((count - cell) * HEIGHT / count)


def _bands(cells: NDArray[np.int64], count: int) -> Html:
    parts = (_edges(int(cell), count) for cell in cells)
    return Html("".join(f"M0 {top}H{WIDTH}V{bottom}H0z" for top, bottom in parts))


def _rules(count: int) -> Html:
    return Html("".join(f"M0 {round(edge * HEIGHT / count)}H{WIDTH}" for edge in range(1, count)))
