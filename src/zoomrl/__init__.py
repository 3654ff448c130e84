"""Coarse-to-fine reinforcement learning of continuous control from a handful of demonstrations.

>>> from zoomrl import preset, train, load_policy
>>> result = train(preset("quickstart"))
>>> policy = load_policy(result.directory)

Names load on first use, so that ``import zoomrl`` costs nothing. Its one side effect: on a Linux machine
without a display it sets ``MUJOCO_GL``, unless that is set already.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoomrl.envs.rendering import prefer_headless_gl

if TYPE_CHECKING:
    from zoomrl.agents.config import CQNASConfig, CQNConfig, DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
    from zoomrl.control.config import ControlConfig
    from zoomrl.data.config import ReplayConfig
    from zoomrl.data.episode import Episode, EpisodeBuilder
    from zoomrl.demos.config import DemoConfig
    from zoomrl.demos.store import read_demos, write_demos
    from zoomrl.envs.config import EnvConfig
    from zoomrl.envs.gym import wrap_gym_env
    from zoomrl.envs.registry import make_env
    from zoomrl.errors import ZoomrlError
    from zoomrl.nets.config import EncoderConfig
    from zoomrl.recipes.presets import PRESETS, preset
    from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
    from zoomrl.training.policy import Policy, load_policy
    from zoomrl.training.run import RunResult, train

__version__ = "0.1.0"

_HOMES = {
    "CQNASConfig": "agents.config",
    "CQNConfig": "agents.config",
    "CheckpointConfig": "training.config",
    "ControlConfig": "control.config",
    "DemoConfig": "demos.config",
    "DrQv2ASConfig": "agents.config",
    "DrQv2Config": "agents.config",
    "DrQv2PlusConfig": "agents.config",
    "EncoderConfig": "nets.config",
    "EnvConfig": "envs.config",
    "Episode": "data.episode",
    "EpisodeBuilder": "data.episode",
    "EvalConfig": "training.config",
    "LogConfig": "training.config",
    "PRESETS": "recipes.presets",
    "Policy": "training.policy",
    "ReplayConfig": "data.config",
    "RunResult": "training.run",
    "TrainConfig": "training.config",
    "ZoomrlError": "errors",
    "load_policy": "training.policy",
    "make_env": "envs.registry",
    "preset": "recipes.presets",
    "read_demos": "demos.store",
    "train": "training.run",
    "wrap_gym_env": "envs.gym",
    "write_demos": "demos.store",
}

__all__ = [
    "PRESETS",
    "CQNASConfig",
    "CQNConfig",
    "CheckpointConfig",
    "ControlConfig",
    "DemoConfig",
    "DrQv2ASConfig",
    "DrQv2Config",
    "DrQv2PlusConfig",
    "EncoderConfig",
    "EnvConfig",
    "Episode",
    "EpisodeBuilder",
    "EvalConfig",
    "LogConfig",
    "Policy",
    "ReplayConfig",
    "RunResult",
    "TrainConfig",
    "ZoomrlError",
    "__version__",
    "load_policy",
    "make_env",
    "preset",
    "read_demos",
    "train",
    "wrap_gym_env",
    "write_demos",
]


prefer_headless_gl()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
