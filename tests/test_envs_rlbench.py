"""RLBench: the adapter over a double, and the double against RLBench's sources where they are at hand."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import gymnasium
import numpy as np
import pytest

import rlbench_double as fake
from envs_common import assert_action_repeat_sums, assert_honest_seeding
from zoomrl.envs.base import check_actions
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.rlbench.backend import installed
from zoomrl.envs.suites.rlbench.env import CAMERAS, MAX_DELTA, RLBenchEnv
from zoomrl.envs.suites.rlbench.tasks import LIMITS
from zoomrl.envs.vector.process import ProcessVectorEnv
from zoomrl.errors import ConfigError, MissingDependencyError, SimulatorError, WorkerError
from zoomrl.recipes.compose import preset

STILL = np.append(np.zeros(fake.JOINTS), 1.0).astype(np.float32)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    fake.Environment.faults = fake.Faults()
    yield
    fake.Environment.launched = 0
    RLBenchEnv._holder = None


def make(task: str = "reach_target", **options: Any) -> RLBenchEnv:
    return RLBenchEnv(task, EnvConfig(**{"state": "robot", **options}), fake.double())


def solve(env: RLBenchEnv, seed: int) -> list[tuple[float, bool, bool, dict[str, Any]]]:
    """The rewards, flags and infos of an episode that goes straight to the double's goal."""
    env.reset(seed=seed)
    task, outcomes = env._task.task, []
    for _ in range(env.env_spec.time_limit):
        delta = np.clip(task.goal - env._now.joint_positions, -0.1, 0.1)
        outcomes.append(env.step(np.append(delta, 1.0).astype(np.float32))[1:])
        if any(outcomes[-1][1:3]):
            break
    return outcomes


def test_spec() -> None:
    spec = make("open-drawer", cameras=("front", "wrist"), state="auto").env_spec
    assert (spec.id, spec.state_dim, spec.action_dim, spec.time_limit) == ("rlbench:open_drawer", 8, 8, 100)
    assert spec.action_meaning == ("delta",) * 7 + ("gripper",)
    assert spec.action.low == (*(-MAX_DELTA,) * 7, 0.0)
    assert spec.action.high == (*(MAX_DELTA,) * 7, 1.0)
    assert (spec.control_hz, spec.reports_success, spec.reward) == (20.0, True, "sparse")
    assert spec.observations["rgb"].shape == (2, 84, 84, 3)
    assert not fake.Environment.launched, "a spec needs no simulator"


def test_only_what_is_observed_is_asked_for() -> None:
    env = make(cameras=("wrist", "overhead"), image_size=32)
    env.reset(seed=0)
    built = fake.Environment.built
    assert (built.headless, built.arm) == (True, (2.0, 8.0))
    config = built.config
    for name in CAMERAS:
        camera = getattr(config, f"{name}_camera")
        assert camera.rgb == (name in ("wrist", "overhead"))
        assert [camera.depth, camera.point_cloud, camera.mask] == [False] * 3
        assert (camera.image_size, camera.render_mode) == ((32, 32), fake.RenderMode.OPENGL3)
    assert {name for name in fake.LOW_DIM if getattr(config, name)} == {"joint_positions", "gripper_open"}
    assert built.task.variation == 0
    env.close()


def test_observations() -> None:
    env = make(cameras=("wrist", "overhead"))
    first, info = env.reset(seed=3)
    assert info["descriptions"] == ["reach the target"]
    np.testing.assert_array_equal(first["state"], [0] * 7 + [1])
    assert first["state"].dtype == np.float32
    assert first["rgb"].dtype == np.uint8
    assert [int(view[5, 5, 0]) for view in first["rgb"]] == [fake.CAMERA_NAMES.index(n) for n in ("wrist", "overhead")]
    action = np.append(np.full(7, 0.1), 0.2).astype(np.float32)
    after, *_ = env.step(action)
    np.testing.assert_allclose(after["state"], [0.1] * 7 + [0], atol=1e-6)
    assert int(after["rgb"][0, 0, 0, 0]) == 110, "the image is that of the step"
    np.testing.assert_array_equal(env.render(), after["rgb"][0])
    env.close()


def test_the_full_state_ends_with_the_task() -> None:
    env = make(state="full")
    assert env.env_spec.state_dim == 15
    first, _ = env.reset(seed=5)
    np.testing.assert_array_equal(first["state"][8:], env._task.task.goal.astype(np.float32))
    env.close()
    fake.Environment.faults.growing = True
    env = make(state="full")
    env.reset(seed=0)
    with pytest.raises(WorkerError, match=r"15 numbers at first, 16 now.*robot"):
        env.step(STILL)
    env.close()


