"""BiGym: the table of tasks; on the simulator seeding, limits, actions, broken physics, images and experts."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from envs_common import random_action, rollout
from zoomrl.demos.collect import collect_demos
from zoomrl.envs.base import action_bounds
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.bigym import env as bigym
from zoomrl.envs.suites.bigym.env import CAMERAS, BiGymEnv, bigym_tasks
from zoomrl.envs.suites.bigym.experts import EXPERTS
from zoomrl.envs.suites.bigym.tasks import TASKS
from zoomrl.errors import ConfigError, MissingDependencyError

FLAT = {"reach_target_single", "reach_target_multi_modal", "reach_target_dual", "move_plate", "move_two_plates"}
NEW: list[np.ndarray] = []
FAST = {"shadows": False, "reflections": False, "antialiasing": False}


def make(task: str, **options: object) -> BiGymEnv:
    try:
        return BiGymEnv(task, EnvConfig(**options))  # type: ignore[arg-type]
    except MissingDependencyError as error:
        pytest.skip(f"BiGym is not installed: {error}")


# Building takes seconds, so that tests share environments; each test resets before it looks.
@pytest.fixture(scope="module")
def reach() -> Iterator[BiGymEnv]:
    """From the full state. What it did when it was new is kept, to be compared with what it does after all else."""
    env = make("reach_target_single")
    NEW.append(rollout(env, 3, steps=20))
    yield env
    env.close()


@pytest.fixture(scope="module")
def drawer() -> Iterator[BiGymEnv]:
    """From two small images and what the robot knows of itself."""
    env = make("drawer-top-close", cameras=("left_wrist", "head"), image_size=16, **FAST)
    yield env
    env.close()


# ---- without the simulator -----------------------------------------------------------------------------


def test_table() -> None:
    assert len(TASKS) == 40
    assert bigym_tasks() == tuple(sorted(TASKS))
    assert {name for name, task in TASKS.items() if task.dofs == ("X", "Y", "RZ")} == FLAT
    assert {task.dofs for task in TASKS.values()} == {("X", "Y", "RZ"), ("X", "Y", "Z", "RZ")}
    assert {task.downsample for task in TASKS.values()} == {10, 20, 25}
    assert all(task.length % task.downsample == 0 for task in TASKS.values())
    assert {task.frames for task in TASKS.values()} == {26_000, 51_000, 101_000}
    assert sum(task.frames for task in TASKS.values()) == 40 * 101_000 - 5 * 75_000 - 3 * 50_000
    assert len({task.cls for task in TASKS.values()}) == 40
    assert set(EXPERTS) <= set(TASKS)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("drawer_top_clsoe", {}, r"unknown BiGym task 'drawer_top_clsoe'.*drawer_top_close"),
        ("flip_cup", {"reward": "dense"}, "'dense' is not available for bigym; choose 'sparse'"),
        ("flip_cup", {"cameras": ("wrist",)}, r"unknown BiGym camera 'wrist'.*left_wrist"),
        ("flip_cup", {"cameras": ("head", "head")}, "once"),
        ("flip_cup", {"control_hz": 501.0}, "control_hz must be .* got 501"),
        ("flip_cup", {"control_hz": 19.0}, "got 19"),
        ("flip_cup", {"control_hz": 30.0}, "got 30"),
        ("flip_cup", {"control_hz": -20.0}, "got -20"),
        ("flip_cup", {"state": "none"}, "nothing to observe"),
        ("flip_cup", {"action_repeat": 0}, "action_repeat"),
        ("flip_cup", {"time_limit": 0}, "time_limit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(task: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BiGymEnv(task, EnvConfig(**options))


def test_without_bigym(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bigym.envs.manipulation", None)
    told = r"zoomrl\[bigym\].*72d3054.*de95ff9.*docs/environments/bigym.md"
    with pytest.raises(MissingDependencyError, match=told) as caught:
        BiGymEnv("flip_cup", EnvConfig())
    assert "another project" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "mojo", ModuleType("mojo"))
    with pytest.raises(MissingDependencyError, match="another project of that name"):
        BiGymEnv("flip_cup", EnvConfig())


def test_another_mujoco_is_said_once() -> None:
    bigym._compare_mujoco.cache_clear()
    with pytest.warns(UserWarning, match=r"MuJoCo 9.9.9 .* recorded with 3.1.5"):
        bigym._compare_mujoco("9.9.9")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bigym._compare_mujoco("9.9.9")
        bigym._compare_mujoco("3.1.5")


# ---- with it -------------------------------------------------------------------------------------------


def test_every_class_is_there() -> None:
    pytest.importorskip("bigym", reason="BiGym is in no package registry: see docs/environments/bigym.md")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for task in TASKS.values():
            assert isinstance(getattr(importlib.import_module(f"bigym.envs.{task.module}"), task.cls), type)


def test_spec(reach: BiGymEnv, drawer: BiGymEnv) -> None:
    one, two = reach.env_spec, drawer.env_spec
    assert (one.id, one.state_dim, one.action_dim, one.control_hz, one.time_limit) == (
        *("bigym:reach_target_single", 58 + 2 + 3 + 3, 15, 50.0, 100),
    )
    assert (two.id, two.state_dim, two.action_dim, two.control_hz, two.time_limit) == (
        *("bigym:drawer_top_close", 60 + 2 + 4, 16, 20.0, 120),
    )
    assert one.action_meaning == ("delta",) * 3 + ("absolute",) * 10 + ("gripper",) * 2
    assert two.action_meaning == ("delta",) * 4 + ("absolute",) * 10 + ("gripper",) * 2
    assert (one.reports_success, one.reward, one.cameras, one.rendering) == (True, "sparse", (), ())
    assert two.cameras == ("left_wrist", "head")
    # The base moves at most 10 mm and 0.05 rad in a physics step, of which there are 10 and 25 to a control step.
    np.testing.assert_allclose(action_bounds(one.action)[1][:3], [0.1, 0.1, 0.5])
    np.testing.assert_allclose(action_bounds(two.action)[0][:4], [-0.25, -0.25, -0.25, -1.25])
    np.testing.assert_array_equal(np.stack(action_bounds(one.action))[:, -2:], [[0, 0], [1, 1]])


@pytest.mark.parametrize(("hz", "repeat", "decisions"), [(0.0, 1, 100), (20.0, 1, 40), (250.0, 2, 250), (62.5, 1, 125)])
def test_rate_and_limit(
    reach: BiGymEnv, monkeypatch: pytest.MonkeyPatch, hz: float, repeat: int, decisions: int
) -> None:
    asked: list[float] = []

    def build(_: object, control_hz: float, *, privileged: bool) -> tuple[Any, type[Exception]]:
        asked.append(control_hz)
        return reach._sim, RuntimeError

    monkeypatch.setattr(bigym, "_build", build)
    spec = BiGymEnv("reach_target_single", EnvConfig(control_hz=hz, action_repeat=repeat)).env_spec
    assert asked == [hz or 50.0]
    assert (spec.control_hz, spec.time_limit, spec.action_repeat) == ((hz or 50.0) / repeat, decisions, repeat)


def test_state(reach: BiGymEnv, drawer: BiGymEnv) -> None:
    observation, _ = reach.reset(seed=5)
    robot = reach._sim.robot
    expected = [robot.qpos, robot.qvel, robot.qpos_grippers, robot.floating_base.qpos]
    target = reach._sim.targets[0].body.get_position()
    np.testing.assert_array_equal(observation["state"], np.concatenate([*expected, target]).astype(np.float32))
    assert np.abs(target - [0.5, 0.0, 1.0]).max() <= 0.1
    # With cameras: what the robot knows of itself, and images in the order asked for.
    seen, _ = drawer.reset(seed=5)
    assert seen["state"].shape == (66,)
    assert (seen["rgb"].shape, seen["rgb"].dtype) == ((2, 16, 16, 3), np.uint8)


def test_same_seed_same_episode(reach: BiGymEnv) -> None:
    rollout(reach, 99, steps=20, action_seed=5)
    first = NEW[0]
    np.testing.assert_array_equal(rollout(reach, 3, steps=20), first)
    assert not np.array_equal(rollout(reach, 4, steps=1)[:66], first[:66])
    # Without a seed the stream goes on: a new episode, the same one again.
    reach.reset(seed=7)
    continued = rollout(reach, None, steps=5)
    assert not np.array_equal(continued[:66], rollout(reach, 7, steps=1)[:66])
    np.testing.assert_array_equal(rollout(reach, None, steps=5), continued)


def test_numpys_global_generator_is_left_alone(reach: BiGymEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    monkeypatch.setattr(reach._sim, "_on_step", lambda: drawn.append(np.random.uniform()))
    np.random.seed(3)
    first = rollout(reach, 1, steps=2)
    assert np.random.uniform() == np.random.RandomState(3).uniform()
    np.random.seed(4)
    np.testing.assert_array_equal(rollout(reach, 1, steps=2), first)
    # A simulator that draws while it steps goes on with its own stream.
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("task", ["reach", "drawer"])
def test_actions_are_clipped_into_the_simulators_bounds(
    task: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    env: BiGymEnv = request.getfixturevalue(task)
    env.reset(seed=0)
    taken: list[np.ndarray] = []
    step = env._sim.step
    monkeypatch.setattr(env._sim, "step", lambda action: taken.append(action) or step(action))
    for bound in action_bounds(env.env_spec.action):
        # One rounding beyond the bound, as scaled actions arrive, and far beyond it.
        for action in (np.nextafter(bound, np.float32(2) * bound + np.float32(1)), bound * np.float32(9)):
            env.step(action)
            assert env._sim.action_space.contains(taken[-1])
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(env.env_spec.action_dim, np.nan, np.float32))


def test_the_time_limit_truncates(reach: BiGymEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "env_spec", replace(reach.env_spec, time_limit=3))
    reach.reset(seed=0)
    flags = [reach.step(np.zeros(15, np.float32))[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize("repeatedly", [False, True])
def test_broken_physics_truncate_and_are_no_success(
    reach: BiGymEnv, monkeypatch: pytest.MonkeyPatch, repeatedly: bool
) -> None:
    from dm_control.rl.control import PhysicsError

    before = rollout(reach, 2, steps=2)

    def broken(_: object) -> None:
        raise PhysicsError("no contact is this large")

    with monkeypatch.context() as patch:
        patch.setattr(reach._sim.action_mode, "step", broken)
        # What the simulator would say of the state that it has put back.
        patch.setattr(reach._sim, "_success", lambda: True)
        # Ten failures in a row make it raise an error instead.
        for _ in range(12 if repeatedly else 1):
            reach.reset(seed=0)
            with pytest.warns(UserWarning, match="no contact is this large"):
                _, reward, terminated, truncated, info = reach.step(np.zeros(15, np.float32))
            assert (reward, terminated, truncated) == (0.0, False, True)
            assert info["unstable"] is True
            assert not info["success"]
            assert not info["task_success"]
    np.testing.assert_array_equal(rollout(reach, 2, steps=2), before)


def test_failure_terminates(reach: BiGymEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    reach.reset(seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(reach._sim, "_fail", lambda: True)
        _, reward, terminated, truncated, info = reach.step(np.zeros(15, np.float32))
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)


def test_the_expert_reaches_and_a_success_is_not_told_again(reach: BiGymEnv) -> None:
    assert reach.has_expert
    episodes = collect_demos(reach, episodes=3, seed=0, max_attempts=3)
    for episode in episodes:
        assert episode.terminated
        np.testing.assert_array_equal(episode.rewards, [0.0] * (len(episode) - 1) + [1.0])
        assert len(episode) < 50
    _, info = reach.reset(seed=0)
    assert info["task_success"] == 0.0


def test_the_expert_closes_the_drawer(drawer: BiGymEnv) -> None:
    (episode,) = collect_demos(drawer, episodes=1, seed=0, max_attempts=1)
    assert episode.success
    assert len(episode) < 60


def test_images_are_the_simulators_own(reach: BiGymEnv) -> None:
    from bigym.utils.observation_config import CameraConfig

    sim, size = reach._sim, 48
    views = reach._cameras(CAMERAS, size)
    reach.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        reach.step(random_action(reach, rng) * np.float32(0.3))
    ours = views.render()
    sim.observation_config.cameras.extend(CameraConfig(name, resolution=(size, size)) for name in CAMERAS)
    try:
        sim._initialize_renderers()
        theirs = sim._get_visual_obs()
    finally:
        sim.observation_config.cameras.clear()
        sim._initialize_renderers()
    for image, name in zip(ours, CAMERAS, strict=True):
        assert image.std() > 5.0, name
        np.testing.assert_array_equal(image, np.moveaxis(theirs[f"rgb_{name}"], 0, -1), err_msg=name)
    views.close()


def test_the_first_image_is_of_this_episode(drawer: BiGymEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    import mujoco

    sim = drawer._sim
    model, data = sim.mojo.model, sim.mojo.data

    def shift() -> None:
        # As upstream moves doors: an entry is written, and nothing computed from it.
        data.qpos[model.joint("h1/pelvis_x").qposadr[0]] += 0.3

    drawer.reset(seed=0)
    plain = drawer._views.render()
    monkeypatch.setattr(sim, "_on_reset", shift)
    first = drawer.reset(seed=0)[0]["rgb"]
    mujoco.mj_forward(model, data)
    np.testing.assert_array_equal(first, drawer._views.render())
    assert not np.array_equal(first, plain)


def test_render(reach: BiGymEnv) -> None:
    reach.reset(seed=0)
    before = np.concatenate([reach._sim.mojo.data.qpos, reach._sim.mojo.data.qvel])
    frame = reach.render()
    assert (frame.shape, frame.dtype) == ((240, 240, 3), np.uint8)
    assert frame.std() > 10.0
    np.testing.assert_array_equal(np.concatenate([reach._sim.mojo.data.qpos, reach._sim.mojo.data.qvel]), before)
    reach.close()
    reach.close()
