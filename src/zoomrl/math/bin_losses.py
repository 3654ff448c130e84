"""The losses of a categorical coarse-to-fine critic, with their gradient in closed form.

Autograd would keep about fifteen tensors of the logits' size alive. Here each is visited a few times: the gradient with
respect to the logits is written in the forward pass, and imitation terms are computed on demonstrated samples alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def categorical_bin_losses(
    logits: Tensor,
    chosen: Tensor,
    target: Tensor,
    td_weight: Tensor,
    bc_weight: Tensor,
    atoms: Tensor,
    margin: float,
) -> tuple[Tensor, Tensor]:
    """Weighted sum of temporal-difference and imitation losses over all rows.

    ``sum td_weight * CE(target, p_chosen) + sum bc_weight * (dominance + margin)``, with dominance and margin as in
    :mod:`zoomrl.math.losses`. Weights carry masks, means and loss coefficients.

    Args:
        logits: [B, R, K, Z].
        chosen: [B, R] int64, the bin of the stored action.
        target: [B, R, Z], no gradient.
        td_weight, bc_weight: [B, R]; samples whose ``bc_weight`` is 0 throughout cost no imitation arithmetic.
        atoms: [Z].
        margin: lead that the margin loss asks for.

    Returns:
        The total, with gradient for ``logits``; and its parts [3] (TD, dominance, margin), without.
    """
    return _CategoricalBinLosses.apply(logits, chosen, target, td_weight, bc_weight, atoms, margin)


class _CategoricalBinLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        chosen: Tensor,
        target: Tensor,
        td_weight: Tensor,
        bc_weight: Tensor,
        atoms: Tensor,
        margin: float,
    ) -> tuple[Tensor, Tensor]:
        grad = torch.zeros_like(logits)
        demo = (bc_weight > 0).any(1).nonzero()[:, 0]
        dominance = margin_part = logits.new_zeros(())
        if len(demo):
            grad[demo], dominance, margin_part = _imitation(
                logits[demo], chosen[demo], bc_weight[demo], atoms, margin
            )
        index = chosen[:, :, None, None].expand(-1, -1, 1, logits.shape[-1])
        log_probs = torch.log_softmax(logits.gather(2, index)[:, :, 0], -1)
        td = -(td_weight * (target * log_probs).sum(-1)).sum()
        # Cross-entropy under a target of mass 1: d/dlogits = p - m.
        step = log_probs.exp_().sub_(target).mul_(td_weight[..., None])
        grad.scatter_add_(2, index, step[:, :, None])
        ctx.save_for_backward(grad)
        parts = torch.stack([td, dominance, margin_part])
        ctx.mark_non_differentiable(parts)
        return parts.sum(), parts

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (grad,) = ctx.saved_tensors
        return grad.mul_(grad_total), None, None, None, None, None, None


def _imitation(
    logits: Tensor, chosen: Tensor, weight: Tensor, atoms: Tensor, margin: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient [b, R, K, Z] of the imitation terms, and their two weighted sums."""
    bins, count = logits.shape[-2:]
    probs = torch.softmax(logits, -1)
    values = probs @ atoms
    best = chosen[..., None]

    hinge = values.sub_(values.gather(-1, best)).add_(margin)
    lagging = (hinge > 0).to(logits.dtype)
    margin_part = (weight * (hinge * lagging).mean(-1)).sum()
    lagging.div_(bins)
    lagging.scatter_add_(-1, best, -lagging.sum(-1, keepdim=True))

    # F = p U with U the upper triangle of ones; the reverse cumulative sum of its gradient is a product with U^T.
    upper = torch.ones(count, count, dtype=logits.dtype, device=logits.device).triu_()
    cdf = probs @ upper
    index = best[..., None].expand(*best.shape, count)
    lead = cdf.gather(-2, index) - cdf
    # The side taken at equality: a zero-initialised head must feel the loss.
    behind = (lead >= 0).to(logits.dtype)
    dominance = (weight * lead.mul_(behind).sum((-1, -2))).sum() / bins
    behind.div_(-bins)
    behind.scatter_add_(-2, index, -behind.sum(-2, keepdim=True))

    grad = (behind @ upper.T).addcmul_(lagging[..., None], atoms)
    grad.sub_((probs * grad).sum(-1, keepdim=True)).mul_(probs).mul_(weight[..., None, None])
    return grad, dominance, margin_part
