"""Losses over bins: imitation by dominance and margin; cosines; and means that ignore masked elements."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SHORTEST = 1e-6
"""Smallest norm that a cosine divides by."""


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``values`` [...] under ``weight`` (broadcastable to it); 0, not NaN, when no weight is left."""
    weight = weight.expand_as(values)
    # `where`, not a product: a masked infinity or NaN must not reach the sum.
    total = torch.where(weight > 0, values * weight, torch.zeros_like(values)).sum()
    mass = weight.sum()
    return total / torch.where(mass > 0, mass, torch.ones_like(mass))


def directions(x: Tensor) -> Tensor:
    """``x`` [..., D] divided by its norm, or by 1e-6 where that is larger."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=_SHORTEST)


def cosines(x: Tensor, direction: Tensor) -> Tensor:
    """Cosine of the angle between ``x`` [..., D] and ``direction`` [..., D] of :func:`directions`.

    PyTorch's own normalises both sides element by element at every call, and takes twice as long. No gradient of
    ``direction``.
    """
    result: Tensor = _Cosines.apply(x, direction)
    return result


class _Cosines(torch.autograd.Function):
    """With n = |x|: c = x d / n and dc/dx = (d - x c / n) / n, two passes instead of five."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, direction: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1)
        norm = length.clamp(min=_SHORTEST)
        cosine = (x * direction).sum(-1) / norm
        # Where the norm is held at its smallest, it does not depend on x.
        ctx.save_for_backward(x, direction, norm, (cosine / norm).masked_fill_(length < _SHORTEST, 0))
        return cosine

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, direction, norm, fraction = ctx.saved_tensors
        scale = gradients[0] / norm
        return (direction * scale[..., None]).addcmul_(x, (scale * fraction)[..., None], value=-1), None


def dominance_loss(probs: Tensor, chosen: Tensor) -> Tensor:
    """First-order stochastic dominance of the demonstrated bin over every bin (CQN paper, section 3.3).

    ``mean_i sum_z max(0, F_chosen(z) - F_i(z))`` with F the cumulative distribution. The gradient at equality is
    that of the active side, so that equal distributions (a zero-initialised head) already feel it.

    Args:
        probs: [..., K, Z] value distribution of each bin.
        chosen: [...] int64, the demonstrated bin.

    Returns:
        [...].
    """
    cdf = probs.cumsum(-1)
    index = chosen[..., None, None].expand(*chosen.shape, 1, probs.shape[-1])
    return (cdf.gather(-2, index) - cdf).clamp(min=0).sum(-1).mean(-1)


def margin_loss(values: Tensor, chosen: Tensor, margin: float) -> Tensor:
    """Hinge that keeps the demonstrated bin's value ``margin`` above the others.

    ``mean_i max(0, margin - (Q_chosen - Q_i))``; the chosen bin itself contributes the constant margin / K.

    Args:
        values: [..., K] expected value of each bin.
        chosen: [...] int64.

    Returns:
        [...].
    """
    best = values.gather(-1, chosen[..., None])
    return (margin - (best - values)).clamp(min=0).mean(-1)
