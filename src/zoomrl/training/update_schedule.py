"""When updates are made: so many per agent step, at once or saved up until an episode ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


class UpdateSchedule:
    """Counts the updates that steps call for, and those that are due.

    Args:
        per_step: updates per agent step; fractions add up.
        at: make them as steps call for them, or when an episode ends.
    """

    def __init__(self, per_step: float, at: Literal["step", "episode"]) -> None:
        self.at = at
        self._per_step = per_step
        self._credit = 0.0
        self._due = 0.0

    @property
    def due(self) -> bool:
        """Whether an update is to be made now."""
        return self._due >= 1

    def steps(self, count: int) -> None:
        """``count`` agent steps call for their updates."""
        self._credit += self._per_step * count
        if self.at == "step":
            self._due, self._credit = self._credit // 1, self._credit % 1

    def episode_ended(self) -> None:
        """What was saved up for the end of an episode becomes due."""
        if self.at == "episode":
            self._due, self._credit = self._due + self._credit // 1, self._credit % 1

    def take(self) -> None:
        """One that was due is made."""
        self._due -= 1

    def state_dict(self) -> dict[str, Any]:
        """Updates called for and due."""
        return {"credit": self._credit, "due": self._due}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; other entries are left alone."""
        self._credit, self._due = state["credit"], state["due"]
