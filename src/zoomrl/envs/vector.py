"""Several environments at once, in this process or in worker processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import Env, Observation
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.death import SimulatorDied
from zoomrl.envs.gym import wrap_gym_env
from zoomrl.envs.isolated import IsolatedEnv, patience
from zoomrl.envs.registry import make_env
from zoomrl.envs.vector_base import Outcome, StepResult, VectorEnv
from zoomrl.envs.vector_process import ProcessVectorEnv
from zoomrl.errors import ConfigError

__all__ = ["ProcessVectorEnv", "SerialVectorEnv", "StepResult", "VectorEnv", "make_vector_env"]

_log = logging.getLogger("zoomrl.envs")


class SerialVectorEnv(VectorEnv):
    """Steps the environments from this process, one after the other; isolated simulators work at the same time.

    Exceptions arrive as they are raised, but that an isolated simulator died costs its episode and nothing else.
    """

    def __init__(self, factories: Sequence[Callable[[], Env]]) -> None:
        self._envs: list[Env] = []
        try:
            for factory in factories:
                self._envs.append(factory())
            super().__init__([env.env_spec for env in self._envs])
        except BaseException:
            self.close()
            raise

    def render(self, index: int) -> NDArray[np.uint8]:
        """Picture of environment ``index``, uint8 [H, W, 3]."""
        return self._envs[index].render()

    def close(self) -> None:
        """Close all environments. Safe to call twice."""
        for env in self._envs:
            env.close()
        self._envs = []

    def _reset_one(self, index: int, seed: int) -> tuple[Observation, dict[str, Any]]:
        return self._envs[index].reset(seed=seed)

    def _step_some(self, actions: Mapping[int, NDArray[np.float32]]) -> dict[int, Outcome | None]:
        for index, action in actions.items():
            env = self._envs[index]
            if isinstance(env, IsolatedEnv) and env.pid is not None:
                env.send_step(action)
        return {index: self._outcome(index, action) for index, action in actions.items()}

    def _outcome(self, index: int, action: NDArray[np.float32]) -> Outcome | None:
        env = self._envs[index]
        if isinstance(env, IsolatedEnv) and env.pid is None:
            return None  # it died since its last step, over a picture; the next reset starts it again
        try:
            answer = env.receive_step() if isinstance(env, IsolatedEnv) else env.step(action)
        except SimulatorDied as death:
            _log.warning("environment %d: its episode is dropped: %s", index, death)
            return None
        observation, reward, terminated, truncated, info = answer
        return Outcome(observation, reward, terminated, truncated, info["success"])


def make_vector_env(
    config: EnvConfig,
    num_envs: int | None = None,
    factory: Callable[[], gymnasium.Env[Any, Any]] | None = None,
) -> VectorEnv:
    """Build ``num_envs`` environments, run as ``config.workers`` says.

    Args:
        config: which environment and how.
        num_envs: how many; None for ``config.num_envs``.
        factory: builds one environment of the caller's own (any Gymnasium environment), used in place of
            ``config.id``.

    Raises:
        ConfigError: for options that cannot work, or an environment of the caller's own that is to be isolated.
    """
    count = config.num_envs if num_envs is None else num_envs
    if count < 1:
        raise ConfigError(f"num_envs must be at least 1, got {count}")
    if factory is not None and config.python:
        raise ConfigError(
            f"python {config.python!r} builds the environment itself, by its id. To isolate one of your own, register "
            "it with Gymnasium and set id to gym:<module>:<registered id>"
        )
    build: Callable[[], Env] = partial(make_env, config) if factory is None else partial(_wrapped, factory, config)
    factories = [build] * count
    return ProcessVectorEnv(factories, patience(config)) if config.workers == "process" else SerialVectorEnv(factories)


def _wrapped(factory: Callable[[], gymnasium.Env[Any, Any]], config: EnvConfig) -> Env:
    return wrap_gym_env(factory(), config)
