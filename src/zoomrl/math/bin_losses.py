"""The losses of a categorical coarse-to-fine critic, with their gradient in closed form.

Autograd would keep about fifteen tensors of the logits' size alive. Here each is visited a few times: the gradient with
respect to the logits is written in the forward pass, and imitation terms are computed on demonstrated tokens alone.
Tokens (sample, level, step) are the innermost axis N, so that every pass runs along contiguous vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Imitation = Callable[..., Tensor]


def imitation_terms(
    logits: Tensor, chosen: Tensor, weight: Tensor, atoms: Tensor, margin: float, *, out: Tensor
) -> Tensor:
    """Weighted sums [2] (dominance, margin) of one dimension's imitation terms; ``out`` [K, Z, N] receives the
    gradient."""
    bins, count, tokens = logits.shape
    probs = torch.softmax(logits, 1)
    fraction = weight / bins

    values = atoms @ probs
    hinge = values - values.gather(0, chosen[None]) + margin
    lagging = (hinge > 0).to(logits.dtype)
    margin_part = (hinge * lagging).sum(0) @ fraction
    # Values enter with the sign of -d loss / d value, as the distributions below.
    lagging.neg_().scatter_add_(0, chosen[None], -lagging.sum(0, keepdim=True))

    # F = L p with L the lower triangle of ones; the reverse cumulative sum of its gradient is a product with L^T.
    lower = torch.ones(count, count, dtype=logits.dtype, device=logits.device).tril_()
    where = chosen.expand(1, count, tokens)
    # Subtracted before they are summed up: equal distributions must come out equal, also where the last digit of a
    # product depends on where its factors lie in memory.
    lead = lower @ (probs.gather(0, where) - probs)
    # The side taken at equality: a zero-initialised head must feel the loss.
    behind = lead.sign().add_(1).clamp_(max=1)
    dominance = lead.clamp_(min=0).sum((0, 1)) @ fraction
    behind.scatter_add_(0, where, -behind.sum(0, keepdim=True))

    grad = (lower.t() @ behind).addcmul_(lagging[:, None], atoms[:, None])
    grad = torch.ops.aten._softmax_backward_data(grad, probs, 1, logits.dtype)
    torch.mul(grad, -fraction, out=out)
    return torch.stack([dominance, margin_part])


def categorical_bin_losses(
    logits: Tensor,
    chosen: Tensor,
    target: Tensor,
    td_weight: Tensor,
    bc_weight: Tensor,
    atoms: Tensor,
    margin: float,
    imitation: Imitation = imitation_terms,
) -> tuple[Tensor, Tensor]:
    """Weighted sum of temporal-difference and imitation losses over all rows.

    ``sum td_weight * CE(target, p_chosen) + sum bc_weight * (dominance + margin)``, with dominance and margin as in
    :mod:`zoomrl.math.losses`. Weights carry masks, means and loss coefficients.

    Args:
        logits: [A, K, Z, N].
        chosen: [A, N] int64, the bin of the stored action.
        target: [A, Z, N], no gradient.
        td_weight, bc_weight: [N]; tokens whose ``bc_weight`` is 0 cost no imitation arithmetic.
        atoms: [Z].
        margin: lead that the margin loss asks for.
        imitation: :func:`imitation_terms`, or the same compiled: tensors of one size are then all it gets.

    Returns:
        The total, with gradient for ``logits``; and its parts [3] (TD, dominance, margin), without.
    """
    return _CategoricalBinLosses.apply(logits, chosen, target, td_weight, bc_weight, atoms, margin, imitation)


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
        imitation: Imitation,
    ) -> tuple[Tensor, Tensor]:
        # Picking the demonstrated tokens needs their number: on a GPU, and where the step is compiled, all tokens are
        # worked on instead, the others with weight 0.
        one_size = logits.is_cuda or torch.compiler.is_compiling() or imitation is not imitation_terms
        everything = one_size or bool((bc_weight > 0).all())
        columns = bc_weight[:0] if everything else bc_weight.nonzero()[:, 0]
        grad = torch.empty_like(logits) if everything else torch.zeros_like(logits)
        sums = logits.new_zeros(2)
        # One action dimension at a time, so that the intermediate tensors stay in the cache.
        for dim, index in enumerate(chosen):
            if everything:
                sums += imitation(logits[dim], index, bc_weight, atoms, margin, out=grad[dim])
            elif len(columns):
                part = logits[dim][..., columns]
                sums += imitation(part, index[columns], bc_weight[columns], atoms, margin, out=part)
                grad[dim].index_copy_(-1, columns, part)
        where = chosen[:, None, None].expand(-1, 1, logits.shape[2], -1)
        log_probs = torch.log_softmax(logits.gather(1, where)[:, 0], 1)
        td = -((target * log_probs).sum((0, 1)) @ td_weight)
        # Cross-entropy under a target of mass 1: d/dlogits = p - m.
        step = log_probs.exp_().sub_(target).mul_(td_weight)
        grad.scatter_add_(1, where, step[:, None])
        ctx.save_for_backward(grad)
        ctx.spent = False
        parts = torch.cat([td.view(1), sums])
        ctx.mark_non_differentiable(parts)
        return parts.sum(), parts

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.spent:
            raise RuntimeError("the gradient of these losses can be taken once: it is scaled in place")
        ctx.spent = True
        (grad,) = ctx.saved_tensors
        return grad.mul_(grad_total), None, None, None, None, None, None, None
