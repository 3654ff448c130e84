"""What the training loop knows of what collects its episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.errors import SimulatorError


@dataclass(frozen=True)
class Ended:
    """A training episode that ended, and is in the replay.

    Attributes:
        episode: its observations, actions and rewards.
        episode_return: sum of its rewards.
        row: what is written of it.
    """

    episode: Episode
    episode_return: float
    row: dict[str, Any]


LOST_RESETS = 20
"""Episodes in a row that one environment may lose at their resets; what shows NaN that often never shows anything."""


def never_begins(index: int, env_id: str) -> SimulatorError:
    """What is raised of an environment that has lost so many."""
    return SimulatorError(
        f"environment {index} ({env_id}) showed NaN or infinite values in the first observations of {LOST_RESETS} "
        "episodes in a row: no episode can begin there. Mend the simulator, which `zoomrl env check` examines, and run "
        "the same command again."
    )


class Collector(Protocol):
    """Brings training episodes into the replay, one agent step at a time.

    Attributes:
        num_envs: environments N in which each agent step is taken.
        episodes_lost: episodes that simulators have spoilt so far.
    """

    num_envs: int
    episodes_lost: int

    def act(self, env_steps: int) -> NDArray[np.float32] | None:
        """Actions [N, A] of the agent step that begins at ``env_steps``; None when asked to stop before it."""
        ...

    def step(self, action: NDArray[np.float32]) -> list[Ended]:
        """Take the agent step; the episodes that it ended."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the episodes to come depend on."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`. Other entries are left alone."""
        ...
