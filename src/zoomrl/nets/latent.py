"""The networks of a self-predictive latent: encoder, dynamics and optional heads (iQRL, Scannell et al. 2024).

Axes: B batch, D latent, A action dimension.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoomrl.errors import ConfigError
from zoomrl.math.fsq import quantise
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.nets.init import orthogonal_
from zoomrl.nets.mlp import mlp
from zoomrl.nets.perception import ObservationShape, Perception, Statistics
from zoomrl.nets.trunk import image_trunk


class LatentEncoder(nn.Module):
    """Observations to latents [B, D]; images pass through a convolutional encoder and a trunk first.

    Args:
        shape: of the observations.
        config: of the latent.
        image: of the convolutional encoder.
        statistics: mean and standard deviation of the state, or None.
    """

    def __init__(
        self, shape: ObservationShape, config: RepresentationConfig, image: EncoderConfig, statistics: Statistics | None
    ) -> None:
        super().__init__()
        self.levels = config.fsq_levels if config.quantise else ()
        self.perception = Perception(shape, image, statistics)
        self.trunk = image_trunk(self.perception.sizes, image)
        if config.init == "orthogonal":
            self.trunk.apply(orthogonal_)
        self.body = _mlp(self.trunk.out_dim, config.encoder_hidden, config.dim, config)

    def forward(self, observation: Mapping[str, Tensor], shifts: Tensor | None = None) -> Tensor:
        """Latents of a batch."""
        return quantised(self.body(self.trunk(self.perception(observation, shifts))), self.levels)


class LatentModel(nn.Module):
    """Encoder, dynamics, and the heads that ``config`` asks for.

    Args:
        shape: of the observations.
        action_dim: action dimensions A.
        config: of the latent.
        image: of the convolutional encoder.
        statistics: mean and standard deviation of the state, or None.
    """

    def __init__(
        self,
        shape: ObservationShape,
        action_dim: int,
        config: RepresentationConfig,
        image: EncoderConfig,
        statistics: Statistics | None,
    ) -> None:
        super().__init__()
        size = config.dim
        if config.reconstruction_coef and not shape.state:
            raise ConfigError(
                "agent.representation.reconstruction_coef needs a state to reconstruct; observe one, or use 0"
            )

        def head(inputs: int, outputs: int) -> nn.Sequential:
            return _mlp(inputs, config.model_hidden, outputs, config)

        self.residual = config.residual
        self.encoder = LatentEncoder(shape, config, image, statistics)
        self.dynamics = head(size + action_dim, size)
        self.reward = head(size + action_dim, 1) if config.reward_coef else None
        self.decoder = head(size, shape.state) if config.reconstruction_coef else None
        self.projection = head(size, config.projection_dim) if config.projection_dim else None

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        """Latents [B, D] one step after ``action`` [B, A], quantised as the encoder's are."""
        change = self.dynamics(torch.cat([latent, action], -1))
        return quantised(latent + change if self.residual else change, self.encoder.levels)


def _mlp(size: int, hidden: tuple[int, ...], outputs: int, config: RepresentationConfig) -> nn.Sequential:
    return mlp(size, hidden, outputs, norm=config.norm, activation=config.activation, init=config.init)


def quantised(x: Tensor, levels: tuple[int, ...]) -> Tensor:
    """``x`` rounded to ``levels``, or as it is where there are none."""
    return quantise(x, levels) if levels else x
