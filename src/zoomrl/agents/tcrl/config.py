"""Hyperparameters of TCRL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from zoomrl.agents.checks import refuse_unused
from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.errors import ConfigError
from zoomrl.field_docs import with_field_docs
from zoomrl.nets.config import RepresentationConfig


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


@with_field_docs
@dataclass(frozen=True)
class TCRLConfig(DrQv2Config):
    """TCRL (Zhao et al. 2023): the actor and critics of DrQ-v2 on a latent that predicts itself and rewards.

    Paper: Zhao, Zhao, Boney, Kannala, Pajarinen, "Simplified Temporal Consistency Reinforcement Learning" (2023).

    Raises:
        ConfigError: as :class:`zoomrl.DrQv2Config` does, for a ``trunk_dim``, which it has no use for, and without a
            latent.
    """

    name: ClassVar[str] = "tcrl"
    learner: ClassVar[str] = "zoomrl.agents.tcrl.learner:TCRL"
    unused: ClassVar[tuple[str, ...]] = ("trunk_dim",)

    representation: RepresentationConfig = field(default_factory=_tcrl_latent)
    hidden_dim: int = 512
    """Width of the hidden layers of actor and critics."""
    lr: float = 3e-4
    """Learning rate of actor and critics."""
    target_tau: float = 0.005
    """Step of the target critics towards the online ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unused(self)
        if self.representation.kind == "none":
            raise ConfigError("tcrl is DrQ-v2 on a latent: agent.representation.kind must be self_predictive")
