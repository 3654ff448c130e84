"""Hyperparameters of TD3 and of iQRL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoomrl.agents.checks import check_learning
from zoomrl.agents.config import AgentConfig
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.ranges import at_least, choices, widths


@with_field_docs
@dataclass(frozen=True)
class TD3Config(AgentConfig):
    """Twin delayed deterministic policy gradient (Fujimoto et al. 2018). Defaults are those of its authors' code.

    Paper: Fujimoto, van Hoof, Meger, "Addressing Function Approximation Error in Actor-Critic Methods" (2018).

    Raises:
        ConfigError: a number is out of its range, or ``subset`` exceeds ``critics``.
    """

    name: ClassVar[str] = "td3"
    learner: ClassVar[str] = "zoomrl.agents.td3.learner:TD3"
    family: ClassVar[str] = "td3"
    variants_differ_by_defaults: ClassVar[bool] = True

    # The networks.
    encoder: EncoderConfig = field(
        default_factory=lambda: EncoderConfig(kind="drqv2", norm="none", activation="relu", feature_dim=50)
    )
    representation: RepresentationConfig = field(default_factory=RepresentationConfig)
    normalize: Literal["none", "demos"] = "none"
    """Scale the state by its mean and standard deviation over the demonstrations."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critics."""
    norm: bool = False
    """LayerNorm before each activation."""
    activation: Literal["relu", "mish", "elu", "silu"] = "relu"
    """Activation of the hidden layers."""
    init: Literal["default", "orthogonal"] = "default"
    """Weight initialization of actor and critics: PyTorch's, or orthogonal matrices with zero biases."""

    # The critics.
    critics: int = 2
    """Critics M."""
    subset: int = 2
    """Critics sampled at each update: the target is their minimum."""
    actor_value: Literal["first", "min", "mean"] = "first"
    """What the actor maximises: the first critic (TD3), or the minimum or the mean of a sampled subset."""

    # Learning.
    lr: float = 3e-4
    """Learning rate of actor and critics (Adam)."""
    target_tau: float = 0.005
    """Step of the target networks towards the online ones."""
    policy_delay: int = 2
    """Critic updates for each update of the actor."""
    delayed_targets: bool = True
    """Move the target critics together with the actor only (TD3), or at every update (iQRL)."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target's action, in [-1, 1] units."""
    noise_clip: float = 0.5
    """Largest noise on the target's action."""
    bc_lambda: float = 0.0
    """Weight of behaviour cloning on demonstrated samples in the actor's loss; 0 turns it off."""

    def __post_init__(self) -> None:
        choices(self, "agent.")
        at_least(self, "agent.", critics=1, subset=1, policy_delay=1, target_noise=0, noise_clip=0, bc_lambda=0)
        if self.subset > self.critics:
            raise ConfigError(f"agent.subset is {self.subset}, but there are {self.critics} critics")
        widths(self, "agent.", "hidden")
        check_learning(self)


@with_field_docs
@dataclass(frozen=True)
class IQRLConfig(TD3Config):
    """iQRL (Scannell et al. 2024): TD3 on a quantised latent that predicts itself. Defaults as released.

    Paper: Scannell et al., "iQRL: Implicitly Quantized Representations for Sample-efficient Reinforcement Learning"
    (2024).

    Raises:
        ConfigError: as :class:`TD3Config` does.
    """

    name: ClassVar[str] = "iqrl"

    representation: RepresentationConfig = field(default_factory=lambda: RepresentationConfig(kind="self_predictive"))
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers of actor and critics."""
    norm: bool = True
    """LayerNorm before each activation."""
    activation: Literal["relu", "mish", "elu", "silu"] = "mish"
    """Activation of the hidden layers."""
    critics: int = 5
    """Critics M (released; the paper has 2)."""
    actor_value: Literal["first", "min", "mean"] = "mean"
    """What the actor maximises: the mean of a sampled pair (released), or the minimum (paper)."""
    delayed_targets: bool = False
    """Move the target critics together with the actor only, or at every update."""
    noise_clip: float = 0.3
    """Largest noise on the target's action."""
