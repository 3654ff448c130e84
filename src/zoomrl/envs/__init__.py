"""Environments. Names load on first use, so that importing the options alone needs no simulator."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoomrl.envs.base import Env
    from zoomrl.envs.registry import make_env
    from zoomrl.envs.suites.gym.env import wrap_gym_env
    from zoomrl.envs.vector.base import VectorEnv
    from zoomrl.envs.vector.make import make_vector_env

__all__ = ["Env", "VectorEnv", "make_env", "make_vector_env", "wrap_gym_env"]

_HOMES = {
    "Env": "base",
    "VectorEnv": "vector.base",
    "make_env": "registry",
    "make_vector_env": "vector.make",
    "wrap_gym_env": "suites.gym.env",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
