"""From a config to an agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.learner import CPU, Learner
from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.nets.perception import ObservationShape, Statistics
from zoomrl.plugins import load
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
    movable: NDArray[np.bool_] | None = None,
) -> Learner:
    """Build the agent that ``config`` describes.

    Args:
        config: hyperparameters; their class names the algorithm.
        spec: of the environment.
        frame_stack: observations stacked.
        demos: demonstrations that observation statistics are taken from.
        seed: of weights and tie-breaks.
        restoring: saved state will be loaded, statistics included; ``demos`` are not looked at.
        device: where it learns.
        movable: [A], action dimensions that the run's scaler can move; None for all.
    """
    shape = ObservationShape.of(spec, frame_stack)
    if not shape.views and (config.encoder.weights or config.encoder.frozen):
        raise ConfigError("agent.encoder.weights and .frozen need images, and none are observed; add --env.cameras")
    size = shape.state
    statistics = None
    if config.normalize == "demos" and size:
        statistics = (torch.zeros(size), torch.ones(size)) if restoring else _statistics(demos, frame_stack)
    mask = None if movable is None else torch.from_numpy(movable)
    return assemble(config, shape, spec.action_dim, seed, statistics, device, mask)


def assemble(
    config: AgentConfig,
    shape: ObservationShape,
    action_dim: int,
    seed: int = 0,
    statistics: Statistics | None = None,
    device: torch.device = CPU,
    movable: torch.Tensor | None = None,
) -> Learner:
    """Build the agent of ``config`` for observations of ``shape``; ``statistics`` serve ``normalize="demos"``."""
    build = cast(type[Learner], load(config.learner))
    with one_thread():  # initial weights are the same with any number of threads
        return build(config, shape, action_dim, seed, statistics, device, movable)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU: sums depend on how many there are."""
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before != 1:
            torch.set_num_threads(before)


def _statistics(demos: Sequence[Episode], frame_stack: int) -> Statistics:
    """Mean and standard deviation of the state over the successful demonstrations, repeated for the stack."""
    states = [e.observations["state"] for e in demos if e.is_demo]
    if not states:
        raise ConfigError('agent.normalize="demos" needs demonstrations, and there are none; use "none"')
    rows = np.concatenate(states).astype(np.float64)
    mean, std = (torch.from_numpy(np.tile(m, frame_stack)).to(torch.float32) for m in (rows.mean(0), rows.std(0)))
    return mean, std
