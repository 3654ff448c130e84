"""A Gaussian policy squashed into the action range, and the temperature of its entropy (SAC).

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018). Axes: B batch, A action dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoomrl.math.gaussian import squashed_log_density


class SquashedGaussian(nn.Module):
    """Features [B, F] to mean and log standard deviation [B, A] of what the tanh squashes.

    Args:
        network: of :func:`zoomrl.nets.mlp.mlp`, with 2 A outputs.
        low, high: range of the log standard deviation.
    """

    def __init__(self, network: nn.Sequential, low: float, high: float) -> None:
        super().__init__()
        *body, head = network
        self.body, self.head = nn.Sequential(*body), head
        self._low, self._range = low, high - low

    def autocast_modules(self) -> list[nn.Module]:
        """Hidden layers, without the head."""
        return [self.body]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation."""
        mean, raw = self.head(self.body(features)).chunk(2, -1)
        # Through a tanh, where the paper's code clips: a standard deviation at its limit still has a gradient.
        return mean, self._low + 0.5 * self._range * (torch.tanh(raw) + 1)

    def sample(self, features: Tensor, noise: Tensor, movable: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Actions [B, A] in [-1, 1] that standard normal ``noise`` [B, A] selects, and their log-density [B].

        Dimensions that ``movable`` [A] bool leaves out are 0, and no part of the density.
        """
        mean, log_std = self(features)
        before = mean + log_std.exp() * noise
        actions = torch.tanh(before)
        if movable is None:
            return actions, squashed_log_density(noise, log_std, before)
        # Not by indices: a capture would have to read back how many there are.
        return actions * movable, squashed_log_density(noise, log_std, before, movable)


class Temperature(nn.Module):
    """Weight of the entropy: exp of a learnt number, or a constant."""

    def __init__(self, value: float, learnt: bool) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(value))) if learnt else None
        # Not saved: it is the config's. A constant may be 0, whose logarithm no checkpoint would accept.
        self.register_buffer("constant", torch.tensor(value), persistent=False)

    constant: Tensor

    def forward(self) -> Tensor:
        """The temperature, 0-d."""
        return self.constant if self.log is None else self.log.exp()
