"""From a config to an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoomrl.agents.base import CPU, Learner
from zoomrl.agents.config import AgentConfig, CQNConfig, DrQv2Config, TD3Config
from zoomrl.agents.cqn import CQN
from zoomrl.agents.drqv2 import DrQv2
from zoomrl.agents.td3 import TD3
from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.nets.perception import ObservationShape
from zoomrl.spec import EnvSpec


def make_agent(
    config: AgentConfig,
    spec: EnvSpec,
    *,
    frame_stack: int = 1,
    demos: Sequence[Episode] = (),
    seed: int = 0,
    restoring: bool = False,
    device: torch.device = CPU,
) -> Learner:
    """Build the agent that ``config`` describes.

    Args:
        config: hyper-parameters; their type names the algorithm.
        spec: of the environment.
        frame_stack: observations stacked.
        demos: demonstrations that observation statistics are taken from.
        seed: of weights and tie-breaks.
        restoring: saved state will be loaded, statistics included; ``demos`` are not looked at.
        device: where it learns.
    """
    shape = ObservationShape.of(spec, frame_stack)
    if not shape.views and (config.encoder.weights or config.encoder.frozen):
        raise ConfigError("agent.encoder.weights and .frozen need pictures, and none are observed; add --env.cameras")
    size = shape.state
    statistics = None
    if config.normalize == "demos" and size:
        statistics = (torch.zeros(size), torch.ones(size)) if restoring else _statistics(demos, frame_stack)
    builders: list[tuple[type[Any], type[Any]]] = [(DrQv2Config, DrQv2), (TD3Config, TD3), (CQNConfig, CQN)]
    build = next(agent for kind, agent in builders if isinstance(config, kind))
    learner: Learner = build(config, shape, spec.action_dim, seed, statistics, device)
    return learner


def _statistics(demos: Sequence[Episode], frame_stack: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the state over the successful demonstrations, repeated for the stack."""
    states = [e.observations["state"] for e in demos if e.is_demo]
    if not states:
        raise ConfigError('agent.normalize="demos" needs demonstrations, and there are none; use "none"')
    rows = np.concatenate(states).astype(np.float64)
    mean, std = (torch.from_numpy(np.tile(m, frame_stack)).to(torch.float32) for m in (rows.mean(0), rows.std(0)))
    return mean, std
