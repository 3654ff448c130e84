"""Hyper-parameters of the imitation baselines: behaviour cloning of chunks, and ACT."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoomrl.agents.config.checks import at_least
from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig


@dataclass(frozen=True)
class BCConfig:
    """Behaviour cloning of action chunks: a network regresses the next T demonstrated actions."""

    name: ClassVar[str] = "bc"

    # The networks.
    horizon: int = 4
    """Length T of the action sequence."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    normalize: Literal["none", "demos"] = "demos"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers."""
    norm: bool = True
    """LayerNorm before each activation."""
    activation: Literal["relu", "mish", "elu", "silu"] = "silu"
    """Activation of the hidden layers."""

    # Learning.
    loss: Literal["l1", "mse"] = "l1"
    """Absolute or squared error of the actions."""
    lr: float = 3e-4
    """Learning rate (AdamW)."""
    weight_decay: float = 1e-2
    """Weight decay (AdamW)."""

    def __post_init__(self) -> None:
        at_least(self, "horizon", 1)
        at_least(self, "weight_decay", 0)
        if not self.lr > 0:
            raise ConfigError(f"agent.lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class ACTConfig:
    """ACT (Zhao et al. 2023): a conditional variational autoencoder of action chunks made of transformers."""

    name: ClassVar[str] = "act"

    # The networks.
    horizon: int = 16
    """Length T of the action sequence."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    normalize: Literal["none", "demos"] = "demos"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    dim: int = 512
    """Width of the tokens."""
    heads: int = 8
    """Attention heads."""
    feedforward: int = 3200
    """Width of the feed-forward layers."""
    encoder_layers: int = 4
    """Layers of the transformer encoders."""
    decoder_layers: int = 7
    """Layers of the transformer decoder."""
    style_dim: int = 32
    """Numbers in the latent style variable z."""
    dropout: float = 0.1
    """Dropout while learning."""

    # Learning.
    kl_coef: float = 10.0
    """Weight of the divergence of z from a standard normal."""
    lr: float = 1e-5
    """Learning rate (AdamW)."""
    weight_decay: float = 1e-4
    """Weight decay (AdamW)."""

    def __post_init__(self) -> None:
        for name in ("horizon", "dim", "heads", "feedforward", "encoder_layers", "decoder_layers", "style_dim"):
            at_least(self, name, 1)
        for name in ("kl_coef", "weight_decay"):
            at_least(self, name, 0)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"agent.dropout must lie in 0 .. 1, got {self.dropout}")
        if self.dim % (2 * self.heads):
            raise ConfigError(f"agent.dim ({self.dim}) must be a multiple of twice agent.heads ({self.heads})")
        if not self.lr > 0:
            raise ConfigError(f"agent.lr must be positive, got {self.lr}")
