"""Hyper-parameters of the DrQ-v2 family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoomrl.agents.config.checks import at_least, check_learning, check_representation, check_support
from zoomrl.errors import ConfigError
from zoomrl.nets.config import EncoderConfig, RepresentationConfig


@dataclass(frozen=True)
class DrQv2Config:
    """DrQ-v2 (Yarats et al. 2021): deterministic actor, twin critics, random shifts. Defaults as published."""

    name: ClassVar[str] = "drqv2"

    # The networks.
    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(kind="drqv2", norm="none", activation="relu", feature_dim=50)
    )
    representation: RepresentationConfig = field(default_factory=RepresentationConfig)
    hidden_dim: int = 1024
    """Width of the hidden layers of actor and critics."""
    trunk_dim: int = 64
    """Width of the state's trunk (Linear, LayerNorm, tanh) in actor and critics; 0 passes the state on as it is."""
    normalize: Literal["none", "demos"] = "none"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    value: Literal["scalar", "categorical"] = "scalar"
    """Scalar values (mean squared error), or distributions learnt from the scalar target spread over its two
    neighbouring atoms (cross-entropy)."""
    atoms: int = 101
    """Atoms Z of a categorical value."""
    v_min: float = -2.0
    """Lowest atom."""
    v_max: float = 2.0
    """Highest atom."""

    # Learning.
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW with decoupled weight decay."""
    lr: float = 1e-4
    """Learning rate of encoder, actor and critics."""
    weight_decay: float = 0.0
    """Weight decay, on all parameters (AdamW)."""
    target_tau: float = 0.01
    """Step of the target critics towards the online ones; 1 copies them."""
    target_interval: int = 1
    """Updates between target steps."""
    noise_clip: float = 0.3
    """Largest noise on the actor's actions inside the losses. Its standard deviation is that of control.noise."""
    bc_lambda: float = 0.0
    """Weight of behaviour cloning on demonstrated samples in the actor's loss; 0 turns it off."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "target_interval"):
            at_least(self, name, 1)
        at_least(self, "atoms", 2)
        check_learning(self)
        check_support(self)
        check_representation(self)
        for name in ("noise_clip", "bc_lambda", "trunk_dim"):
            at_least(self, name, 0)


@dataclass(frozen=True)
class DrQv2PlusConfig(DrQv2Config):
    """DrQ-v2+ (baseline of Seo et al. 2024): distributional critics, behaviour cloning, demonstrations."""

    name: ClassVar[str] = "drqv2_plus"

    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(norm="none", activation="relu"))
    value: Literal["scalar", "categorical"] = "categorical"
    """Scalar values, or distributions learnt from the scalar target."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or AdamW with decoupled weight decay."""
    weight_decay: float = 0.1
    """Weight decay, on all parameters (AdamW)."""
    target_tau: float = 1.0
    """Step of the target critics towards the online ones; 1 copies them."""
    target_interval: int = 100
    """Updates between target steps."""
    bc_lambda: float = 1.0
    """Weight of behaviour cloning on demonstrated samples in the actor's loss."""


@dataclass(frozen=True)
class DrQv2ASConfig(DrQv2PlusConfig):
    """DrQ-v2-AS+ (baseline of Seo & Abbeel 2024): DrQ-v2+ with a GRU over an action sequence in actor and critics."""

    name: ClassVar[str] = "drqv2_as"

    horizon: int = 4
    """Length T of the action sequence."""
    gru_layers: int = 1
    """Layers of each GRU over the sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, "horizon", 1)
        at_least(self, "gru_layers", 1)


def _tcrl_latent() -> RepresentationConfig:
    return RepresentationConfig(
        kind="self_predictive",
        dim=50,
        quantise=False,
        encoder_hidden=(512, 512),
        norm=False,
        activation="elu",
        init="orthogonal",
        residual=False,
        consistency_coef=2.0,
        reward_coef=1.0,
        optimizer="adam",
        lr=3e-4,
        clip=10.0,
    )


@dataclass(frozen=True)
class TCRLConfig(DrQv2Config):
    """TCRL (Zhao et al. 2023): the actor and critics of DrQ-v2 on a latent that predicts itself and rewards."""

    name: ClassVar[str] = "tcrl"

    representation: RepresentationConfig = field(default_factory=_tcrl_latent)
    hidden_dim: int = 512
    """Width of the hidden layers of actor and critics."""
    lr: float = 3e-4
    """Learning rate of actor and critics."""
    target_tau: float = 0.005
    """Step of the target critics towards the online ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.representation.kind == "none":
            raise ConfigError("tcrl is DrQ-v2 on a latent: agent.representation.kind must be self_predictive")


@dataclass(frozen=True)
class TACOConfig(DrQv2Config):
    """TACO (Zheng et al. 2023): DrQ-v2 with contrastive embeddings of state and action sequence."""

    name: ClassVar[str] = "taco"

    sequence: int = 3
    """Actions K between the two states of a contrastive pair."""
    token_hidden: int = 64
    """Width of the action tokeniser's hidden layer."""
    state_hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the state's encoder (our own port; as published there are pictures only)."""
    curl_coef: float = 1.0
    """Weight of the contrast between two shifts of the same picture; 0 turns it off."""
    reward_coef: float = 1.0
    """Weight of predicting the n-step return from state and action sequence; 0 for no such head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sequence", "token_hidden"):
            at_least(self, name, 1)
        for name in ("curl_coef", "reward_coef"):
            at_least(self, name, 0)
        if any(width < 1 for width in self.state_hidden):
            raise ConfigError(f"agent.state_hidden: layers need at least one unit, got {self.state_hidden}")
