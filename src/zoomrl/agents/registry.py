"""From a config to an agent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from zoomrl.agents.base import Agent
from zoomrl.agents.config import AgentConfig
from zoomrl.agents.cqn import CQN
from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec


def make_agent(
    config: AgentConfig, spec: EnvSpec, *, frame_stack: int = 1, demos: Sequence[Episode] = (), seed: int = 0
) -> Agent:
    """Build the agent that ``config`` describes.

    Args:
        config: hyper-parameters; their type names the algorithm.
        spec: of the environment.
        frame_stack: observations stacked.
        demos: demonstrations that observation statistics are taken from.
        seed: of weights and tie-breaks.
    """
    statistics = None
    if config.normalize == "demos":
        states = [e.observations["state"] for e in demos if e.is_demo]
        if not states:
            raise ConfigError('agent.normalize="demos" needs demonstrations, and there are none; use "none"')
        rows = np.concatenate(states).astype(np.float64)
        statistics = tuple(
            torch.from_numpy(np.tile(moment, frame_stack)).to(torch.float32) for moment in (rows.mean(0), rows.std(0))
        )
    return CQN(config, spec.state_dim * frame_stack, spec.action_dim, seed, statistics)
