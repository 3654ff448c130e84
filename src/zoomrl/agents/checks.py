"""What several families of hyperparameters must fulfil."""

from __future__ import annotations

from typing import Any, Protocol

from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig, RepresentationConfig


class _Learning(Protocol):
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def target_tau(self) -> float: ...
    @property
    def encoder(self) -> EncoderConfig: ...


class _Support(Protocol):
    @property
    def v_min(self) -> float: ...
    @property
    def v_max(self) -> float: ...


class _Supervised(Protocol):
    @property
    def lr(self) -> float: ...
    @property
    def encoder(self) -> EncoderConfig: ...


class _Represented(Protocol):
    @property
    def representation(self) -> RepresentationConfig: ...


def at_least(config: Any, name: str, low: float, prefix: str = "agent") -> None:
    """Refuse a number below ``low``."""
    if not getattr(config, name) >= low:
        raise ConfigError(f"{prefix}.{name} must be at least {low}, got {getattr(config, name)}")


def check_learning(config: _Learning) -> None:
    """Refuse rates and encoders that cannot work."""
    for name, good, wanted in (
        ("lr", config.lr > 0, "positive"),
        ("weight_decay", config.weight_decay >= 0, "0 or more"),
        ("target_tau", 0 < config.target_tau <= 1, "above 0 and at most 1"),
    ):
        if not good:
            raise ConfigError(f"agent.{name} must be {wanted}, got {getattr(config, name)}")
    check_encoder(config.encoder)


def check_encoder(encoder: EncoderConfig) -> None:
    """Refuse encoders that cannot be built."""
    for name, low in (("channels", 1), ("layers", 0), ("feature_dim", 1), ("shift", 0)):
        at_least(encoder, name, low, "agent.encoder")


def check_widths(config: Any, name: str = "hidden", prefix: str = "agent") -> None:
    """Refuse layers without units."""
    if any(width < 1 for width in getattr(config, name)):
        raise ConfigError(f"{prefix}.{name}: layers need at least one unit, got {getattr(config, name)}")


def check_support(config: _Support) -> None:
    """Refuse a support of values that is empty."""
    if not config.v_max > config.v_min:
        raise ConfigError(f"agent.v_max must exceed agent.v_min, got {config.v_max} and {config.v_min}")


def check_representation(config: _Represented) -> None:
    """Refuse latents that cannot be built or learnt."""
    latent = config.representation
    place = "agent.representation"
    for name, low in (("dim", 1), ("horizon", 1), ("projection_dim", 0), ("weight_decay", 0)):
        at_least(latent, name, low, place)
    for name in ("consistency_coef", "reward_coef", "reconstruction_coef"):
        at_least(latent, name, 0, place)
    for name in ("lr", "clip", "decay", "target_tau"):
        if not getattr(latent, name) > 0:
            raise ConfigError(f"{place}.{name} must be positive, got {getattr(latent, name)}")
    for name in ("decay", "target_tau"):
        if getattr(latent, name) > 1:
            raise ConfigError(f"{place}.{name} must be at most 1, got {getattr(latent, name)}")
    for name in ("encoder_hidden", "model_hidden"):
        check_widths(latent, name, place)
    if latent.quantise and (not latent.fsq_levels or min(latent.fsq_levels) < 2):
        raise ConfigError(f"{place}.fsq_levels must be 2 or more for each channel, got {latent.fsq_levels}")
    if latent.quantise and latent.dim % len(latent.fsq_levels):
        raise ConfigError(
            f"{place}.dim ({latent.dim}) must be a multiple of the number of channels ({len(latent.fsq_levels)})"
        )


def check_supervised(config: _Supervised) -> None:
    """Refuse what an agent without rewards cannot learn with."""
    at_least(config, "chunk_length", 1)
    at_least(config, "weight_decay", 0)
    if not config.lr > 0:
        raise ConfigError(f"agent.lr must be positive, got {config.lr}")
    check_encoder(config.encoder)
