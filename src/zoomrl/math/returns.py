"""n-step returns, and those of all prefixes, with ``terminated`` and ``truncated`` apart."""

from __future__ import annotations

import torch
from torch import Tensor


def n_step(reward: Tensor, length: Tensor, terminal: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """n-step return and bootstrap discount of windows that may end early.

    ``R = sum_{k < m} gamma^k r_k`` and ``discount = gamma^m`` where m is the number of steps in the window: n, or
    fewer when
    the episode ends first. The discount is 0 when the window reaches a *terminated* end, and gamma^m when it reaches
    a *truncated* one: a time limit is bootstrapped, a terminal state is not.

    Args:
        reward: [B, n]; entries at or after ``length`` are ignored.
        length: [B] int64, m in 1 .. n.
        terminal: [B] bool, whether the window's last step terminated the episode.
        gamma: discount per step.

    Returns:
        return [B] and discount [B], float32.
    """
    steps = torch.arange(reward.shape[1], device=reward.device)
    weight = gamma**steps * (steps < length[:, None])
    value = (torch.where(weight > 0, reward, torch.zeros_like(reward)) * weight).sum(1)
    discount = gamma ** length.to(reward.dtype)
    return value, torch.where(terminal, torch.zeros_like(discount), discount)


def prefix_returns(reward: Tensor, discount: Tensor) -> tuple[Tensor, Tensor]:
    """Return and bootstrap discount of the first step, the first two, and so on.

    ``R_t = sum_{j <= t} (d_0 .. d_{j-1}) r_j`` and ``D_t = d_0 .. d_t``.

    Args:
        reward: [B, T]; 0 beyond the end of an episode.
        discount: [B, T] of each step: gamma, 0 where it terminates the episode, 1 beyond its end.

    Returns:
        returns [B, T] and discounts [B, T].
    """
    through = discount.cumprod(1)
    before = torch.cat([torch.ones_like(discount[:, :1]), through[:, :-1]], 1)
    return (before * reward).cumsum(1), through