def test_same_seed_same_episode() -> None:
    env = make(state="full", time_limit=60)
    first = [env.reset(seed=1)[0]["state"], env.reset(seed=2)[0]["state"]]
    assert not np.array_equal(*first)
    env.close()
    used = make(state="full", time_limit=60)
    used.reset(seed=9)
    used.step(STILL)
    np.testing.assert_array_equal(used.reset(seed=1)[0]["state"], first[0])
    used.close()


class OneOfMany(RLBenchEnv):
    """May run beside another in this process, which the double can do."""

    def _launch(self) -> None:
        fake.Environment.launched, RLBenchEnv._holder = 0, None
        super()._launch()


def several(count: int, **options: Any) -> list[OneOfMany]:
    return [OneOfMany("reach_target", EnvConfig(**options), fake.double()) for _ in range(count)]


def test_seeding_is_honest() -> None:
    assert_honest_seeding(*several(2, state="full"))


def test_the_global_generator_is_left_alone() -> None:
    env = make()
    np.random.seed(0)
    before = np.random.get_state()[1:3]
    env.reset(seed=1)
    env.step(STILL)
    after = np.random.get_state()[1:3]
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1] == after[1]
    fake.Environment.faults.resets = [KeyError("not RLBench's")]
    with pytest.raises(SimulatorError, match="raised KeyError") as error:
        env.reset(seed=2)
    assert isinstance(error.value.__cause__, KeyError)
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])
    env.close()


def test_success_terminates_with_reward_one() -> None:
    env = make()
    outcomes = solve(env, seed=0)
    assert [reward for reward, *_ in outcomes] == [0.0] * (len(outcomes) - 1) + [1.0]
    assert outcomes[-1][1:3] == (True, False)
    assert [info["success"] for *_, info in outcomes] == [False] * (len(outcomes) - 1) + [True]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(STILL)
    env.close()


def test_a_broken_constraint_terminates_without_success() -> None:
    env = make(time_limit=60)
    env.reset(seed=0)
    push = np.append(np.full(7, 9.0), 1.0).astype(np.float32)
    for _ in range(60):
        state, reward, terminated, truncated, info = env.step(push)
        if terminated or truncated:
            break
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, False)
    # Clipped to 0.2 a decision: 1.5 is passed by the eighth.
    np.testing.assert_allclose(state["state"][:7], 8 * 0.2, atol=1e-5)
    env.close()


@pytest.mark.parametrize("task", ["reach_target", "open_oven"])
def test_the_published_limit_truncates(task: str) -> None:
    env = make(task)
    env.reset(seed=0)
    flags = [env.step(STILL)[2:4] for _ in range(LIMITS[task])]
    assert flags == [(False, False)] * (LIMITS[task] - 1) + [(False, True)]
    env.close()


def test_action_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    # The goal is wherever the arm is, so that every step earns a reward.
    monkeypatch.setattr(fake, "REACHED", 1e9)
    monkeypatch.setattr(fake.TaskEnvironment, "step", _never_ends(fake.TaskEnvironment.step))
    single, repeated = *several(1), *several(1, action_repeat=3)
    assert_action_repeat_sums(single, repeated)


def _never_ends(step: Any) -> Any:
    return lambda self, action: (*step(self, action)[:2], False)


@pytest.mark.parametrize(
    "failure",
    [
        fake.InvalidActionError("out of reach"),
        fake.BoundaryError("outside"),
        fake.WaypointError("no path", fake.JointGoal()),
        fake.TaskEnvironmentError("stuck"),
    ],
)
def test_a_refused_motion_truncates_and_shows_what_was_seen_last(failure: Exception) -> None:
    env = make(cameras=("front",))
    env.reset(seed=0)
    last, *_ = env.step(np.append(np.full(7, 0.1), 1.0).astype(np.float32))
    fake.Environment.faults.steps = [failure]
    now, reward, terminated, truncated, info = env.step(STILL)
    assert (reward, terminated, truncated, info["success"]) == (0.0, False, True, False)
    assert info["failed"] == f"{type(failure).__name__}: {failure}"
    for name, array in last.items():
        np.testing.assert_array_equal(now[name], array)
    env.reset(seed=0)
    assert not any(env.step(STILL)[2:4]), "the next episode is sound"
    env.close()


def test_another_error_of_a_step_is_not_hidden() -> None:
    env = make()
    env.reset(seed=0)
    fake.Environment.faults.steps = [RuntimeError("The call failed on the V-REP side.")]
    with pytest.raises(RuntimeError, match="V-REP"):
        env.step(STILL)
    env.close()


