"""Updates of a throwaway agent, to measure their time and memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from tensordict import TensorDict
from torch import nn

from zoomrl.agents.build import make_agent
from zoomrl.agents.contract import Metrics
from zoomrl.agents.engine import Precision, Speed, accelerate
from zoomrl.agents.learner import Learner
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig

EPISODES = 4
"""Random episodes that batches are sampled from."""


class Trial:
    """An agent and batches of the run's kind and size; the run's own agent and random state are not touched.

    Args:
        config: the run.
        spec: of its environment.
        device: where it learns.
        precision: of its networks.
        speed: at which its updates run.
    """

    def __init__(
        self,
        config: TrainConfig,
        spec: EnvSpec,
        device: torch.device,
        precision: Precision = "float32",
        speed: Speed = "eager",
    ) -> None:
        # Statistics of demonstrations change no duration: zeros and ones take their place.
        stack = config.replay.frame_stack
        self.agent = make_agent(config.agent, spec, frame_stack=stack, restoring=True, device=device)
        _excite(self.agent)
        accelerate(self.agent, speed, precision)
        random = np.random.default_rng(0)
        steps = config.replay.n_step + max(self.agent.chunk_length, self.agent.sequence_length)
        with_demos = config.demos.source != "none"
        episodes = [_random_episode(random, spec, steps, with_demos and index % 2 == 0) for index in range(EPISODES)]
        options = dataclasses.replace(config.replay, capacity=2, storage="ram")
        self._replay = ReplayBuffer(
            options,
            spec,
            self.agent.chunk_length,
            episodes,
            lambda action: action,
            device=device,
            sequence_length=self.agent.sequence_length,
        )

    def batch(self) -> TensorDict:
        """A batch of random numbers."""
        return self._replay.sample()

    def update(self) -> Metrics:
        """Sample a batch and take one gradient step."""
        return self.agent.update(self.batch())

    def diagnose(self) -> None:
        """Measure what the agent tells of itself, where it does."""
        if self.agent.diagnosed:
            self.agent.diagnose(self._replay.sample_at_least(self.agent.diagnosed))


def _excite(agent: Learner) -> None:
    """Give random weights to the output layers that begin at zero.

    All values would be equal, whatever the networks before them do, and no update could show a fault in them.
    """
    for part in agent.parts.values():
        if not isinstance(part, nn.Module):
            continue
        generator = torch.Generator().manual_seed(0)
        for parameter in part.parameters():
            if parameter.ndim == 2 and not parameter.any():
                weight = torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5
                with torch.no_grad():
                    parameter.copy_(weight)


def _random_episode(random: np.random.Generator, spec: EnvSpec, steps: int, is_demo: bool) -> Episode:
    observations = {}
    for name, array in spec.observations.items():
        shape = (steps + 1, *array.shape)
        integers = np.issubdtype(array.dtype, np.integer)
        values = random.integers(0, 256, shape) if integers else random.normal(size=shape)
        observations[name] = values.astype(array.dtype)
    actions = random.uniform(-1, 1, (steps, spec.action_dim)).astype(np.float32)
    rewards = random.integers(0, 2, steps).astype(np.float32)
    return Episode(observations, actions, rewards, is_demo, not is_demo, is_demo, is_demo)
