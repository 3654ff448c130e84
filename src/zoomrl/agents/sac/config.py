"""Hyperparameters of SAC."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from zoomrl.agents.checks import check_learning
from zoomrl.agents.config import AgentConfig, TaskDefaults
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.ranges import at_least, choices, refuse_idle, widths


@with_field_docs
@dataclass(frozen=True)
class SACConfig(AgentConfig):
    """Soft actor-critic with automatic temperature (Haarnoja et al. 2018, second version).

    Paper: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018).

    Raises:
        ConfigError: a number is out of its range, or a temperature of 0 is to be learnt.
    """

    name: ClassVar[str] = "sac"
    learner: ClassVar[str] = "zoomrl.agents.sac.learner:SAC"

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
    log_std_min: float = -5.0
    """Lowest logarithm of the policy's standard deviation, before the tanh."""
    log_std_max: float = 2.0
    """Highest logarithm of the policy's standard deviation, before the tanh."""

    # Learning.
    lr: float = 3e-4
    """Learning rate of actor, critics and temperature (Adam)."""
    target_tau: float = 0.005
    """Step of the target critics towards the online ones."""
    temperature: float = 0.1
    """Weight of the entropy at the start."""
    learn_temperature: bool = True
    """Adapt the temperature, so that the entropy comes to its target."""
    target_entropy: float | None = None
    """Entropy that the temperature aims at, in nats; None is minus the number of action dimensions that can move."""

    def task_defaults(self) -> TaskDefaults:
        """It explores by its own policy."""
        return replace(super().task_defaults(), noise="0.0")

    def __post_init__(self) -> None:
        choices(self, "agent.")
        at_least(self, "agent.", temperature=0)
        if self.learn_temperature and self.temperature <= 0:
            raise ConfigError("agent.temperature must be positive to be learnt; turn agent.learn_temperature off")
        if not self.log_std_max > self.log_std_min:
            raise ConfigError(
                f"agent.log_std_max must exceed agent.log_std_min, got {self.log_std_max} and {self.log_std_min}"
            )
        widths(self, "agent.", "hidden")
        check_learning(self)
        refuse_idle(self, "agent.", self.learn_temperature, "agent.learn_temperature", "target_entropy")
