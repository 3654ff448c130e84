"""Divergences between distributions, in closed form."""

from __future__ import annotations

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a diagonal Gaussian from the standard normal (Kingma & Welling 2014, appendix B).

    ``1/2 sum_i (mean_i^2 + exp(log_variance_i) - 1 - log_variance_i)``

    Args:
        mean: [..., D].
        log_variance: [..., D], the logarithm of the variance.

    Returns:
        [...], in nats.
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)
