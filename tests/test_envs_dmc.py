"""The DeepMind Control Suite on the real simulator."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from envs_common import assert_action_repeat_sums, assert_honest_seeding
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.dmc import DMCEnv, dmc_tasks
from zoomrl.errors import ConfigError, MissingDependencyError


def make(name: str = "cartpole-swingup", **options: object) -> DMCEnv:
    return DMCEnv(name, EnvConfig(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cartpole-swingup", "ball_in_cup-catch", "finger-turn_hard", "quadruped-escape"])
@pytest.mark.long
def test_same_seed_same_episode(name: str) -> None:
    assert_honest_seeding(make(name), make(name))


def test_equals_the_suite() -> None:
    from dm_control import suite

    env = make("walker-walk")
    theirs = suite.load("walker", "walk", task_kwargs={"random": 5})
    obs, _ = env.reset(seed=5)
    step = theirs.reset()
    rng = np.random.default_rng(0)
    for _ in range(20):
        flat = np.concatenate([np.ravel(v) for v in step.observation.values()]).astype(np.float32)
        np.testing.assert_array_equal(obs["state"], flat)
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        obs, reward, *_ = env.step(action)
        step = theirs.step(action)
        assert reward == step.reward


def test_scalar_entries_and_spec() -> None:
    spec = make("walker-walk", action_repeat=2).env_spec  # 'height' is a scalar there
    assert (spec.id, spec.state_dim, spec.action_dim) == ("dmc:walker-walk", 24, 6)
    assert (spec.control_hz, spec.time_limit, spec.reports_success) == (20.0, 500, False)
    assert spec.reward == "native"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cartpole_swingup", "dmc:cartpole-swingup"),
        ("cup_catch", "dmc:ball_in_cup-catch"),
        ("ball_in_cup-catch", "dmc:ball_in_cup-catch"),
        ("acrobot_swingup_sparse", "dmc:acrobot-swingup_sparse"),
    ],
)
def test_names(written: str, meant: str) -> None:
    assert make(written).env_spec.id == meant


def test_action_repeat() -> None:
    assert_action_repeat_sums(make("walker-walk"), make("walker-walk", action_repeat=3))


@pytest.mark.parametrize("limit", [None, 30])
def test_time_limit_truncates(limit: int | None) -> None:
    env = make(action_repeat=2, time_limit=limit)
    decisions = limit or 500
    env.reset(seed=0)
    steps = [env.step(np.zeros(1, np.float32)) for _ in range(decisions)]
    assert [s[2:4] for s in steps] == [(False, False)] * (decisions - 1) + [(False, True)]
    assert not any(s[4]["success"] for s in steps)


@pytest.mark.parametrize(("discount", "flags"), [(0.0, (True, False)), (1.0, (False, True))])
def test_the_suites_last_step(discount: float, flags: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    env = make()
    env.reset(seed=0)
    last = SimpleNamespace(observation={"x": np.zeros(5)}, reward=1.0, discount=discount, last=lambda: True)
    monkeypatch.setattr(env._sim, "step", lambda action: last)
    assert env.step(np.zeros(1, np.float32))[2:4] == flags


@pytest.mark.long
def test_render() -> None:
    env = make()
    env.reset(seed=0)
    frame = env.render()
    assert (frame.shape, frame.dtype) == ((240, 240, 3), np.uint8)
    assert frame.std() > 5
    env.close()
    env.close()


def test_no_expert() -> None:
    env = make()
    env.reset(seed=0)
    assert not env.has_expert
    assert env.expert_action() is None


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cartpole-swingup" in dmc_tasks()
    with pytest.raises(ConfigError, match="Did you mean cartpole-swingup"):
        make("cartpole-swingupp")
    with pytest.raises(ConfigError, match="'sparse' is not available for dmc; choose 'native'"):
        make(reward="sparse")
    with pytest.raises(ConfigError, match="unbounded actions"):
        make("lqr-lqr_2_1")
    with pytest.raises(ConfigError, match="too long"):
        make(time_limit=1001)
    monkeypatch.setitem(sys.modules, "dm_control.suite", None)
    with pytest.raises(MissingDependencyError, match=r"zoomrl\[dmc\]"):
        make()


def test_physics_that_diverges_ends_its_episode_alone() -> None:
    env = make("walker-walk")
    last, _ = env.reset(seed=1)
    env._sim.physics.data.qvel[:] = 1e12
    seen, reward, terminated, truncated, info = env.step(np.zeros(6, np.float32))
    assert (reward, terminated, truncated, info["unstable"]) == (0.0, False, True, True)
    np.testing.assert_array_equal(seen["state"], last["state"])
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(again["state"], last["state"])
