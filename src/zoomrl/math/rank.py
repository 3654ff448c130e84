"""How many directions a batch of latents really uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def singular_values(latents: Tensor) -> Tensor:
    """Singular values [D] of ``latents`` [N, D], largest first, N at least D."""
    return torch.linalg.svdvals(latents.to(torch.float32))


def rank_fractions(values: Tensor, tolerances: Sequence[float]) -> list[Tensor]:
    """Numerical rank as a fraction of D, for each tolerance t, from singular ``values`` [D].

    Those above ``max(t, t * largest)`` count, as in ``torch.linalg.matrix_rank`` with atol = rtol = t.
    """
    return [
        (values > torch.clamp(tolerance * values[0], min=tolerance)).sum() / len(values) for tolerance in tolerances
    ]


def condition_number(values: Tensor) -> Tensor:
    """Largest over smallest of singular ``values`` [D]; infinite where a direction is not used at all."""
    return values[0] / values[-1]
