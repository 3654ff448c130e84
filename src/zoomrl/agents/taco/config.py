"""Hyperparameters of TACO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.field_docs import with_field_docs
from zoomrl.ranges import at_least, widths


@with_field_docs
@dataclass(frozen=True)
class TACOConfig(DrQv2Config):
    """TACO (Zheng et al. 2023): DrQ-v2 with contrastive embeddings of a state and the K actions after it.

    Paper: Zheng et al., "TACO: Temporal Latent Action-Driven Contrastive Loss for Visual Reinforcement Learning"
    (2023).

    Raises:
        ConfigError: as :class:`zoomrl.DrQv2Config` does.
    """

    name: ClassVar[str] = "taco"
    learner: ClassVar[str] = "zoomrl.agents.taco.learner:TACO"

    sequence: int = 3
    """Actions K between the two states of a contrastive pair."""
    token_hidden: int = 64
    """Width of the action tokeniser's hidden layer."""
    state_hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the state's encoder (our own port; as published there are images only)."""
    curl_coef: float = 1.0
    """Weight of the contrast between two shifts of the same image; 0 turns it off."""
    reward_coef: float = 1.0
    """Weight of predicting the n-step return from a state and the K actions after it; 0 for no such head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, "agent.", sequence=1, token_hidden=1, curl_coef=0, reward_coef=0)
        widths(self, "agent.", "state_hidden")
