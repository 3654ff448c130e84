"""The network of the coarse-to-fine critic: outputs of every bin of every action dimension.

CQN (Seo et al. 2024, section 3.2) and CQN-AS (Seo & Abbeel 2024, section 3.2) differ only by the GRU over the action
chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoomrl.nets.gru import GRU
from zoomrl.nets.init import orthogonal_, zero_
from zoomrl.nets.linear import linear_columns
from zoomrl.nets.trunk import Trunk

Dueling = Literal["separate", "shared", "none"]


class Features(NamedTuple):
    """What a critic computes once for a batch of observations.

    Attributes:
        inputs: per stream, what its trunk makes of the observation [B, F].
        weight, bias: of the advantage head, centred over the bins; with the value's added if they share a stream.
    """

    inputs: list[Tensor]
    weight: Tensor
    bias: Tensor


class CoarseToFineNetwork(nn.Module):
    """Streams and heads over the zoom grid.

    The input of each (level, step) is [features, centre of the interval chosen so far, step one-hot, level one-hot].

    Args:
        sizes: lengths of the observation's features by name, ``state`` and ``image``.
        action_dim: action dimensions A.
        chunk_length: steps T of an action chunk; 1 for CQN.
        levels, bins: the zoom grid (L, K).
        outputs: outputs per bin: Z atoms, or 1 for a scalar critic.
        hidden_dim: width H of the two hidden layers and of the GRU.
        hidden_bias: biases in the hidden layers.
        trunk_dim: width of the Linear-LayerNorm-tanh trunk of the state; 0 feeds the state itself.
        image_dim, image_layers: width of the image's trunk, and the layers before it.
        gru_layers: layers of the recurrence over the chunk; 0 for none (CQN).
        dueling: ``separate`` value and advantage streams (published), two heads on one ``shared`` stream, or ``none``.
    """

    def __init__(
        self,
        *,
        sizes: Mapping[str, int],
        action_dim: int,
        chunk_length: int,
        levels: int,
        bins: int,
        outputs: int,
        hidden_dim: int,
        hidden_bias: bool,
        trunk_dim: int,
        image_dim: int,
        image_layers: int,
        gru_layers: int,
        dueling: Dueling,
    ) -> None:
        super().__init__()
        self.shape = (action_dim, bins, outputs)
        self.chunk_length = chunk_length
        self.shared = dueling == "shared"

        def stream() -> _Stream:
            trunk = Trunk(
                sizes,
                image_dim=image_dim,
                state_dim=trunk_dim,
                image_layers=image_layers,
                hidden_dim=hidden_dim,
            )
            return _Stream(trunk, action_dim, chunk_length, levels, hidden_dim, hidden_bias, gru_layers)

        self.streams = nn.ModuleList([stream() for _ in range(2 if dueling == "separate" else 1)])
        self.advantage = nn.Linear(hidden_dim, action_dim * bins * outputs)
        self.value = None if dueling == "none" else nn.Linear(hidden_dim, action_dim * outputs)
        self.apply(orthogonal_)
        zero_(self.advantage)
        if self.value is not None:
            zero_(self.value)

    def features(self, observation: Mapping[str, Tensor]) -> Features:
        """What all levels and steps share, from an observation's features by name [B, ...]."""
        weight: Tensor = self.advantage.weight
        bias: Tensor = self.advantage.bias
        if self.value is not None:
            # The mean over bins is linear: centring the head's weights equals centring its outputs, on far fewer
            # numbers. Likewise the value may be added to the weights where both heads read the same stream.
            weight = _centred(weight.view(*self.shape, -1))
            bias = _centred(bias.view(self.shape))
            if self.shared:
                action_dim, _, outputs = self.shape
                weight = weight + self.value.weight.view(action_dim, 1, outputs, -1)
                bias = bias + self.value.bias.view(action_dim, 1, outputs)
            weight, bias = weight.view(self.advantage.weight.shape), bias.view(-1)
        return Features([stream.trunk(observation) for stream in self._streams()], weight, bias)

    def forward(self, features: Features, centres: Tensor, first_level: int = 0) -> Tensor:
        """Outputs of every bin.

        Args:
            features: of :meth:`features`.
            centres: [B, l, T, A] centres of the intervals chosen so far, for l consecutive levels.
            first_level: level of ``centres[:, 0]``.

        Returns:
            [A, K, Z, N] logits, or values when Z is 1, for the N = B * l * T tokens in that order. Tokens are
            innermost: everything done to the rows of K or Z numbers then runs along long contiguous vectors.
        """
        action_dim, bins, outputs = self.shape
        shape = (action_dim, bins, outputs, centres.shape[:3].numel())
        pairs = zip(self._streams(), features.inputs, strict=True)
        last = first_level + centres.shape[1]
        hidden = [stream(inputs, centres, stream.level_ids[first_level:last]).flatten(0, 2) for stream, inputs in pairs]
        advantage = linear_columns(features.weight, features.bias, hidden[-1]).view(shape)
        if self.value is None or self.shared:
            return advantage
        value = linear_columns(self.value.weight, self.value.bias, hidden[0])
        return advantage.add_(value.view(action_dim, 1, outputs, -1))

    def autocast_modules(self) -> list[nn.Module]:
        """Trunks and hidden layers, without the heads."""
        return [part for stream in self._streams() for part in (stream, stream.trunk)]

    def _streams(self) -> Iterator[_Stream]:
        return iter(self.streams)  # type: ignore[arg-type]


