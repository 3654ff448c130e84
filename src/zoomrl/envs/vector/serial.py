"""Several environments at once, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import Env, Observation
from zoomrl.envs.isolation.env import IsolatedEnv
from zoomrl.envs.processes import SimulatorDied
from zoomrl.envs.suites.gym.env import GymEnv
from zoomrl.envs.vector.base import StepOutcome, VectorEnv, outcome_of
from zoomrl.errors import ConfigError

_log = logging.getLogger("zoomrl.envs")


class SerialVectorEnv(VectorEnv):
    """Steps the environments from this process, one after the other; isolated simulators work at the same time.

    Exceptions arrive as they are raised, but that an isolated simulator died costs its episode and nothing else.

    Args:
        factories: one per environment.
        apart_from: environments that none of these may share an object with.

    Raises:
        ConfigError: when a factory returns an environment that is in use already, here or in ``apart_from``.
    """

    def __init__(self, factories: Sequence[Callable[[], Env]], apart_from: VectorEnv | None = None) -> None:
        self._envs: list[Env] = []
        try:
            for factory in factories:
                self._envs.append(factory())
            _check_apart(self.instances, () if apart_from is None else apart_from.instances)
            super().__init__([env.env_spec for env in self._envs])
        except BaseException:
            with suppress(Exception):  # what went wrong first is to be seen
                self.close()
            raise

    @property
    def instances(self) -> tuple[object, ...]:
        """The environments below all wrappers."""
        return tuple(_innermost(env) for env in self._envs)

    def render(self, index: int) -> NDArray[np.uint8]:
        """Image of environment ``index``, uint8 [H, W, 3]."""
        return self._envs[index].render()

    def close(self) -> None:
        """Close all environments. Safe to call twice."""
        envs, self._envs = self._envs, []
        with ExitStack() as stack:  # one that cannot be closed does not keep the others open
            for env in envs:
                stack.callback(env.close)

    def _reset_one(self, index: int, seed: int) -> tuple[Observation, dict[str, Any]]:
        return self._envs[index].reset(seed=seed)

    def _step_some(self, actions: Mapping[int, NDArray[np.float32]]) -> dict[int, StepOutcome | None]:
        for index, action in actions.items():
            env = self._envs[index]
            if isinstance(env, IsolatedEnv) and env.pid is not None:
                env.send_step(action)
        return {index: self._outcome(index, action) for index, action in actions.items()}

    def _outcome(self, index: int, action: NDArray[np.float32]) -> StepOutcome | None:
        env = self._envs[index]
        if isinstance(env, IsolatedEnv) and env.pid is None:
            return None  # it died since its last step, over an image; the next reset starts it again
        try:
            answer = env.receive_step() if isinstance(env, IsolatedEnv) else env.step(action)
        except SimulatorDied as death:
            _log.warning("environment %d: its episode is dropped: %s", index, death)
            return None
        return outcome_of(answer)


def _innermost(env: Any) -> object:
    """The environment below all wrappers: Gymnasium's, zoomrl's, and others that keep what they wrap in ``env``."""
    passed: list[object] = []
    while not any(env is one for one in passed):  # some keep themselves in ``env``
        passed.append(env)
        inner = env.wrapped if isinstance(env, GymEnv) else env.unwrapped
        if inner is env:
            inner = vars(env).get("env") if hasattr(env, "__dict__") else None
            if not isinstance(inner, gymnasium.Env):
                return env
        env = inner
    return env


def _check_apart(instances: Sequence[object], others: Sequence[object]) -> None:
    """Refuse one object for two environments: each reset and step of one would fall into the other's episode."""
    seen = list(others)
    for instance in instances:
        if any(instance is one for one in seen):
            raise ConfigError(
                "each environment needs an object of its own, those for training and for evaluation too; got one "
                f"{type(instance).__name__} object twice, below all wrappers. Build a new one whenever make_env is "
                f"called, as in make_env=lambda: {type(instance).__name__}(...), and not one that was made before"
            )
        seen.append(instance)
