"""One trajectory as arrays, every frame stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.spec import StateEntry


@dataclass
class Episode:
    """A finished trajectory of ``T`` agent steps.

    Attributes:
        observations: name -> array [T + 1, ...]; row t is what the policy saw before action t, row T the last.
        actions: float32 [T, A], in the environment's units, as executed (after clipping).
        rewards: float32 [T]; rewards[t] follows actions[t].
        terminated: the task ended (success or failure); no value lies beyond.
        truncated: a time limit or interruption ended it; the value continues.
        success: whether the task was solved at any step.
        is_demo: whether the imitation losses may copy it.
        seed: the reset seed, or -1 when unknown.
        meta: provenance (policy, noise, versions); JSON-serialisable.
        state_entries: the parts that ``state`` is joined of, in their order; empty for one that the environment itself
            has shown, in its own order.
    """

    observations: Mapping[str, NDArray[Any]]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool
    truncated: bool
    success: bool
    is_demo: bool = False
    seed: int = -1
    meta: dict[str, Any] = field(default_factory=dict)
    state_entries: tuple[StateEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.actions)

    def validate(self) -> None:
        """Check that lengths agree and that every number is finite; the two flags are not looked at.

        Raises:
            ValueError: names the first array that is inconsistent, or holds NaN or infinity.
        """
        steps = len(self.actions)
        if steps < 1:
            raise ValueError("an episode needs at least one action; this one has none")
        if self.actions.ndim != 2:
            raise ValueError(f"actions must be [T, A], got shape {self.actions.shape}")
        if self.rewards.shape != (steps,):
            raise ValueError(f"rewards must be [{steps}], got shape {self.rewards.shape}")
        for name, array in self.observations.items():
            if len(array) != steps + 1:
                raise ValueError(f"observation {name!r} must have {steps + 1} rows (T + 1), got {len(array)}")
        sizes, state = sum(entry.size for entry in self.state_entries), self.observations.get("state")
        if self.state_entries and (state is None or state.shape[1:] != (sizes,)):
            shape = "absent" if state is None else f"of shape {state.shape}"
            raise ValueError(f"the state entries add up to {sizes} numbers, and the state is {shape}")
        for name, array in (("actions", self.actions), ("rewards", self.rewards), *self.observations.items()):
            if not is_finite(array):
                raise ValueError(f"{name!r} holds NaN or infinite values")


def is_finite(array: NDArray[Any]) -> bool:
    """Whether there is no NaN or infinity; integers, of which images are made, cannot hold any and are not read."""
    return not np.issubdtype(array.dtype, np.inexact) or bool(np.isfinite(array).all())


class EpisodeBuilder:
    """Collects an episode step by step. Arrays are copied.

    Args:
        observation: name -> array [...], what the environment showed at its reset.
        seed: the reset seed, or -1 when unknown.

    Attributes:
        seed: as given.
        success: whether the task was solved at any step so far.
    """

    def __init__(self, observation: Mapping[str, NDArray[Any]], seed: int = -1) -> None:
        self.seed = seed
        self._observations = [_copied(observation)]
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []
        self.success = False

    def __len__(self) -> int:
        return len(self._actions)

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards so far."""
        return float(sum(self._rewards))

    @property
    def actions(self) -> list[NDArray[np.float32]]:
        """Actions taken so far, float32 [A] each, in the environment's units."""
        return self._actions

    @property
    def last_observation(self) -> dict[str, NDArray[Any]]:
        """What the environment showed last: name -> array [...]."""
        return self._observations[-1]

    def add(
        self,
        action: NDArray[np.float32],
        reward: float,
        observation: Mapping[str, NDArray[Any]],
        success: bool,
    ) -> None:
        """Append one agent step and the observation that followed it.

        Args:
            action: [A], in the environment's units, as executed: clipped to its bounds.
            reward: that followed it.
            observation: name -> array [...], with the names and shapes of the first.
            success: whether the task is solved now.
        """
        self._actions.append(np.array(action, dtype=np.float32))
        self._rewards.append(float(reward))
        self._observations.append(_copied(observation))
        self.success |= bool(success)

    def build(self, *, terminated: bool, truncated: bool, is_demo: bool = False, **meta: Any) -> Episode:
        """The finished :class:`Episode`.

        Args:
            terminated: the task ended; no value lies beyond.
            truncated: a time limit or interruption ended it.
            is_demo: whether the imitation losses may copy it.
            meta: provenance; JSON-serialisable.

        Raises:
            KeyError: an observation lacks a name that the first one has.
            ValueError: there is no step, shapes changed on the way, or a number is not finite.
        """
        names = self._observations[0].keys()
        episode = Episode(
            observations={name: np.stack([o[name] for o in self._observations]) for name in names},
            actions=np.stack(self._actions) if self._actions else np.zeros((0, 0), np.float32),
            rewards=np.asarray(self._rewards, np.float32),
            terminated=terminated,
            truncated=truncated,
            success=self.success,
            is_demo=is_demo,
            seed=self.seed,
            meta=dict(meta),
        )
        episode.validate()
        return episode


def _copied(observation: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    # Environments may write the next observation into the same array.
    return {name: np.array(array) for name, array in observation.items()}


def discounted_returns(rewards: Sequence[float] | NDArray[np.float32], discount: float) -> NDArray[np.float64]:
    """Discounted sum of ``rewards`` [T] from each step to the end: [T]. The same for every n of n-step targets."""
    returns = np.zeros(len(rewards))
    following = 0.0
    for step in range(len(rewards) - 1, -1, -1):
        following = returns[step] = float(rewards[step]) + discount * following
    return returns