class _Stream(nn.Module):
    """Observation and intervals to hidden units: trunk, two layers, recurrence over the sequence."""

    level_ids: Tensor
    step_ids: Tensor

    def __init__(
        self,
        trunk: Trunk,
        action_dim: int,
        chunk_length: int,
        levels: int,
        hidden_dim: int,
        hidden_bias: bool,
        gru_layers: int,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        # A sequence of one step needs no step one-hot.
        self.positions = chunk_length if gru_layers else 0
        self.register_buffer("level_ids", torch.eye(levels), persistent=False)
        self.register_buffer("step_ids", torch.eye(self.positions), persistent=False)
        self.first = nn.Linear(trunk.out_dim + action_dim + self.positions + levels, hidden_dim, bias=hidden_bias)
        self.first_norm = nn.LayerNorm(hidden_dim)
        self.second = nn.Linear(hidden_dim, hidden_dim, bias=hidden_bias)
        self.second_norm = nn.LayerNorm(hidden_dim)
        self.gru = GRU(hidden_dim, hidden_dim, gru_layers) if gru_layers else None

    def forward(self, features: Tensor, centres: Tensor, levels: Tensor) -> Tensor:
        """[B, l, T, H]. The one-hot ``levels`` [l, L] are handed in: all single levels are one case to a compiler."""
        x = self.embed(features, centres, levels)
        # Each level is a sequence of its own.
        return x if self.gru is None else self.gru(x.flatten(0, 1)).view(x.shape)

    def embed(self, features: Tensor, centres: Tensor, levels: Tensor) -> Tensor:
        """The two layers before the recurrence: [B, l, T, H]."""
        batch, count, chunk_length, _ = centres.shape
        parts = [features[:, None, None].expand(-1, count, chunk_length, -1), centres]
        if self.positions:
            parts.append(self.step_ids.expand(batch, count, -1, -1))
        parts.append(levels[:, None].expand(batch, -1, chunk_length, -1))
        x = self.first(torch.cat(parts, -1))
        # In place where no gradient needs the input.
        inplace = not torch.is_grad_enabled()
        x = F.silu(self.first_norm(x), inplace)
        return F.silu(self.second_norm(self.second(x)), inplace)


def _centred(weight: Tensor) -> Tensor:
    """Subtract the mean over bins (axis 1) from [A, K, ...]."""
    return weight - weight.mean(1, keepdim=True)
