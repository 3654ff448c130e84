"""Which policy is worth keeping: judged by the worst of its episodes (policy checkpoints of TD7)."""

from __future__ import annotations

import math
from typing import Any, Literal

from zoomrl.agents.configs import TD7Config

Verdict = Literal["go on", "abandon", "keep"]


class PolicyCheckpoint:
    """Judges the policy that is not changed while it is judged (Fujimoto et al. 2023).

    Args:
        config: how many episodes judge a policy, at first and later.

    Attributes:
        best: worst return of the policy kept last; minus infinity before the first.
        kept: whether any policy was kept.
    """

    def __init__(self, config: TD7Config) -> None:
        self._config = config
        self.best = -math.inf
        self.kept = False
        self._later = False
        self._episodes = 0
        self._worst = math.inf

    def judge(self, episode_return: float, updates: int) -> Verdict:
        """Take note of an episode.

        Args:
            episode_return: of the training episode, exploration noise included.
            updates: made so far.

        Returns:
            ``abandon`` as soon as the worst return is below that of the policy kept, ``keep`` when all episodes are
            there without that; both begin a new judgement, and are the time to learn. ``go on`` asks for more.
        """
        config = self._config
        if not self._later and updates >= config.later:
            self._later = True
            if self.kept:
                # A multiple of a negative return would be a higher bar.
                self.best -= (1 - config.forgetting) * abs(self.best)
        self._episodes += 1
        self._worst = min(self._worst, episode_return)
        if self._worst < self.best:
            self._begin()
            return "abandon"
        if self._episodes < (config.later_episodes if self._later else config.first_episodes):
            return "go on"
        self.best, self.kept = self._worst, True
        self._begin()
        return "keep"

    def _begin(self) -> None:
        self._episodes, self._worst = 0, math.inf

    def state_dict(self) -> dict[str, Any]:
        """Everything that it remembers."""
        return {
            "best": self.best,
            "kept": self.kept,
            "later": self._later,
            "episodes": self._episodes,
            "worst": self._worst,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best, self.kept, self._later = state["best"], state["kept"], state["later"]
        self._episodes, self._worst = state["episodes"], state["worst"]