def test_placing_is_tried_again() -> None:
    env = make(state="full")
    fake.Environment.faults.resets = [fake.TaskEnvironmentError("no place")] * 4
    again = env.reset(seed=1)[0]["state"]
    assert not np.array_equal(again, env.reset(seed=1)[0]["state"]), "another place was drawn"
    fake.Environment.faults.resets = [fake.TaskEnvironmentError("no place")] * 4
    np.testing.assert_array_equal(env.reset(seed=1)[0]["state"], again)
    fake.Environment.faults.resets = [fake.TaskEnvironmentError("no place")] * 5
    with pytest.raises(WorkerError, match=r"rlbench:reach_target.*5 times.*seed 1.*no place"):
        env.reset(seed=1)
    env.close()


def test_one_simulator_per_process() -> None:
    env = make("turn_tap")
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"rlbench:turn_tap has it here.*--env.workers process"):
        make().reset(seed=0)
    env.close()
    env.close()
    assert not fake.Environment.launched
    other = make()
    other.reset(seed=0)
    other.close()
    env.reset(seed=0)
    env.close()


@pytest.mark.long
def test_workers_have_a_simulator_each() -> None:
    """As the presets run: the environments of training and of evaluation, each in a process of its own."""
    config = EnvConfig(state="robot", cameras=("front",), time_limit=60)
    envs = ProcessVectorEnv([partial(RLBenchEnv, "reach_target", config, fake.double())] * 2)
    try:
        for index in range(2):
            envs.reset(index, seed=index)
        result = envs.step(np.stack([STILL, STILL]))
        assert envs.env_spec.id == "rlbench:reach_target"
        assert not result.terminated.any()
        assert not fake.Environment.launched
    finally:
        envs.close()


def test_a_failed_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def launch(self: fake.Environment) -> None:
        os.chdir(tmp_path)
        raise RuntimeError("no display")

    folder = os.getcwd()
    with monkeypatch.context() as patch:
        patch.setattr(fake.Environment, "launch", launch)
        with pytest.raises(RuntimeError, match="no display"):
            make().reset(seed=0)
    assert os.getcwd() == folder
    env = make()
    env.reset(seed=0)
    env.close()


def test_names_and_limits() -> None:
    assert len(LIMITS) == 22
    assert "meat_on_grill" in LIMITS
    with pytest.raises(ConfigError, match=r"meat_on_grill.*--env.time-limit"):
        make("meat_on_gril")
    assert make("close_jar", time_limit=70).env_spec.time_limit == 70
    assert make("close_jar", time_limit=70, action_repeat=2).env_spec.time_limit == 70
    assert make("open_oven", action_repeat=2).env_spec.time_limit == 112
    with pytest.raises(ConfigError, match="unknown RLBench task 'zzz'"):
        make("zzz", time_limit=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "dense"}, "sparse"),
        ({"cameras": ("rear",)}, "unknown RLBench camera 'rear'"),
        ({"cameras": ("front", "front")}, "once"),
        ({"cameras": ("front",), "shadows": False}, "shadows cannot be switched off"),
    ],
)
def test_what_cannot_be_honoured_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_without_cameras_there_is_no_image() -> None:
    with pytest.raises(MissingDependencyError, match=r"--env\.cameras front"):
        make().render()


def test_missing_rlbench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrep", None)
    with pytest.raises(MissingDependencyError, match=r"CoppeliaSim 4.1.*docs/environments/rlbench.md"):
        RLBenchEnv("reach_target", EnvConfig())


# ---- presets ---------------------------------------------------------------------------------------------


def test_presets() -> None:
    for name in ("cqn", "cqn_as", "drqv2_plus", "drqv2_as"):
        for task in LIMITS:
            config = preset(f"{name}-rlbench", env=f"rlbench:{task}")
            spec = make(task, state=config.env.state, cameras=config.env.cameras).env_spec
            assert (config.agent.name, spec.state_dim, len(spec.cameras)) == (name, 8, 4)
            assert (config.control.action_margin, config.env.workers, config.steps) == (0.2, "process", 30_250)


# ---- the double against RLBench's sources ------------------------------------------------------------------

SOURCES = os.environ.get("ZOOMRL_RLBENCH_SOURCES", "")
needs_sources = pytest.mark.skipif(
    not SOURCES, reason="set ZOOMRL_RLBENCH_SOURCES to a folder with clones of RLBench and PyRep to compare with them"
)


