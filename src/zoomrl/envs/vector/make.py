"""Several environments at once, in this process or in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium

from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.isolation.env import worst_case_timeout
from zoomrl.envs.registry import make_env
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.process import ProcessVectorEnv
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import ConfigError


def make_vector_env(
    config: EnvConfig,
    num_envs: int | None = None,
    factory: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    apart_from: VectorEnv | None = None,
) -> VectorEnv:
    """Build ``num_envs`` environments, run as ``config.workers`` says.

    Args:
        config: which environment and how.
        num_envs: how many; None for ``config.num_envs``.
        factory: builds one environment of the caller's own (any Gymnasium environment), used in place of
            ``config.id``.
        apart_from: environments that none of these may share an object with. In worker processes each has its own.

    Raises:
        ConfigError: for options that cannot work, an environment of the caller's own that is to be isolated, or a
            factory that returns one object twice.
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
    if config.workers == "process":
        return ProcessVectorEnv(factories, worst_case_timeout(config))
    return SerialVectorEnv(factories, apart_from)


def _wrapped(factory: Callable[[], gymnasium.Env[Any, Any]], config: EnvConfig) -> Env:
    return wrap_gym_env(factory(), config)
