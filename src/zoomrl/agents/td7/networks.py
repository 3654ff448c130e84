"""Networks of TD7: state-action embeddings (SALE), and an actor and critics that read them.

Paper: Fujimoto, Chang, Smith, Gu, Precup, Meger, "For SALE: State-Action Representation Learning for Deep
Reinforcement Learning" (2023). Axes: B batch, S state, A action, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoomrl.math.avg_l1 import avg_l1_norm
from zoomrl.nets.mlp import mlp


class SaleEncoder(nn.Module):
    """``zs = AvgL1Norm(f(s))`` and ``zsa = g(zs, a)``, which predicts the next state's zs.

    Args:
        size: of the state S.
        action_dim: action dimensions A.
        hidden: width of the hidden layers.
        embedding: width E of both embeddings.
    """

    def __init__(self, size: int, action_dim: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.state = mlp(size, (hidden, hidden), embedding, norm=False, activation="elu")
        self.joint = mlp(embedding + action_dim, (hidden, hidden), embedding, norm=False, activation="elu")

    def forward(self, state: Tensor) -> Tensor:
        """State embedding zs [B, E] of ``state`` [B, S]."""
        return avg_l1_norm(self.state(state))

    def predict(self, zs: Tensor, action: Tensor) -> Tensor:
        """State-action embedding zsa [B, E] of ``zs`` [B, E] and ``action`` [B, A]."""
        embedding: Tensor = self.joint(torch.cat([zs, action], -1))
        return embedding

    def autocast_modules(self) -> list[nn.Module]:
        """The modules that hold the arithmetic."""
        return [self.state, self.joint]


class SaleCritic(nn.Module):
    """Value of a state and an action, from both and their embeddings.

    Args:
        size, action_dim, hidden, embedding: see :class:`SaleEncoder`.
    """

    def __init__(self, size: int, action_dim: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Linear(size + action_dim, hidden)
        self.body = mlp(hidden + 2 * embedding, (hidden, hidden), 1, norm=False, activation="elu")

    def forward(self, state: Tensor, action: Tensor, zsa: Tensor, zs: Tensor) -> Tensor:
        """Values [B]."""
        h = avg_l1_norm(self.first(torch.cat([state, action], -1)))
        value: Tensor = self.body(torch.cat([h, zsa, zs], -1))[..., 0]
        return value


class SaleCritics(nn.Module):
    """Two critics without common parameters.

    Args:
        size, action_dim, hidden, embedding: see :class:`SaleEncoder`.
    """

    def __init__(self, size: int, action_dim: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList([SaleCritic(size, action_dim, hidden, embedding) for _ in range(2)])

    def forward(self, state: Tensor, action: Tensor, zsa: Tensor, zs: Tensor) -> Tensor:
        """Values [2, B]."""
        return torch.stack([network(state, action, zsa, zs) for network in self.networks])

    def autocast_modules(self) -> list[nn.Module]:
        """The modules that hold the arithmetic."""
        return [part for network in self.networks for part in network.children()]


class SaleActor(nn.Module):
    """Action for a state, from it and its embedding.

    Args:
        size, action_dim, hidden, embedding: see :class:`SaleEncoder`.
    """

    def __init__(self, size: int, action_dim: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden)
        self.body = mlp(hidden + embedding, (hidden, hidden), action_dim, norm=False, activation="relu")

    def forward(self, state: Tensor, zs: Tensor) -> Tensor:
        """Actions [B, A] in [-1, 1]."""
        return torch.tanh(self.body(torch.cat([avg_l1_norm(self.first(state)), zs], -1)))

    def autocast_modules(self) -> list[nn.Module]:
        """The modules that hold the arithmetic."""
        return list(self.children())
