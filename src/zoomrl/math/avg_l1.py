"""AvgL1Norm (TD7, Fujimoto et al. 2023)."""

from __future__ import annotations

from torch import Tensor

FLOOR = 1e-8


def avg_l1_norm(x: Tensor) -> Tensor:
    """``x / max(mean_j |x_j|, 1e-8)``: vectors [..., D] whose mean magnitude is 1, without any learnt scale."""
    return x / x.abs().mean(-1, keepdim=True).clamp(min=FLOOR)
