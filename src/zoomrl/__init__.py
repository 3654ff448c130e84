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

from zoomrl.envs.mujoco.backend import prefer_headless_gl
from zoomrl.version import __version__

if TYPE_CHECKING:
    from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
    from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
    from zoomrl.control.config import ControlConfig
    from zoomrl.data.config import ReplayConfig
    from zoomrl.data.episode import Episode, EpisodeBuilder
    from zoomrl.demos.config import DemoConfig
    from zoomrl.demos.store.reader import read_demos
    from zoomrl.demos.store.writer import write_demos
    from zoomrl.envs.config import EnvConfig
    from zoomrl.envs.registry import make_env
    from zoomrl.envs.suites.gym.env import wrap_gym_env
    from zoomrl.errors import ZoomrlError
    from zoomrl.nets.config import EncoderConfig
    from zoomrl.recipes.compose import preset
    from zoomrl.recipes.presets import PRESETS
    from zoomrl.training.callbacks import Callback
    from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
    from zoomrl.training.policy import Policy, load_policy
    from zoomrl.training.run import RunResult, train


_HOMES = {
    "CQNASConfig": "agents.cqn.config",
    "CQNConfig": "agents.cqn.config",
    "Callback": "training.callbacks",
    "CheckpointConfig": "training.config",
    "ControlConfig": "control.config",
    "DemoConfig": "demos.config",
    "DrQv2ASConfig": "agents.drqv2.config",
    "DrQv2Config": "agents.drqv2.config",
    "DrQv2PlusConfig": "agents.drqv2.config",
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
    "preset": "recipes.compose",
    "read_demos": "demos.store.reader",
    "train": "training.run",
    "wrap_gym_env": "envs.suites.gym.env",
    "write_demos": "demos.store.writer",
}

__all__ = [
    "PRESETS",
    "CQNASConfig",
    "CQNConfig",
    "Callback",
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
