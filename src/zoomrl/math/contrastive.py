"""Contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor

from zoomrl.math.losses import masked_mean


def info_nce(logits: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE over a batch (van den Oord et al. 2018): row i must tell its own key from those of the others.

    ``mean_i -log(exp(l_ii) / sum_j exp(l_ij))`` over the real rows i, j.

    Args:
        logits: [B, B] similarity of query (row) and key (column); pairs stand on the diagonal.
        real: [B] bool. Other rows are neither queries nor keys.

    Returns:
        loss, and the fraction of real rows whose own key has the largest logit; both 0 when no row is real.
    """
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    # A row that is not real keeps its own key: a row without any would have an undefined loss.
    logits = logits.masked_fill(~(real[None] | own), -torch.inf)
    weight = real.to(torch.float32)
    loss = masked_mean(torch.logsumexp(logits, 1) - logits.diagonal(), weight)
    # Not by argmax: among equal logits none is the largest.
    others = logits.detach().masked_fill(own, -torch.inf).amax(1)
    return loss, masked_mean((logits.detach().diagonal() > others).to(torch.float32), weight)
