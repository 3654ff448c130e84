"""From observations to the vectors that trunks read: standardised state, encoded images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoomrl.errors import ConfigError
from zoomrl.nets.augment import sample_offsets, shift
from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.encoders import make_encoder
from zoomrl.nets.normalize import Normalizer
from zoomrl.spec import EnvSpec

Statistics = tuple[Tensor, Tensor]


class ObservationShape(NamedTuple):
    """What an agent sees at once, stacks included.

    Attributes:
        state: length S of the stacked state vector; 0 for none.
        views, frames, size: cameras V, images F in a stack, height and width; 0 cameras for none.
    """

    state: int
    views: int = 0
    frames: int = 1
    size: int = 0

    @staticmethod
    def of(spec: EnvSpec, frame_stack: int) -> ObservationShape:
        """The shape of ``frame_stack`` observations of an environment."""
        if "rgb" not in spec.observations:
            return ObservationShape(spec.state_dim * frame_stack)
        views, size, width, _ = spec.observations["rgb"].shape
        if size != width:
            raise ConfigError(
                f"images of {spec.id} have {size} x {width} pixels, and encoders need square ones. Fit them to squares "
                "of --env.image-size with --env.image-fit stretch, letterbox or crop, or let the environment show "
                "square images."
            )
        return ObservationShape(spec.state_dim * frame_stack, views, frame_stack, size)


class Perception(nn.Module):
    """Standardises ``state`` and encodes ``rgb``. The encoder learns with the critic; there is no target of it.

    Args:
        shape: of the observations.
        config: of the encoder.
        statistics: mean and standard deviation [S] of the state; None leaves it as it is.

    Attributes:
        sizes: lengths of the outputs, by name: ``state`` and ``image``, those that there are.
    """

    def __init__(self, shape: ObservationShape, config: EncoderConfig, statistics: Statistics | None) -> None:
        super().__init__()
        self.shape = shape
        self.pad = config.shift if shape.views else 0
        self.normalizer = Normalizer(shape.state, statistics) if shape.state else None
        self.encoder = make_encoder(config, shape.views, shape.frames, shape.size) if shape.views else None
        self.sizes: dict[str, int] = {}
        if shape.state:
            self.sizes["state"] = shape.state
        if self.encoder is not None:
            self.sizes["image"] = self.encoder.out_dim

    def forward(self, observation: Mapping[str, Tensor], shifts: Tensor | None = None) -> dict[str, Tensor]:
        """Features of a batch.

        Args:
            observation: ``state`` [B, S] and ``rgb`` uint8 [B, F, V, H, W, 3].
            shifts: of :meth:`sample_noise`, while learning; None shows the images as they are.

        Returns:
            ``state`` [B, S] and ``image`` [B, E].
        """
        features = {}
        if self.normalizer is not None:
            features["state"] = self.normalizer(observation["state"])
        if self.encoder is not None:
            frames = observation["rgb"]
            if shifts is not None and self.pad:
                frames = shift(frames, self.pad, shifts)
            features["image"] = self.encoder(frames)
        return features

    def learnt(self) -> list[nn.Parameter]:
        """What learns from an agent's losses."""
        return [p for p in self.parameters() if p.requires_grad]

    def networks(self) -> list[nn.Module]:
        """The encoder, where there is one."""
        return [] if self.encoder is None else [self.encoder]

    def encoders(self) -> list[nn.Module]:
        """The encoder's networks: one for each view, or one for all."""
        return [] if self.encoder is None else list(self.encoder.nets)

    def sample_noise(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """Random shifts for :meth:`forward`; None where nothing is shifted."""
        if not self.pad:
            return None
        return sample_offsets(batch, self.shape.views, self.pad, generator)
