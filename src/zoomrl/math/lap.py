"""The loss for samples prioritised by their errors (LAP, Fujimoto, Meger, Precup 2020; TD7 2023)."""

from __future__ import annotations

import torch
from torch import Tensor


def lap_loss(error: Tensor) -> Tensor:
    """``u^2 / 2`` for u below 1, ``u`` from there on, with u = |error|; as released, so that it jumps by 1/2 at 1.

    Only gradients count: u, and then 1. Times the sampling probability, that is the squared error's for large u.
    """
    size = error.abs()
    return torch.where(size < 1, size * size / 2, size)


def lap_priority(error: Tensor, power: float) -> Tensor:
    """``max(max_k |error_k|, 1)^power``: [B].

    Args:
        error: [K, B] of K critics.
        power: alpha.
    """
    return error.abs().amax(0).clamp(min=1) ** power
