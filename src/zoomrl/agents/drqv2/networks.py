"""Actor and critics of the DrQ-v2 family, over single actions and over action chunks.

DrQ-v2 (Yarats et al. 2021, section 3); the chunked variant puts a GRU behind the two hidden layers of each network
and tells the steps apart by a one-hot vector. Axes: B batch, T step of the chunk, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.nets.gru import GRU
from zoomrl.nets.init import orthogonal_
from zoomrl.nets.trunk import Trunk


class Actor(nn.Module):
    """Features by name [B, ...] to mean actions [B, T, A] in (-1, 1)."""

    def __init__(self, trunk: Trunk, action_dim: int, hidden_dim: int, chunk_length: int, gru_layers: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.body = Body(trunk.out_dim, hidden_dim, chunk_length, gru_layers)
        self.head = nn.Linear(hidden_dim, action_dim)
        self.apply(orthogonal_)

    def autocast_modules(self) -> list[nn.Module]:
        """Trunk and hidden layers, without the head."""
        return [self.trunk, self.body]

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Mean action of every step."""
        features = self.trunk(observation)[:, None].expand(-1, self.body.chunk_length, -1)
        return torch.tanh(self.head(self.body(features)))


class TwinCritic(nn.Module):
    """Two Q-networks behind one trunk: features and actions [B, T, A] to outputs [2, B, T, Z].

    Z is the number of atoms, or 1 for scalar values.
    """

    def __init__(
        self, trunk: Trunk, action_dim: int, hidden_dim: int, outputs: int, chunk_length: int, gru_layers: int
    ) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk.out_dim + action_dim
        self.bodies = nn.ModuleList([Body(width, hidden_dim, chunk_length, gru_layers) for _ in range(2)])
        self.heads = nn.ModuleList([nn.Linear(hidden_dim, outputs) for _ in range(2)])
        self.apply(orthogonal_)

    def autocast_modules(self) -> list[nn.Module]:
        """Trunk and hidden layers, without the heads."""
        return [self.trunk, *self.bodies]

    def forward(self, observation: Mapping[str, Tensor], actions: Tensor) -> Tensor:
        """Outputs of both networks for every step."""
        features = self.trunk(observation)[:, None].expand(-1, actions.shape[1], -1)
        joined = torch.cat([features, actions], -1)
        pairs = zip(self.heads, self.bodies, strict=True)
        return torch.stack([head(body(joined)) for head, body in pairs])


class Body(nn.Module):
    """Two hidden layers with ReLU, and a recurrence over the steps of a chunk: [B, T, F] to [B, T, H]."""

    step_ids: Tensor

    def __init__(self, width: int, hidden_dim: int, chunk_length: int, gru_layers: int) -> None:
        super().__init__()
        self.chunk_length = chunk_length
        # A single action needs no step one-hot.
        positions = chunk_length if gru_layers else 0
        self.register_buffer("step_ids", torch.eye(positions), persistent=False)
        self.first = nn.Linear(width + positions, hidden_dim)
        self.second = nn.Linear(hidden_dim, hidden_dim)
        self.gru = GRU(hidden_dim, hidden_dim, gru_layers) if gru_layers else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return x if self.gru is None else self.gru(x)

    def embed(self, x: Tensor) -> Tensor:
        """The two layers before the recurrence."""
        if self.gru is not None:
            x = torch.cat([x, self.step_ids.expand(len(x), -1, -1)], -1)
        return F.relu(self.second(F.relu(self.first(x))))
