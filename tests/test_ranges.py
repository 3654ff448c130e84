"""Every config refuses what lies outside of its own ranges, by the full name of the option, wherever it is made."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError
from zoomrl.intervention.config import InterventionConfig
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.training.callbacks import EarlyStopping
from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig

NAN = float("nan")
WRONG = [
    (EvalConfig, {"episodes": -1}, "eval.episodes must be at least 0, got -1"),
    (EvalConfig, {"num_envs": 0}, "eval.num_envs must be at least 1"),
    (LogConfig, {"every": 0}, "log.every must be at least 1"),
    (CheckpointConfig, {"keep": 0}, "checkpoint.keep must be at least 1"),
    (ReplayConfig, {"batch_size": 0}, "replay.batch_size must be at least 1, got 0"),
    (ReplayConfig, {"capacity": 1}, "replay.capacity must be at least 2"),
    (ReplayConfig, {"discount": NAN}, r"replay.discount must lie in 0 \.\. 1, got nan"),
    (ReplayConfig, {"demo_fraction": 1.5}, r"replay.demo_fraction must lie in 0 \.\. 1"),
    (ControlConfig, {"noise": "cosine(1)"}, "control.noise: expected a number, linear"),
    (ControlConfig, {"replan_every": 0}, "control.replan_every must be at least 1"),
    (ControlConfig, {"action_margin": -1.0}, "control.action_margin must lie in"),
    (DemoConfig, {"validation": 2.0}, r"demos.validation must lie in 0 \.\. 1"),
    (DemoConfig, {"noise": -0.1}, "demos.noise must be at least 0"),
    (InterventionConfig, {"port": 70_000}, "intervene.port must lie in 0"),
    (InterventionConfig, {"step": 0.0}, "intervene.step must lie above 0"),
    (EnvConfig, {"num_envs": 0}, "env.num_envs must be at least 1, got 0"),
    (EnvConfig, {"timeout": NAN}, "env.timeout must be positive, got nan"),
    (EnvConfig, {"time_limit": 0}, "env.time_limit must be at least 1, got 0"),
    (EncoderConfig, {"shift": -1}, "agent.encoder.shift must be at least 0"),
    (RepresentationConfig, {"target_tau": 1.5}, "agent.representation.target_tau must be above 0 and at most 1"),
    (RepresentationConfig, {"lr": NAN}, "agent.representation.lr must be positive"),
    (RepresentationConfig, {"kind": "self_predictive", "dim": 7}, r"agent.representation.dim \(7\) must be a multiple"),
    (TrainConfig, {"steps": -1}, "steps must be at least 0"),
    (TrainConfig, {"precision_tolerance": NAN}, "precision_tolerance must be at least 0"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), WRONG)
def test_what_cannot_work_is_refused_by_its_full_name(kind, fields, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        kind(**fields)


CONFIGS = [*AGENT_CONFIGS.values(), EncoderConfig, RepresentationConfig, EnvConfig, ReplayConfig, ControlConfig]
LISTED = [
    (kind, field.name, typing.get_type_hints(kind)[field.name])
    for kind in (*CONFIGS, TrainConfig)
    for field in dataclasses.fields(kind)
    if typing.get_origin(typing.get_type_hints(kind)[field.name]) is typing.Literal
]


@pytest.mark.parametrize(("kind", "name", "hint"), LISTED, ids=lambda part: getattr(part, "__name__", str(part)[:40]))
def test_each_listed_choice_and_no_other_is_taken(kind, name, hint):
    with pytest.raises(ConfigError, match=rf"{name} must be one of '.*', got 'nonsense'"):
        dataclasses.replace(kind(), **{name: "nonsense"})
    assert getattr(kind(), name) in typing.get_args(hint)


def test_there_are_many_of_them():
    assert len(LISTED) > 60
    assert {"update_at", "executor", "sampling", "value", "kind", "device"} <= {name for _, name, _ in LISTED}


def test_a_callback_refuses_no_patience():
    with pytest.raises(ConfigError, match="patience must be at least 1, got 0"):
        EarlyStopping(0)
