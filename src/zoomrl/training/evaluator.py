"""Evaluations during training, and what is measured along with them. Training goes on as if they had not been."""

from __future__ import annotations

from collections.abc import Callable

from zoomrl.agents.contract import Agent
from zoomrl.data.replay import ReplayBuffer
from zoomrl.training.evaluate import Evaluation

VALIDATION_BATCHES = 10
"""Batches that a validation loss is the mean of."""


class Evaluator:
    """Evaluates the agent as it is.

    Args:
        episodes: runs the episodes at the given environment step, or returns None when abandoned.
        agent: is evaluated.
        replay: has the samples that it is diagnosed on.
        validation: demonstrations that are not learnt from, or None.
    """

    def __init__(
        self,
        episodes: Callable[[int], Evaluation | None],
        agent: Agent,
        replay: ReplayBuffer,
        validation: ReplayBuffer | None,
    ) -> None:
        self._episodes = episodes
        self._agent = agent
        self._replay = replay
        self._validation = validation

    def evaluate(self, env_steps: int) -> Evaluation | None:
        """The evaluation at ``env_steps``; None when abandoned."""
        return self._episodes(env_steps)

    def measure(self) -> dict[str, float]:
        """Numbers of the agent by name, besides those of the episodes."""
        return {**self.validated(), **self._diagnosis()}

    def validated(self) -> dict[str, float]:
        """Means of the agent's losses on demonstrations that it does not learn from: the same samples each time."""
        if self._validation is None:
            return {}
        before = self._validation.sampler.state_dict()
        rows = [self._agent.validate(self._validation.sample()) for _ in range(VALIDATION_BATCHES)]
        self._validation.sampler.load_state_dict(before)
        return {name: sum(float(row[name]) for row in rows) / len(rows) for name in rows[0]}

    def _diagnosis(self) -> dict[str, float]:
        """What the agent measures of itself on some replayed samples."""
        count = self._agent.diagnosed
        if not count or not self._replay.can_sample():
            return {}
        before = self._replay.sampler.state_dict()
        batch = self._replay.sample_at_least(count)
        self._replay.sampler.load_state_dict(before)
        return {name: float(value) for name, value in self._agent.diagnose(batch).items()}
