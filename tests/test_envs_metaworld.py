"""Meta-World: seeding, rewards, limits, experts and rendering on the real simulator."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest

from envs_common import assert_action_repeat_sums, assert_honest_seeding, random_action
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.metaworld import MetaWorldEnv, metaworld_tasks
from zoomrl.errors import ConfigError, MissingDependencyError

TEN = (
    *("reach", "drawer-close", "drawer-open", "button-press", "door-open"),
    *("window-open", "pick-place", "hammer", "assembly", "peg-insert-side"),
)


def make(task: str = "drawer-open", **options: object) -> MetaWorldEnv:
    return MetaWorldEnv(task, EnvConfig(**options))  # type: ignore[arg-type]


def run_expert(env: MetaWorldEnv, seed: int) -> tuple[int, list[float], bool, bool, dict[str, object]]:
    env.reset(seed=seed)
    rewards = []
    for _ in range(env.env_spec.time_limit):
        action = env.expert_action()
        assert action is not None
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1.0
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            break
    return len(rewards), rewards, terminated, truncated, info


@pytest.mark.parametrize(
    "task",
    [
        "drawer-open",
        "pick-place",
        pytest.param("peg-insert-side", marks=pytest.mark.slow),
        pytest.param("sweep-into", marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_same_seed_same_episode(task: str) -> None:
    options = {"reward": "dense", "terminate_on_success": False}
    assert_honest_seeding(make(task, **options), make(task, **options))


@pytest.mark.slow
def test_placements_come_from_the_whole_range_and_the_first_observation_shows_them() -> None:
    env = make("drawer-open")
    handles = []
    for seed in range(60):
        obs, _ = env.reset(seed=seed)
        handle, goal = obs["state"][4:7], obs["state"][36:39]
        # The goal lies on the drawer's own axis, so a stale pose in the observation shows here.
        assert handle[0] == pytest.approx(goal[0], abs=1e-6)
        handles.append(float(handle[0]))
    assert len(set(handles)) == 60, "placements must not come from a pool of 50"
    assert min(handles) < -0.08
    assert max(handles) > 0.08


def test_unchanged_by_the_global_random_state() -> None:
    env = make("reach")
    np.random.seed(0)
    first, _ = env.reset(seed=1)
    np.random.seed(1)
    second, _ = env.reset(seed=1)
    np.testing.assert_array_equal(first["state"], second["state"])


@pytest.mark.parametrize("task", TEN)
@pytest.mark.long
def test_expert_solves_the_ten_tasks_and_ends_the_episode(task: str) -> None:
    env = make(task)
    steps, rewards, terminated, truncated, info = run_expert(env, seed=1)
    assert (terminated, truncated, info["success"]) == (True, False, True)
    assert rewards == [0.0] * (steps - 1) + [1.0]
    assert steps < 200
    with pytest.raises(gymnasium.error.ResetNeeded, match="metaworld:" + task):
        env.step(np.zeros(4, np.float32))


@pytest.mark.long
def test_without_termination_the_episode_goes_on_to_its_limit() -> None:
    env = make("door-open", terminate_on_success=False, time_limit=150)
    steps, rewards, terminated, truncated, info = run_expert(env, seed=0)
    assert (steps, terminated, truncated) == (150, False, True)
    assert 0 < sum(rewards) < 150, "success in some steps, not in all"
    assert info["success"] == bool(rewards[-1]), "info reports this step's success"


@pytest.mark.parametrize(("repeat", "decisions"), [(1, 500), (2, 250), (3, 166)])
@pytest.mark.long
def test_native_limit_truncates(repeat: int, decisions: int) -> None:
    env = make("reach", action_repeat=repeat, terminate_on_success=False)
    assert env.env_spec.time_limit == decisions
    env.reset(seed=0)
    flags = [env.step(np.zeros(4, np.float32))[2:4] for _ in range(decisions)]
    assert flags == [(False, False)] * (decisions - 1) + [(False, True)]


@pytest.mark.long
def test_success_on_the_last_agent_step_is_terminal() -> None:
    steps, *_ = run_expert(make(), seed=0)
    again, _, terminated, truncated, _ = run_expert(make(time_limit=steps), seed=0)
    assert (again, terminated, truncated) == (steps, True, False)
    _, _, terminated, truncated, info = run_expert(make(time_limit=steps - 1), seed=0)
    assert (terminated, truncated, info["success"]) == (False, True, False)


def test_a_limit_beyond_the_simulators_is_refused() -> None:
    with pytest.raises(ConfigError, match="250 agent steps at action_repeat 2"):
        make(time_limit=251, action_repeat=2)


@pytest.mark.long
def test_action_repeat() -> None:
    options = {"reward": "dense", "terminate_on_success": False}
    repeated = make(action_repeat=4, **options)
    assert repeated.env_spec.control_hz == 20.0
    assert_action_repeat_sums(make(**options), repeated)


@pytest.mark.long
def test_success_stops_the_repeats() -> None:
    single = run_expert(make("reach"), seed=2)
    env = make("reach", action_repeat=50)
    _, rewards, terminated, _, _ = run_expert(env, seed=2)
    assert terminated
    assert sum(rewards) == 1.0 == sum(single[1])


@pytest.mark.long
def test_spec() -> None:
    spec = make("drawer-open-v3").env_spec
    assert (spec.id, spec.state_dim, spec.action_dim) == ("metaworld:drawer-open", 39, 4)
    assert (spec.control_hz, spec.time_limit, spec.reports_success, spec.reward) == (
        80.0,
        500,
        True,
        "sparse",
    )
    assert make(reward="dense").env_spec.reward == "dense"
    obs, _ = make().reset(seed=0)
    assert obs["state"].dtype == np.float32


@pytest.mark.long
def test_actions_are_clipped_and_checked() -> None:
    outside, inside = make(), make()
    outside.reset(seed=0)
    inside.reset(seed=0)
    action = np.array([3.0, -7.0, 0.5, -9.0], np.float32)
    for _ in range(5):
        a, *_ = outside.step(action)
        b, *_ = inside.step(np.clip(action, -1, 1))
    np.testing.assert_array_equal(a["state"], b["state"])
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(1, 4\)"):
        inside.step(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="finite"):
        inside.step(np.array([0, np.nan, 0, 0], np.float32))


def test_bad_seed() -> None:
    with pytest.raises(ValueError, match="seed"):
        make().reset(seed=-1)


def test_there_are_fifty_tasks() -> None:
    assert len(metaworld_tasks()) == 50
    assert set(TEN) <= set(metaworld_tasks())


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.long
def test_tasks_are_built_and_stepped(every: int) -> None:
    rng = np.random.default_rng(0)
    for task in metaworld_tasks()[::every]:
        env = make(task)
        env.reset(seed=0)
        env.step(random_action(env, rng))
        assert env.expert_action() is not None
        env.close()


@pytest.mark.long
def test_render_is_upright() -> None:
    env = make("drawer-open")
    env.reset(seed=0)
    state = simulator_state(env)
    frame = env.render()
    assert (frame.shape, frame.dtype) == ((240, 240, 3), np.uint8)
    # Upright, the grey void lies above and the robot's red arm starts on the left.
    assert frame[:20].std() < 3.0 < frame[-20:].std()
    red = (frame[..., 0] > 120) & (frame[..., 1] < 60)
    assert red[:, :120].sum() > 10 * red[:, 120:].sum()
    np.testing.assert_array_equal(simulator_state(env), state)
    env.close()
    env.close()


def simulator_state(env: MetaWorldEnv) -> np.ndarray:
    return np.concatenate([env._sim.data.qpos, env._sim.data.qvel, env._sim.data.mocap_pos.ravel()])


@pytest.mark.long
def test_rendering_does_not_change_the_episode() -> None:
    plain, shown = make(), make()
    plain.reset(seed=0)
    shown.reset(seed=0)
    for _ in range(3):
        shown.render()
        a, *_ = plain.step(np.ones(4, np.float32))
        b, *_ = shown.step(np.ones(4, np.float32))
    np.testing.assert_array_equal(a["state"], b["state"])
    shown.close()


def test_unknown_task_suggests() -> None:
    with pytest.raises(ConfigError, match=r"unknown Meta-World task 'drawer-opne'.*drawer-open"):
        make("drawer-opne")


def test_native_reward_is_refused() -> None:
    with pytest.raises(ConfigError, match="'sparse', 'dense'"):
        make(reward="native")


def test_missing_metaworld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(MissingDependencyError, match=r"zoomrl\[metaworld\]"):
        make()
