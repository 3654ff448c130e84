"""Several environments stepped together: the contract, and the bookkeeping that every kind shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.answers import check_observation
from zoomrl.envs.base import Observation, check_actions
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec

LOGGED = "log/"
"""How entries of an environment's info begin that belong into the row of its episode."""


@dataclass(frozen=True)
class StepResult:
    """What N environments returned for one agent step each. Row i belongs to environment i.

    Attributes:
        obs: name -> array [N, ...]; an inactive environment keeps its last observation.
        reward: float32 [N]; zero where inactive or died.
        terminated: bool [N].
        truncated: bool [N].
        success: bool [N], of this agent step.
        died: environments whose worker died during this agent step. Their episodes are void: drop them and
            reset these environments.
        logged: numbers by name, for each environment: see :func:`logged_numbers`.
    """

    obs: Observation
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    success: NDArray[np.bool_]
    died: list[int]
    logged: list[dict[str, float]]


@dataclass(frozen=True)
class StepOutcome:
    """What one environment returned for one agent step."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    success: bool
    logged: dict[str, float] = field(default_factory=dict)


def outcome_of(answer: tuple[Observation, float, bool, bool, dict[str, Any]]) -> StepOutcome:
    """What an environment's ``step`` returned, as an outcome."""
    observation, reward, terminated, truncated, info = answer
    return StepOutcome(observation, reward, terminated, truncated, info["success"], logged_numbers(info))


def logged_numbers(info: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that an environment wants to see in the row of its episode: entries of its info called log/..."""
    logged = {}
    for name, value in info.items():
        if isinstance(name, str) and name.startswith(LOGGED) and np.ndim(value) == 0:
            number = np.asarray(value)
            if number.dtype.kind in "biuf":
                logged[name] = float(number)
    return logged


class VectorEnv(ABC):
    """N environments of one kind, stepped together and reset one by one.

    Nothing is reset automatically: the caller resets each ended environment, with a seed of its choice.
    Use as a context manager, or call :meth:`close`.
    """

    def __init__(self, specs: list[EnvSpec]) -> None:
        if not specs:
            raise ConfigError("a vector environment needs at least one environment")
        self.env_spec = specs[0]
        for index, spec in enumerate(specs):
            if differences := self.env_spec.mismatches(spec):
                raise ConfigError(
                    f"environment {index} ({spec.id}) does not fit environment 0 ({self.env_spec.id}): "
                    + "; ".join(differences)
                )
        self.num_envs = len(specs)
        self._last: Observation = {
            name: np.zeros((self.num_envs, *array.shape), array.dtype)
            for name, array in self.env_spec.observations.items()
        }

    @property
    def instances(self) -> tuple[object, ...]:
        """The environment objects that live in this process, below all wrappers."""
        return ()

    def reset(self, index: int, seed: int) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in environment ``index``.

        Returns:
            Its first observation, name -> array without batch dimension, and its info.

        Raises:
            SimulatorError: when the environment raises, or shows what its spec does not promise.
        """
        observation, info = self._reset_one(index, seed)
        self._remember(index, observation)
        return observation, info

    def step(self, actions: NDArray[np.float32], active: NDArray[np.bool_] | None = None) -> StepResult:
        """Take one agent step in every active environment.

        Args:
            actions: float32 [N, A]; rows of inactive environments are ignored.
            active: bool [N], or None for all.

        Raises:
            ValueError: for actions or a mask of the wrong shape, or an active row that is not finite.
            SimulatorError: when an environment raises, or shows what its spec does not promise.
        """
        count = self.num_envs
        mask = np.ones(count, bool) if active is None else np.asarray(active, bool)
        if mask.shape != (count,):
            raise ValueError(f"active must have shape {(count,)}, got {mask.shape}")
        rows = np.asarray(actions, np.float32)
        if rows.ndim == 2 and len(rows) == count:
            rows = np.where(mask[:, None], rows, np.float32(0))
        rows = check_actions(rows, self.env_spec.action, (count,))
        outcomes = self._step_some({int(i): rows[i] for i in np.flatnonzero(mask)})
        reward = np.zeros(count, np.float32)
        terminated, truncated, success = (np.zeros(count, bool) for _ in range(3))
        died = []
        logged: list[dict[str, float]] = [{} for _ in range(count)]
        for index, outcome in sorted(outcomes.items()):
            if outcome is None:
                died.append(index)
                continue
            self._remember(index, outcome.observation)
            reward[index] = outcome.reward
            terminated[index] = outcome.terminated
            truncated[index] = outcome.truncated
            success[index] = outcome.success
            logged[index] = outcome.logged
        # A copy, since the next step overwrites the rows.
        obs = {name: array.copy() for name, array in self._last.items()}
        return StepResult(obs, reward, terminated, truncated, success, died, logged)

    def _remember(self, index: int, observation: Observation) -> None:
        # Checked here too: assigning would broadcast, and what make_env returns may bring its own reset and step.
        where = f"environment {index} ({self.env_spec.id})"
        check_observation(observation, self.env_spec.observations, where)
        for name, rows in self._last.items():
            rows[index] = observation[name]

    @abstractmethod
    def render(self, index: int) -> NDArray[np.uint8]:
        """Image of environment ``index``, uint8 [H, W, 3]."""

    @abstractmethod
    def close(self) -> None:
        """Free everything. Safe to call twice."""

    @abstractmethod
    def _reset_one(self, index: int, seed: int) -> tuple[Observation, dict[str, Any]]:
        """Reset environment ``index``."""

    @abstractmethod
    def _step_some(self, actions: Mapping[int, NDArray[np.float32]]) -> dict[int, StepOutcome | None]:
        """Step the environments named; None for one whose worker died."""

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
