"""Hyperparameters of behaviour cloning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoomrl.agents.checks import check_supervised
from zoomrl.agents.config import AgentConfig
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.nets.config import EncoderConfig
from zoomrl.ranges import choices


@with_field_docs
@dataclass(frozen=True)
class BCConfig(AgentConfig):
    """Behaviour cloning of action chunks: a network regresses the next T demonstrated actions.

    Paper: Pomerleau, "ALVINN: An Autonomous Land Vehicle in a Neural Network" (1989). The network is our own.

    Raises:
        ConfigError: a number is out of its range, or there is no hidden layer.
    """

    name: ClassVar[str] = "bc"
    learner: ClassVar[str] = "zoomrl.agents.bc.learner:BC"
    imitation: ClassVar[bool] = True

    # The networks.
    chunk_length: int = 4
    """Length T of the action chunk."""
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
    """Mean absolute or mean squared error of the actions."""
    lr: float = 3e-4
    """Learning rate (AdamW)."""
    weight_decay: float = 1e-2
    """Weight decay (AdamW)."""

    def __post_init__(self) -> None:
        choices(self, "agent.")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"agent.hidden needs one layer or more, of one unit or more; got {self.hidden}")
        check_supervised(self)
