"""Hyperparameters of ACT."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoomrl.agents.checks import check_supervised, refuse_unused
from zoomrl.agents.config import AgentConfig
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.nets.config import EncoderConfig
from zoomrl.ranges import at_least, choices


@with_field_docs
@dataclass(frozen=True)
class ACTConfig(AgentConfig):
    """ACT (Zhao et al. 2023): a conditional variational autoencoder of action chunks made of transformers.

    Defaults are the paper's, but for the depth of the decoder. It was trained on batches of 8.

    Paper: Zhao, Kumar, Levine, Finn, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (2023).

    Raises:
        ConfigError: a number is out of its range, ``dim`` is no multiple of 4 and of ``heads``, or the encoder has
            options of an image trunk, which ACT does not have.
    """

    name: ClassVar[str] = "act"
    learner: ClassVar[str] = "zoomrl.agents.act.learner:ACT"
    imitation: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ("encoder.layers", "encoder.feature_dim")  # of image trunks

    # The networks.
    chunk_length: int = 100
    """Length T of the action chunk."""
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(kind="resnet18", shift=0))
    normalize: Literal["none", "demos"] = "demos"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    dim: int = 512
    """Width of the tokens."""
    heads: int = 8
    """Attention heads."""
    feedforward: int = 3200
    """Width of the feed-forward layers."""
    encoder_layers: int = 4
    """Layers of the transformer encoders, that of the style and that of the observation."""
    decoder_layers: int = 1
    """Layers of the transformer decoder (the paper has 7, of which the released code reads the first alone)."""
    style_dim: int = 32
    """Dimensions of the latent style variable z."""
    dropout: float = 0.1
    """Fraction of the outputs and hidden units of each block that are dropped while learning."""

    # Learning.
    kl_coef: float = 10.0
    """Weight of the divergence of z from a standard normal."""
    lr: float = 1e-5
    """Learning rate (AdamW)."""
    weight_decay: float = 1e-4
    """Weight decay (AdamW)."""

    def __post_init__(self) -> None:
        choices(self, "agent.")
        at_least(
            self, "agent.", dim=1, heads=1, feedforward=1, encoder_layers=1, decoder_layers=1, style_dim=1, kl_coef=0
        )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"agent.dropout must be 0 or more and below 1, got {self.dropout}")
        if self.dim % self.heads:
            raise ConfigError(f"agent.dim ({self.dim}) must be a multiple of agent.heads ({self.heads})")
        if self.dim % 4:
            # Positions in an image are sines and cosines of row and column.
            raise ConfigError(f"agent.dim must be a multiple of 4, got {self.dim}")
        refuse_unused(self)
        check_supervised(self)
