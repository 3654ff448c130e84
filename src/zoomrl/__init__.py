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
    from zoomrl.agents.act.config import ACTConfig
    from zoomrl.agents.bc.config import BCConfig
    from zoomrl.agents.config import AgentConfig
    from zoomrl.agents.contract import Agent
    from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig, ProposalConfig
    from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
    from zoomrl.agents.learner import Learner
    from zoomrl.agents.sac.config import SACConfig
    from zoomrl.agents.taco.config import TACOConfig
    from zoomrl.agents.tcrl.config import TCRLConfig
    from zoomrl.agents.td3.config import IQRLConfig, TD3Config
    from zoomrl.agents.td7.config import TD7Config
    from zoomrl.analysis.metrics import read_run
    from zoomrl.analysis.plot import plot_runs
    from zoomrl.control.config import ControlConfig
    from zoomrl.data.config import ReplayConfig
    from zoomrl.data.episode import Episode, EpisodeBuilder
    from zoomrl.data.replay import ReplayBuffer
    from zoomrl.demos.config import DemoConfig
    from zoomrl.demos.store.reader import read_demos
    from zoomrl.demos.store.writer import write_demos
    from zoomrl.deploy.evaluate import evaluate
    from zoomrl.deploy.export import export
    from zoomrl.deploy.load import load_policy
    from zoomrl.envs.base import Env
    from zoomrl.envs.check.check import check_env
    from zoomrl.envs.config import EnvConfig
    from zoomrl.envs.registry import make_env
    from zoomrl.envs.suites.gym.env import wrap_gym_env
    from zoomrl.errors import ZoomrlError
    from zoomrl.intervention.config import InterventionConfig
    from zoomrl.nets.config import EncoderConfig, RepresentationConfig
    from zoomrl.recipes.compose import fork, preset
    from zoomrl.recipes.presets import PRESETS
    from zoomrl.spec import ArraySpec, EnvSpec
    from zoomrl.training.callbacks import Callback, EarlyStopping
    from zoomrl.training.collect.config import CollectConfig
    from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
    from zoomrl.training.evaluate import Evaluation
    from zoomrl.training.policy import Policy
    from zoomrl.training.result import RunResult
    from zoomrl.training.run import train


_HOMES = {
    "ACTConfig": "agents.act.config",
    "Agent": "agents.contract",
    "AgentConfig": "agents.config",
    "ArraySpec": "spec",
    "BCConfig": "agents.bc.config",
    "CQNASConfig": "agents.cqn.config",
    "CQNConfig": "agents.cqn.config",
    "Callback": "training.callbacks",
    "CheckpointConfig": "training.config",
    "CollectConfig": "training.collect.config",
    "ControlConfig": "control.config",
    "DemoConfig": "demos.config",
    "DrQv2ASConfig": "agents.drqv2.config",
    "DrQv2Config": "agents.drqv2.config",
    "DrQv2PlusConfig": "agents.drqv2.config",
    "EarlyStopping": "training.callbacks",
    "EncoderConfig": "nets.config",
    "Env": "envs.base",
    "EnvConfig": "envs.config",
    "EnvSpec": "spec",
    "Episode": "data.episode",
    "EpisodeBuilder": "data.episode",
    "EvalConfig": "training.config",
    "Evaluation": "training.evaluate",
    "IQRLConfig": "agents.td3.config",
    "InterventionConfig": "intervention.config",
    "Learner": "agents.learner",
    "LogConfig": "training.config",
    "PRESETS": "recipes.presets",
    "Policy": "training.policy",
    "ProposalConfig": "agents.cqn.config",
    "ReplayBuffer": "data.replay",
    "ReplayConfig": "data.config",
    "RepresentationConfig": "nets.config",
    "RunResult": "training.result",
    "SACConfig": "agents.sac.config",
    "TACOConfig": "agents.taco.config",
    "TCRLConfig": "agents.tcrl.config",
    "TD3Config": "agents.td3.config",
    "TD7Config": "agents.td7.config",
    "TrainConfig": "training.config",
    "ZoomrlError": "errors",
    "check_env": "envs.check.check",
    "evaluate": "deploy.evaluate",
    "export": "deploy.export",
    "fork": "recipes.compose",
    "load_policy": "deploy.load",
    "make_env": "envs.registry",
    "plot_runs": "analysis.plot",
    "preset": "recipes.compose",
    "read_demos": "demos.store.reader",
    "read_run": "analysis.metrics",
    "train": "training.run",
    "wrap_gym_env": "envs.suites.gym.env",
    "write_demos": "demos.store.writer",
}

__all__ = [
    "PRESETS",
    "ACTConfig",
    "Agent",
    "AgentConfig",
    "ArraySpec",
    "BCConfig",
    "CQNASConfig",
    "CQNConfig",
    "Callback",
    "CheckpointConfig",
    "CollectConfig",
    "ControlConfig",
    "DemoConfig",
    "DrQv2ASConfig",
    "DrQv2Config",
    "DrQv2PlusConfig",
    "EarlyStopping",
    "EncoderConfig",
    "Env",
    "EnvConfig",
    "EnvSpec",
    "Episode",
    "EpisodeBuilder",
    "EvalConfig",
    "Evaluation",
    "IQRLConfig",
    "InterventionConfig",
    "Learner",
    "LogConfig",
    "Policy",
    "ProposalConfig",
    "ReplayBuffer",
    "ReplayConfig",
    "RepresentationConfig",
    "RunResult",
    "SACConfig",
    "TACOConfig",
    "TCRLConfig",
    "TD3Config",
    "TD7Config",
    "TrainConfig",
    "ZoomrlError",
    "__version__",
    "check_env",
    "evaluate",
    "export",
    "fork",
    "load_policy",
    "make_env",
    "plot_runs",
    "preset",
    "read_demos",
    "read_run",
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
