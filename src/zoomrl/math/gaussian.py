"""Gaussian variables squashed by a tanh."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def squashed_log_density(noise: Tensor, log_std: Tensor, before: Tensor, counted: Tensor | None = None) -> Tensor:
    """Log-density of ``tanh(u)`` with ``u = mean + std * noise`` (SAC, Haarnoja et al. 2018, appendix C).

    ``sum_i [log N(u_i; mean_i, std_i) - log(1 - tanh(u_i)^2)]``. The last term is taken as
    ``2 (log 2 - u - softplus(-2 u))``, the same number without a logarithm of a difference that rounds to 0.

    Args:
        noise: [..., A] standard normal noise.
        log_std: [..., A] logarithm of the standard deviation.
        before: [..., A], u.
        counted: [A] bool, the dimensions that the sum takes; None for all.

    Returns:
        [...].
    """
    normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
    shrinkage = 2 * (math.log(2) - before - F.softplus(-2 * before))
    terms = normal - shrinkage
    return (terms if counted is None else terms * counted).sum(-1)
