"""Policy checkpoints of TD7: which policy to save, by the worst return of its episodes."""

from __future__ import annotations

import math
from typing import Any, Literal

from zoomrl.agents.td7.config import TD7Config

Judgement = Literal["continue", "reject", "save"]


class PolicyCheckpoint:
    """Assesses a policy that is frozen meanwhile (Fujimoto et al. 2023).

    Args:
        config: how many episodes a policy is assessed by, before and after ``checkpoint_after`` updates.

    Attributes:
        best: worst return of the policy saved last; minus infinity before the first.
        saved: whether any policy was saved.
    """

    def __init__(self, config: TD7Config) -> None:
        self._config = config
        self.best = -math.inf
        self.saved = False
        self._later = False
        self._episodes = 0
        self._worst = math.inf

    def record(self, episode_return: float, updates: int) -> Judgement:
        """Record the return of an episode of the policy.

        Args:
            episode_return: of the training episode, exploration noise included.
            updates: made so far.

        Returns:
            ``reject`` as soon as the worst return is below that of the saved policy, ``save`` when all episodes were
            recorded without that; both end the assessment, and are the time to learn. ``continue`` asks for more.
        """
        config = self._config
        if not self._later and updates >= config.checkpoint_after:
            self._later = True
            if self.saved:
                # A multiple of a negative return would be a higher bar.
                self.best -= (1 - config.reset_weight) * abs(self.best)
        self._episodes += 1
        self._worst = min(self._worst, episode_return)
        if self._worst < self.best:
            self._begin()
            return "reject"
        if self._episodes < (config.later_episodes if self._later else config.first_episodes):
            return "continue"
        self.best, self.saved = self._worst, True
        self._begin()
        return "save"

    def _begin(self) -> None:
        self._episodes, self._worst = 0, math.inf

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue; keys as in earlier checkpoints."""
        return {
            "best": self.best,
            "kept": self.saved,
            "later": self._later,
            "episodes": self._episodes,
            "worst": self._worst,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best, self.saved, self._later = state["best"], state["kept"], state["later"]
        self._episodes, self._worst = state["episodes"], state["worst"]
