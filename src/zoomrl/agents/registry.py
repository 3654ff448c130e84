"""From a config to an agent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoomrl.agents.base import Agent
from zoomrl.agents.config import AgentConfig
from zoomrl.agents.cqn import CQN
from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec


def make_agent(
    config: AgentConfig,
    spec: EnvSpec,
    *,
    frame_stack: int = 1,
    demos: Sequence[Episode] = (),
    seed: int = 0,
    restoring: bool = False,
) -> Agent:
    """Build the agent that ``config`` describes.

    Args:
        config: hyper-parameters; their type names the algorithm.
        spec: of the environment.
        frame_stack: observations stacked.
        demos: demonstrations that observation statistics are taken from.
        seed: of weights and tie-breaks.
        restoring: saved state will be loaded, statistics included; ``demos`` are not looked at.
    """
    size = spec.state_dim * frame_stack
    statistics = None
    if config.normalize == "demos":
        statistics = (torch.zeros(size), torch.ones(size)) if restoring else _statistics(demos, frame_stack)
    return CQN(config, size, spec.action_dim, seed, statistics)


def _statistics(demos: Sequence[Episode], frame_stack: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the state over the successful demonstrations, repeated for the stack."""
    states = [e.observations["state"] for e in demos if e.is_demo]
    if not states:
        raise ConfigError('agent.normalize="demos" needs demonstrations, and there are none; use "none"')
    rows = np.concatenate(states).astype(np.float64)
    mean, std = (torch.from_numpy(np.tile(m, frame_stack)).to(torch.float32) for m in (rows.mean(0), rows.std(0)))
    return mean, std
