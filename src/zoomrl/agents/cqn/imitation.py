"""How much of CQN's loss is imitation, over the updates."""

from __future__ import annotations

from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.math.schedules import schedule


def imitation_weight(config: CQNConfig, updates: int) -> float:
    """Weight of the imitation losses after ``updates``: ``bc_lambda`` by its schedule, down to its floor."""
    if config.bc_schedule == "1":
        return config.bc_lambda
    return max(config.bc_lambda * schedule(config.bc_schedule, updates), min(config.bc_lambda, config.bc_floor))
