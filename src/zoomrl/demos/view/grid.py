"""Actions against the zoom grid: which bins a demonstration takes. NumPy's side of :mod:`zoomrl.math.grid`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.scaling import ActionScaler
from zoomrl.demos.inspect import check_grid
from zoomrl.errors import ConfigError

MAX_BINS = 100
MAX_CELLS = 1_000_000


@dataclass(frozen=True)
class Grid:
    """Actions cut into ``bins`` equal parts, one of them again, ``levels`` times.

    Attributes:
        levels, bins: of the grid.
        scaler: what -1 and 1 of the grid stand for.
        over: the same in words.

    Raises:
        ConfigError: less than one level or two bins, or more than can be shown.
    """

    levels: int
    bins: int
    scaler: ActionScaler
    over: str = "the action bounds"

    def __post_init__(self) -> None:
        check_grid(self.levels, self.bins)
        # Compared before the power is taken, which could fill the memory.
        if self.bins > MAX_BINS or self.levels > MAX_CELLS.bit_length() or self.cells > MAX_CELLS:
            raise ConfigError(
                f"a grid that can be shown has at most {MAX_BINS} bins and {MAX_CELLS:,} cells (bins ** levels), got "
                f"levels={self.levels}, bins={self.bins}"
            )

    @property
    def cells(self) -> int:
        """Cells of the last level."""
        return int(self.bins**self.levels)

    def to_cells(self, actions: NDArray[np.float32]) -> NDArray[np.int64]:
        """The cells of the last level, [..., A], that actions [..., A] in the environment's units lie in."""
        unit = self.scaler.to_unit(actions)
        return np.clip(np.floor((unit + 1) * np.float32(self.cells / 2)), 0, self.cells - 1).astype(np.int64)

    def path(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bins that lead to ``cells`` [..., A]: [..., L, A], coarsest level first."""
        powers = self.bins ** np.arange(self.levels - 1, -1, -1)[:, None]
        return cells[..., None, :] // powers % self.bins
