"""Hyperparameters of the DrQ-v2 family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoomrl.agents.checks import check_learning, check_support
from zoomrl.agents.config import AgentConfig
from zoomrl.field_docs import with_field_docs
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.ranges import at_least, choices, refuse_idle_decay


@with_field_docs
@dataclass(frozen=True)
class DrQv2Config(AgentConfig):
    """DrQ-v2 (Yarats et al. 2021): deterministic actor, twin critics, random shifts. Defaults as published.

    Paper: Yarats, Fergus, Lazaric, Pinto, "Mastering Visual Continuous Control: Improved Data-Augmented Reinforcement
    Learning" (2021).

    Raises:
        ConfigError: a number is out of its range, or the atoms span nothing.
    """

    name: ClassVar[str] = "drqv2"
    learner: ClassVar[str] = "zoomrl.agents.drqv2.learner:DrQv2"
    family: ClassVar[str] = "drqv2"
    variants_differ_by_defaults: ClassVar[bool] = True

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

    @property
    def support(self) -> tuple[float, float, int] | None:
        """Lowest and highest atom and their number, of a categorical value; None for scalar ones."""
        return (self.v_min, self.v_max, self.atoms) if self.value == "categorical" else None

    def __post_init__(self) -> None:
        choices(self, "agent.")
        at_least(self, "agent.", hidden_dim=1, target_interval=1, atoms=2)
        check_learning(self)
        check_support(self)
        at_least(self, "agent.", noise_clip=0, bc_lambda=0, trunk_dim=0)
        refuse_idle_decay(self, "agent.")


@with_field_docs
@dataclass(frozen=True)
class DrQv2PlusConfig(DrQv2Config):
    """DrQ-v2+ (baseline of Seo et al. 2024): distributional critics, behaviour cloning, demonstrations.

    Paper: Seo, Uruc, James, "Continuous Control with Coarse-to-fine Reinforcement Learning" (CoRL 2024).

    Raises:
        ConfigError: as :class:`DrQv2Config` does.
    """

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


@with_field_docs
@dataclass(frozen=True)
class DrQv2ASConfig(DrQv2PlusConfig):
    """DrQ-v2-AS+ (baseline of Seo & Abbeel 2024): DrQ-v2+ with a GRU over an action chunk in actor and critics.

    Paper: Seo, Abbeel, "Reinforcement Learning with Action Sequence for Data-Efficient Robot Learning" (2024).

    Raises:
        ConfigError: as :class:`DrQv2Config` does.
    """

    name: ClassVar[str] = "drqv2_as"

    chunk_length: int = 4
    """Length T of the action chunk."""
    gru_layers: int = 1
    """Layers of each GRU over the chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, "agent.", chunk_length=1, gru_layers=1)
