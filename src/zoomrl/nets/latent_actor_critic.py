"""Actor and critics of TCRL (Zhao et al. 2023): shallower than DrQ-v2's, and the critics share their first layer.

Axes: B batch, A action dimension. The interface is that of
:mod:`zoomrl.agents.drqv2.networks` with sequences of one step.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoomrl.nets.init import orthogonal_
from zoomrl.nets.trunk import squashed


class LatentActor(nn.Module):
    """Latent ``state`` [B, D] to mean actions [B, 1, A] in (-1, 1)."""

    def __init__(self, latent_dim: int, action_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*squashed(latent_dim, hidden_dim, bias=True), *_hidden(hidden_dim))
        self.head = nn.Linear(hidden_dim, action_dim)
        self.apply(orthogonal_)

    def autocast_modules(self) -> list[nn.Module]:
        """Hidden layers, without the head."""
        return [self.trunk]

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Mean action."""
        return torch.tanh(self.head(self.trunk(features["state"])))[:, None]


class LatentTwinCritic(nn.Module):
    """Latent ``state`` [B, D] and actions [B, 1, A] to values [2, B, 1, Z]."""

    def __init__(self, latent_dim: int, action_dim: int, hidden_dim: int, outputs: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*squashed(latent_dim + action_dim, hidden_dim, bias=True))
        self.bodies = nn.ModuleList([nn.Sequential(*_hidden(hidden_dim)) for _ in range(2)])
        self.heads = nn.ModuleList([nn.Linear(hidden_dim, outputs) for _ in range(2)])
        self.apply(orthogonal_)

    def autocast_modules(self) -> list[nn.Module]:
        """Hidden layers, without the heads."""
        return [self.trunk, *self.bodies]

    def forward(self, features: Mapping[str, Tensor], actions: Tensor) -> Tensor:
        """Values of both networks."""
        joined = self.trunk(torch.cat([features["state"][:, None], actions], -1))
        return torch.stack([head(body(joined)) for head, body in zip(self.heads, self.bodies, strict=True)])


def _hidden(hidden_dim: int) -> list[nn.Module]:
    return [nn.Linear(hidden_dim, hidden_dim), nn.ELU()]
