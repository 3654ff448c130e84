"""Gymnasium environments: registered ones and the caller's own."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs_common import assert_action_repeat_sums, assert_honest_seeding
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import make_gym_env, wrap_gym_env
from zoomrl.errors import ConfigError, MissingDependencyError


class Goal(gymnasium.Env):  # type: ignore[type-arg]
    """A point that moves by its action; Dict observation, success when it passes 3, terminal beyond 5."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, action_space: spaces.Space | None = None, key: str | None = "is_success") -> None:  # type: ignore[type-arg]
        self.action_space = action_space or spaces.Box(-0.5, 2.0, (1, 2), np.float64)
        inner = spaces.Dict({"b": spaces.Box(-9, 9, (2,)), "a": spaces.Box(-9, 9, (1, 1), np.float64)})
        self.observation_space = spaces.Dict({"z": inner, "goal": spaces.Box(-9, 9, ())})
        self.key = key
        self.x = 0.0

    def _obs(self) -> dict[str, Any]:
        inner = {"b": np.array([self.x, 1], np.float32), "a": np.array([[2.0]])}
        return {"z": inner, "goal": np.array(3, np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x = float(self.np_random.uniform(-1, 0))
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.x += float(action.sum())
        info = {self.key: self.x > 3} if self.key else {}
        return self._obs(), self.x, self.x > 5, False, info


def own(env: Goal | None = None, **options: object) -> Any:
    return wrap_gym_env(env or Goal(), EnvConfig(**{"time_limit": 10, **options}))  # type: ignore[arg-type]


def test_pendulum_seeding_and_limit() -> None:
    env, other = (make_gym_env("Pendulum-v1", EnvConfig()) for _ in range(2))
    assert_honest_seeding(env, other)
    spec = env.env_spec
    assert (spec.id, spec.state_dim, spec.action_dim) == ("gym:Pendulum-v1", 3, 1)
    assert (spec.time_limit, spec.control_hz, spec.reports_success) == (200, 20.0, False)
    assert (spec.action.low, spec.action.high) == ((-2.0,), (2.0,))
    env.reset(seed=0)
    flags = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(200)]
    assert flags == [(False, False)] * 199 + [(False, True)]


def test_matches_gymnasium() -> None:
    env, theirs = make_gym_env("Pendulum-v1", EnvConfig()), gymnasium.make("Pendulum-v1")
    np.testing.assert_array_equal(env.reset(seed=8)[0]["state"], theirs.reset(seed=8)[0])


def test_action_repeat() -> None:
    repeated = make_gym_env("Pendulum-v1", EnvConfig(action_repeat=4))
    assert repeated.env_spec.time_limit == 50
    assert_action_repeat_sums(make_gym_env("Pendulum-v1", EnvConfig()), repeated)


def test_mujoco_renders() -> None:
    env = make_gym_env("InvertedPendulum-v5", EnvConfig())
    env.reset(seed=0)
    frame = env.render()
    assert frame.ndim == 3
    assert frame.dtype == np.uint8
    env.close()


def test_time_limit_may_exceed_the_registered_one() -> None:
    env = make_gym_env("Pendulum-v1", EnvConfig(time_limit=250))
    env.reset(seed=0)
    assert [env.step(np.zeros(1, np.float32))[3] for _ in range(250)] == [False] * 249 + [True]


def test_dict_observations_are_flattened_in_key_order() -> None:
    env = own()
    obs, _ = env.reset(seed=0)
    assert env.env_spec.state_dim == 4
    np.testing.assert_array_equal(obs["state"], spaces.flatten(env._sim.observation_space, env._sim._obs()))
    assert obs["state"].dtype == np.float32


def test_own_environment() -> None:
    env = own()
    assert env.env_spec.id == "gym:Goal"
    assert env.env_spec.reports_success
    assert env.env_spec.control_hz == 0
    env.reset(seed=0)
    seen = []
    for _ in range(4):
        *_, terminated, truncated, info = env.step(np.full(2, 9, np.float32))  # clipped to 2 each
        seen.append((terminated, truncated, info["success"]))
        if terminated:
            break
    assert seen == [(False, False, True), (True, False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2, np.float32))
    with pytest.raises(RuntimeError, match="does not render"):
        env.render()
    assert wrap_gym_env(env, EnvConfig()) is env
    assert own(id="gym:mine").env_spec.id == "gym:mine"


def test_no_success_key_means_no_success_report() -> None:
    env = own(Goal(key=None))
    assert not env.env_spec.reports_success
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[4]["success"] is False


def test_own_time_limit_wrapper_is_respected() -> None:
    gymnasium.register("ZoomrlGoal-v0", entry_point=Goal, max_episode_steps=6)
    try:
        env = wrap_gym_env(gymnasium.make("ZoomrlGoal-v0"), EnvConfig(action_repeat=2))
        assert (env.env_spec.id, env.env_spec.time_limit) == ("gym:ZoomrlGoal-v0", 3)
        with pytest.raises(ConfigError, match="too long"):
            wrap_gym_env(gymnasium.make("ZoomrlGoal-v0"), EnvConfig(time_limit=7))
    finally:
        del gymnasium.registry["ZoomrlGoal-v0"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3), "Discrete actions"),
        (spaces.Box(-np.inf, np.inf, (2,)), "finite bounds"),
        (spaces.Box(0, 5, (2,), np.int64), "int64 actions"),
    ],
)
def test_unusable_actions(space: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own(Goal(space))


def test_other_errors() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean .*Pendulum-v1"):
        make_gym_env("Pendulumm-v1", EnvConfig())
    with pytest.raises(ConfigError, match="Discrete actions"):
        make_gym_env("CartPole-v1", EnvConfig())
    with pytest.raises(ConfigError, match="set time_limit"):
        wrap_gym_env(Goal(), EnvConfig())
    with pytest.raises(ConfigError, match="'dense' is not available for gym"):
        make_gym_env("Pendulum-v1", EnvConfig(reward="dense"))
    with pytest.raises(MissingDependencyError, match="no_such_package"):
        make_gym_env("no_such_package:Id-v0", EnvConfig())


def test_module_prefixed_id() -> None:
    env = make_gym_env("gymnasium.envs:Pendulum-v1", EnvConfig())
    assert env.env_spec.id == "gym:gymnasium.envs:Pendulum-v1"
