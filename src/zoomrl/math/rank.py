"""How many directions a batch of latents really uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rank_shares(latents: Tensor, tolerances: Sequence[float]) -> list[Tensor]:
    """Numerical rank of ``latents`` [N, D] as a share of D, for each tolerance t.

    Singular values above ``max(t, t * largest)`` count, as in ``torch.linalg.matrix_rank`` with atol = rtol = t.
    N must be at least D for the share to reach 1.
    """
    values = torch.linalg.svdvals(latents.to(torch.float32))
    size = latents.shape[1]
    return [(values > torch.clamp(tolerance * values[0], min=tolerance)).sum() / size for tolerance in tolerances]


def condition_number(latents: Tensor) -> Tensor:
    """Largest over smallest singular value of ``latents`` [N, D]; infinite where a direction is not used at all."""
    values = torch.linalg.svdvals(latents.to(torch.float32))
    return values[0] / values[-1]
