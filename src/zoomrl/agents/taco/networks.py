"""What TACO adds to DrQ-v2: tokens of actions, and the heads of its contrastive losses.

Zheng et al., "TACO: Temporal Latent Action-Driven Contrastive Loss for Visual Reinforcement Learning" (2023).
Axes: B batch, K step of a sequence, A action dimension, U token, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoomrl.nets.init import orthogonal_
from zoomrl.nets.mlp import mlp
from zoomrl.nets.trunk import squashed


def token_dim(action_dim: int) -> int:
    """Dimensions U of the token of an action: ``floor(1.25 A) + 1``."""
    return 5 * action_dim // 4 + 1


def action_tokeniser(action_dim: int, hidden_dim: int) -> nn.Sequential:
    """Linear, tanh, Linear: actions [..., A] to tokens [..., U]."""
    network = nn.Sequential(nn.Linear(action_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, token_dim(action_dim)))
    return network.apply(orthogonal_)


def state_encoder(size: int, hidden: Sequence[int], dim: int) -> nn.Sequential:
    """In the place of convolutions where there are no images: an MLP, LayerNorm, tanh, [B, size] to [B, D]."""
    network = mlp(size, hidden, dim, norm=False, activation="relu")
    return nn.Sequential(*network, nn.LayerNorm(dim), nn.Tanh()).apply(orthogonal_)


class Contrast(nn.Module):
    """Embeds states and the K actions that follow them, and compares the predicted state with the observed one.

    Args:
        sizes: lengths of the features by name.
        token_dim: dimensions U of a token.
        steps: actions K in a sequence.
        dim: dimensions D of an embedding.
        hidden_dim: width of the heads' hidden layer.
        reward: with a head that predicts the return.
    """

    def __init__(
        self, sizes: Mapping[str, int], token_dim: int, steps: int, dim: int, hidden_dim: int, *, reward: bool
    ) -> None:
        super().__init__()
        width = steps * token_dim
        self.names = tuple(sizes)
        self.project = nn.Sequential(*squashed(sum(sizes.values()), dim, bias=True))
        self.sequence = nn.Sequential(*squashed(width, width, bias=True))
        self.predict = mlp(dim + width, (hidden_dim,), dim, norm=False, activation="relu")
        self.reward = mlp(dim + width, (hidden_dim,), 1, norm=False, activation="relu") if reward else None
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(dim, dim)))
        self.apply(orthogonal_)

    def autocast_modules(self) -> list[nn.Module]:
        """The projection: it reads the whole image."""
        return [self.project]

    def embed(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by name [B, ...] to embeddings [B, D]."""
        embedded: Tensor = self.project(torch.cat([features[name] for name in self.names], -1))
        return embedded

    def join(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        """What the heads read: an embedding [B, D] and that of the tokens [B, K, U] that follow it."""
        return torch.cat([embedding, self.sequence(tokens.flatten(1))], -1)

    def logits(self, query: Tensor, keys: Tensor) -> Tensor:
        """``query W keys^T``: [B, B]."""
        return query @ self.weight @ keys.T