@pytest.fixture(scope="module")
def real() -> Iterator[types.SimpleNamespace]:
    """RLBench's Python layer, over a stand-in for the one module of PyRep that is compiled."""
    pytest.importorskip("natsort", reason="RLBench's sources import natsort")
    stub = types.ModuleType("pyrep.backend._sim_cffi")
    stub.ffi, stub.lib = MagicMock(), MagicMock()  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyrep.backend._sim_cffi", stub)
        for name in ("RLBench", "PyRep"):
            patch.syspath_prepend(str(Path(SOURCES) / name))
        yield types.SimpleNamespace(
            task_environment=importlib.import_module("rlbench.task_environment"),
            observation=importlib.import_module("rlbench.backend.observation"),
            task=importlib.import_module("rlbench.backend.task"),
            backend=installed(),
        )
    for name in list(sys.modules):
        if name.partition(".")[0] in ("rlbench", "pyrep"):
            del sys.modules[name]


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and, where it is a plain value, default of each parameter."""

    def plain(default: Any) -> Any:
        return default if isinstance(default, bool | int | float | str | tuple) else None

    return [(p.name, p.kind, plain(p.default)) for p in inspect.signature(function).parameters.values()]


@needs_sources
def test_the_double_has_the_real_signatures(real: types.SimpleNamespace) -> None:
    ours = fake.double()
    pairs = [
        *((getattr(ours, n), getattr(real.backend, n)) for n in ("Environment", "ObservationConfig", "CameraConfig")),
        *((getattr(ours, n), getattr(real.backend, n)) for n in ("MoveArmThenGripper", "JointPosition", "Discrete")),
        (fake.TaskEnvironment, real.task_environment.TaskEnvironment),
    ]
    compared = 0
    for double, original in pairs:
        for name, method in inspect.getmembers(double, inspect.isfunction):
            own = name == "__init__" and double is not fake.TaskEnvironment
            if name.startswith("_") and not own:
                continue
            assert parameters(method) == parameters(getattr(original, name)), f"{original.__name__}.{name}"
            compared += 1
    assert compared > 20
    assert isinstance(real.backend.Environment.action_shape, property)
    assert parameters(ours.find_task) == parameters(real.backend.find_task)
    assert hasattr(real.backend.RenderMode, "OPENGL3")


@needs_sources
def test_the_double_shows_and_raises_what_the_real_one_does(real: types.SimpleNamespace) -> None:
    fields = set(inspect.signature(real.observation.Observation).parameters)
    # The matrix of the wrist's camera is an option of the configuration that became a part of misc.
    assert set(vars(fake.Observation())) - {"wrist_camera_matrix"} == fields
    assert {e.__name__ for e in fake.double().failures} == {e.__name__ for e in real.backend.failures}
    for ours, theirs in zip(fake.double().failures, real.backend.failures, strict=True):
        assert (
            inspect.signature(ours.__init__).parameters.keys() == inspect.signature(theirs.__init__).parameters.keys()
        )
    assert fake.double().no_task.__name__ == real.backend.no_task.__name__
    config = real.backend.ObservationConfig()
    for name in fake.LOW_DIM:
        assert hasattr(config, name), name


@needs_sources
def test_the_adapter_builds_the_real_classes(real: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it but the simulator itself: launch and get_task are the double's."""
    monkeypatch.setattr(real.backend.Environment, "launch", lambda self: None)
    monkeypatch.setattr(
        real.backend.Environment,
        "get_task",
        lambda self, task: fake.TaskEnvironment(fake.JointGoal(), self._obs_config, fake.Faults()),
    )
    env = RLBenchEnv("put_money_in_safe", EnvConfig(cameras=("front", "wrist")))
    assert env._task_class.__name__ == "PutMoneyInSafe"
    observation, _ = env.reset(seed=0)
    assert observation["rgb"].shape == (2, 84, 84, 3)
    check_actions(STILL, env.env_spec.action)
    mode = env._sim._action_mode
    scene = types.SimpleNamespace(robot_setup="panda", robot=None)
    assert mode.action_shape(scene) == env.env_spec.action_dim
    assert not mode.arm_action_mode._absolute_mode
    config = env._sim._obs_config
    assert [config.front_camera.rgb, config.overhead_camera.rgb, config.front_camera.mask] == [True, False, False]
    assert config.front_camera.render_mode is real.backend.RenderMode.OPENGL3
    assert (env._sim._arm_max_velocity, env._sim._arm_max_acceleration, env._sim._headless) == (2.0, 8.0, True)
    env.close()


@needs_sources
def test_all_22_tasks_exist(real: types.SimpleNamespace) -> None:
    for task in LIMITS:
        assert issubclass(real.backend.find_task(task), real.task.Task)
    with pytest.raises(real.backend.no_task):
        real.backend.find_task("meat_on_gril")


def test_the_adapter_loads_without_torch() -> None:
    code = (
        "import sys, zoomrl.envs.suites.rlbench.env; assert 'torch' not in sys.modules and 'rlbench' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
