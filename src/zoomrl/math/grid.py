"""The zoom grid: coarse-to-fine discretisation of actions in [-1, 1] (CQN paper, section 3.1).

Each action dimension is cut into ``bins`` equal intervals; the chosen one is cut again, ``levels`` times. An interval
at level l is identified by one integer, its *cell* in 0 .. bins**l - 1 (level 0 has the single cell 0, the whole
range). Zooming into a bin is ``cell * bins + bin``, so that no interval bounds are carried and nothing drifts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_cell(action: Tensor, levels: int, bins: int) -> Tensor:
    """Finest-level cell of each action component.

    Args:
        action: [...] in [-1, 1]; values outside fall into the outermost cells.

    Returns:
        [...] int64 in 0 .. bins**levels - 1.
    """
    cells = bins**levels
    return ((action + 1) * (cells / 2)).floor().clamp(0, cells - 1).long()


def cell_centre(cell: Tensor, level: int, bins: int) -> Tensor:
    """Centre in [-1, 1] of ``cell`` [...] at ``level``: float32 [...]. Level 0 gives 0."""
    return (2 * cell + 1).to(torch.float32) / bins**level - 1


def zoom(cell: Tensor, index: Tensor, bins: int) -> Tensor:
    """Cell one level finer: bin ``index`` [...] of ``cell`` [...]."""
    return cell * bins + index


def encode(action: Tensor, levels: int, bins: int) -> Tensor:
    """Bin chosen at every level for each action component.

    Args:
        action: [..., D] in [-1, 1].

    Returns:
        [..., L, D] int64, coarsest level first.
    """
    return path(to_cell(action, levels, bins), levels, bins)


def decode(index: Tensor, bins: int) -> Tensor:
    """Centre of the finest interval that the bins ``index`` [..., L, D] lead to: float32 [..., D]."""
    levels = index.shape[-2]
    cell = (index * _powers(levels, bins, index.device)).sum(-2)
    return cell_centre(cell, levels, bins)


def snap(action: Tensor, levels: int, bins: int) -> Tensor:
    """Nearest action of the finest grid, ``decode(encode(action))``: [...] -> float32 [...]."""
    return cell_centre(to_cell(action, levels, bins), levels, bins)


def path(cell: Tensor, levels: int, bins: int) -> Tensor:
    """Bins that lead to the finest-level ``cell`` [..., D]: int64 [..., L, D]."""
    return cell.unsqueeze(-2) // _powers(levels, bins, cell.device) % bins


def centres(cell: Tensor, levels: int, bins: int) -> Tensor:
    """Centres of the intervals passed on the way to the finest ``cell`` [..., D]: float32 [..., L, D].

    Row l is the centre after l zooms, the "previous-level action" that the critic sees at level l; row 0 is zero.
    """
    prefix = cell.unsqueeze(-2) // (_powers(levels, bins, cell.device) * bins)
    widths = _powers(levels, bins, cell.device).flip(0).to(torch.float32)
    return (2 * prefix + 1).to(torch.float32) / widths - 1


def _powers(levels: int, bins: int, device: torch.device) -> Tensor:
    """[L, 1] column of bins**(L-1) .. bins**0, made where it is needed: a CUDA graph can hold no copy from the host."""
    return bins ** torch.arange(levels - 1, -1, -1, device=device)[:, None]
