"""What environments do wrong is a named error: one object for two, exceptions, answers that were not promised."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium import spaces

from envs_faulty import Faulty, faulty, stuck
from envs_toy import ToyEnv
from toy import tiny
from zoomrl.demos.collect import collect_demos
from zoomrl.envs import make_env, make_vector_env
from zoomrl.envs.base import ControlStep, Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector import process as vector_process
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.process import ProcessVectorEnv
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import ConfigError, SimulatorError, WorkerError
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.run import train

STILL = np.zeros((1, 1), np.float32)


# ---- one object for several environments --------------------------------------------------------------------


class Holder(gymnasium.Env):  # type: ignore[type-arg]
    """A wrapper that is none of Gymnasium's: its ``unwrapped`` is itself."""

    def __init__(self, env: gymnasium.Env) -> None:  # type: ignore[type-arg]
        self.env = env
        self.action_space, self.observation_space = env.action_space, env.observation_space

    def reset(self, **options: Any) -> Any:
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        return self.env.step(action)


WRAPPED = {
    "itself": lambda env: env,
    "other wrappers": lambda env: gymnasium.wrappers.TransformReward(env, lambda reward: reward),
    "own wrappers": Holder,
    "zoomrl's": lambda env: wrap_gym_env(env, EnvConfig("gym:toy", time_limit=12)),
    "a wrapper of zoomrl's": lambda env: gymnasium.Wrapper(wrap_gym_env(env, EnvConfig("gym:toy", time_limit=12))),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_one_object_for_training_and_evaluation_is_refused(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: Any) -> None:
        raise AssertionError("refused after the demonstrations were read or collected")

    monkeypatch.setattr("zoomrl.training.session.load_demos", too_late)
    shared = ToyEnv()
    with pytest.raises(ConfigError, match=r"object of its own.*one ToyEnv object twice.*Build a new one"):
        train(tiny(tmp_path / "run", eval__num_envs=1), make_env=lambda: WRAPPED[how](shared))
    assert not (tmp_path / "run" / "replay").exists()


def test_one_object_for_several_training_environments_is_refused() -> None:
    shared = ToyEnv()
    config = EnvConfig("gym:toy", time_limit=12)
    with pytest.raises(ConfigError, match="one ToyEnv object twice"):
        make_vector_env(config, 2, lambda: gymnasium.Wrapper(shared))
    with make_vector_env(config, 2, ToyEnv) as envs, make_vector_env(config, 2, ToyEnv, apart_from=envs) as others:
        assert len({id(one) for one in (*envs.instances, *others.instances)}) == 4


def test_a_registered_environment_that_is_one_object_is_refused() -> None:
    shared = ToyEnv()
    gymnasium.register("OneToy-v0", lambda: shared, max_episode_steps=9)
    try:
        with pytest.raises(ConfigError, match="one ToyEnv object twice"):
            make_vector_env(EnvConfig("gym:OneToy-v0"), 2)
    finally:
        del gymnasium.registry["OneToy-v0"]


@pytest.mark.long
def test_worker_processes_have_copies() -> None:
    shared = Faulty()
    with make_vector_env(EnvConfig("gym:faulty", time_limit=12, workers="process"), 2, lambda: shared) as envs:
        assert envs.instances == ()
        for index in range(2):
            envs.reset(index, seed=0)
        assert envs.step(np.zeros((2, 1), np.float32)).obs["state"][:, 0].tolist() == [1, 1]


def test_what_is_no_environment_is_refused() -> None:
    for wrong in (None, ToyEnv, 3):
        with pytest.raises(ConfigError, match="expected a Gymnasium environment, got"):
            make_vector_env(EnvConfig("gym:toy", time_limit=12), 1, lambda wrong=wrong: wrong)  # type: ignore[misc]


# ---- exceptions of simulators -------------------------------------------------------------------------------


def play(envs: VectorEnv, steps: int = 3) -> None:
    envs.reset(0, seed=0)
    for _ in range(steps):
        envs.step(STILL)


@pytest.mark.parametrize(("kind", "when"), [(SerialVectorEnv, 0), (SerialVectorEnv, 2), (ProcessVectorEnv, 2)])
@pytest.mark.long
def test_an_exception_names_simulator_versions_and_call(kind: Callable[..., VectorEnv], when: int) -> None:
    call = "step" if when else "reset"
    with kind([lambda: faulty(when, observation=stuck)]) as envs, pytest.raises(SimulatorError) as error:
        play(envs)
    said = str(error.value)
    assert "raised AssertionError: mju_error: the drawer is stuck" in said
    assert f"in {call} (gymnasium {metadata.version('gymnasium')}, " in said
    assert "gym:faulty" in said
    if kind is SerialVectorEnv:
        assert isinstance(error.value.__cause__, AssertionError)
        names = [entry.name for entry in traceback.extract_tb(error.value.__cause__.__traceback__)]
        assert names[-1] == "stuck", "the user's own lines are in the traceback"
    else:
        assert said.startswith("worker 0 (gym:faulty) raised")
        assert "in stuck" in said


@pytest.mark.long
def test_exceptions_of_rendering_and_of_building_are_named() -> None:
    env = faulty(0, frame=stuck)
    env.reset(seed=0)
    with pytest.raises(SimulatorError, match="stuck, in render"):
        env.render()
    with pytest.raises(SimulatorError, match=r"stuck, in reset"):  # the first, which looks for success
        wrap_gym_env(Broken(), EnvConfig("gym:broken", time_limit=9))
    gymnasium.register("Unbuilt-v0", lambda: stuck(None), max_episode_steps=9)
    try:
        with pytest.raises(SimulatorError, match=r"gym:Unbuilt-v0 raised AssertionError.*in make"):
            make_env("gym:Unbuilt-v0")
    finally:
        del gymnasium.registry["Unbuilt-v0"]


class Broken(Faulty):
    def reset(self, **options: Any) -> Any:
        stuck(None)


def test_a_suite_names_its_own_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    env = make_env("dmc:pendulum-swingup")
    env.reset(seed=0)
    monkeypatch.setattr(env, "_sim", None)
    with pytest.raises(
        SimulatorError, match=r"dmc:pendulum-swingup raised AttributeError.*in step \(dm-control .*mujoco"
    ):
        env.step(np.zeros(1, np.float32))
    assert isinstance(make_env("dmc:pendulum-swingup").expert_action(), type(None))


# ---- answers that were not promised -------------------------------------------------------------------------


def looking(x: Any = None, eye: Any = None) -> Any:
    return lambda usual: {
        "robot": usual["robot"] if x is None else {"x": x},
        "eye": usual["eye"] if eye is None else eye,
    }


WRONG = [
    (looking(x=np.zeros(3, np.float32)), r"entry 'robot/x' .*expected float32\[2\], got float32\[3\]"),
    (looking(x=np.float32(1)), r"entry 'robot/x' .*expected float32\[2\], got float32\[\]"),
    (looking(x=np.array(["a", "b"])), r"entry 'robot/x' .*expected float32\[2\], got <U1\[2\]"),
    (looking(eye=np.zeros((4, 4, 1), np.uint8)), r"entry 'eye' .*expected uint8\[4, 4, 3\], got uint8\[4, 4, 1\]"),
    (looking(eye=np.ones((4, 4, 3))), r"entry 'eye' .*expected uint8\[4, 4, 3\], got float64\[4, 4, 3\]"),
    ({"eye": np.zeros((4, 4, 3), np.uint8)}, r"no entry 'robot/x'"),
    (np.zeros(2, np.float32), r"no entry 'robot/x'"),
]


@pytest.mark.parametrize("when", [0, 2])
@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_a_wrong_observation_is_named_and_never_broadcast(answer: Any, message: str, when: int) -> None:
    expected = pytest.raises(SimulatorError, match=f"gym:faulty observed .*{message}")
    with SerialVectorEnv([lambda: faulty(when, observation=answer)]) as envs, expected:
        play(envs)


@pytest.mark.long
def test_a_wrong_observation_of_a_worker_is_named() -> None:
    wrong = np.zeros(2, np.float32)
    expected = pytest.raises(SimulatorError, match=r"worker 0 \(gym:faulty\) observed no entry 'robot/x'")
    with ProcessVectorEnv([lambda: faulty(0, observation=wrong)]) as envs, expected:
        play(envs)


def test_precision_may_be_lost_and_parts_of_numbers_not() -> None:
    env = faulty(0, observation=looking(x=[0.5, 0.1]), cameras=())
    assert env.reset(seed=0)[0]["state"].tolist() == [0.5, np.float32(0.1)]
    whole = spaces.Box(0, 9, (2,), np.int64)
    for given, fits in (([1.0, 2.0], True), ([1.5, 2.0], False)):
        inner = Faulty(0, observation=np.array(given))
        inner.observation_space, inner.look = whole, lambda: np.zeros(2, np.int64)  # type: ignore[method-assign]
        env = wrap_gym_env(inner, EnvConfig("gym:faulty", time_limit=9))
        if fits:
            assert env.reset(seed=0)[0]["state"].tolist() == given
        else:
            with pytest.raises(SimulatorError, match=r"expected int64\[2\], got float64\[2\]"):
                env.reset(seed=0)


class Own(Env):
    """An adapter whose observation is not that of its spec, or that overrides what checks it."""

    def __init__(self, wrong: Any, *, overrides: bool = False) -> None:
        super().__init__(EnvSpec("own:x", {"state": ArraySpec((3,))}, ArraySpec((1,), low=(-1,), high=(1,)), 0.0, 9))
        self.wrong, self.overrides = wrong, overrides

    def reset(self, **options: Any) -> Any:
        return ({"state": self.wrong}, {}) if self.overrides else super().reset(**options)

    def _begin(self, seed: int) -> Any:
        return {}

    def _advance(self, action: Any) -> ControlStep:
        return ControlStep(0.0)

    def _observe(self) -> Any:
        return {"state": self.wrong}

    def _expert(self) -> Any:
        return self.wrong[0]


@pytest.mark.parametrize(
    "wrong", [np.float32(1), np.zeros(1, np.float32), np.zeros(3), np.zeros((1, 3), np.float32), None]
)
def test_observations_of_adapters_are_checked(wrong: Any) -> None:
    expected = r"observed another 'state' than it promised: expected float32\[3\], got"
    with pytest.raises(SimulatorError, match=f"own:x {expected}"):
        Own(wrong).reset(seed=0)
    named = pytest.raises(SimulatorError, match=rf"environment 0 \(own:x\) {expected}")
    with SerialVectorEnv([lambda: Own(wrong, overrides=True)]) as envs, named:
        envs.reset(0, seed=0)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"reward": lambda _: None}, "the reward must be one number, got nothing"),
        ({"reward": np.ones(2)}, r"the reward must be one number, got float64\[2\]"),
        ({"reward": "much"}, "the reward must be one number, got str 'much'"),
        ({"success": np.array([True, False])}, r"info\['success'\] must be True or False, got bool\[2\]"),
        ({"success": "False"}, r"info\['success'\] must be True or False, got str 'False'"),
        ({"success": float("nan")}, r"info\['success'\] must be True or False, got nan"),
        ({"terminated": float("nan")}, r"terminated must be True or False, got nan"),
        ({"terminated": np.zeros(3, bool)}, r"terminated must be True or False, got bool\[3\]"),
        ({"info": [1, 2]}, r"the info of step\(\) must be a dict, got list"),
    ],
)
def test_rewards_and_flags_that_cannot_be_read_are_named(answers: dict[str, Any], message: str) -> None:
    env = faulty(1, **answers)
    env.reset(seed=0)
    with pytest.raises(SimulatorError, match=f"gym:faulty: {message}"):
        env.step(STILL[0])


def test_arrays_of_one_are_unambiguous() -> None:
    env = faulty(1, reward=np.array([2.5]), success=np.array([[True]]), terminated=np.array(1))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(STILL[0])
    assert (reward, terminated, truncated, info["success"]) == (2.5, True, False, True)
    assert type(reward) is float
    assert faulty(1, success=lambda _: None) is not None


def test_a_success_that_comes_late_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class Late(ToyEnv):
        def reset(self, **options: Any) -> Any:
            return super().reset(**options)[0], {}

        def step(self, action: Any) -> Any:
            seen, reward, *_ = super().step(action)
            return seen, reward, self.clock == 4, False, {"success": True} if self.clock == 4 else {}

    env = wrap_gym_env(Late(), EnvConfig("gym:late", time_limit=9))
    assert not env.env_spec.reports_success
    for _ in range(2):
        env.reset(seed=0)
        for _ in range(4):
            env.step(np.zeros(2, np.float32))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "gym:late puts 'success' into the info of some steps alone" in said[0]


@pytest.mark.parametrize("bound", [3e38, 1e10, 1e300])
def test_bounds_that_stand_for_none_are_refused(bound: float) -> None:
    wide = Faulty()
    wide.action_space = spaces.Box(np.array([-1.0, -bound]), np.array([1.0, bound]), (2,), np.float64)
    with pytest.raises(ConfigError, match="gym:faulty has unbounded actions: dimension 1"):
        wrap_gym_env(wide, EnvConfig("gym:faulty", time_limit=9))
    wide.action_space = spaces.Box(-1e6, 1e6, (2,), np.float64)
    assert wrap_gym_env(wide, EnvConfig("gym:faulty", time_limit=9)).env_spec.action.high == (1e6, 1e6)


def test_an_action_of_the_expert_is_never_broadcast() -> None:
    env = Own(np.zeros(3, np.float32))
    env.reset(seed=0)
    with pytest.raises(SimulatorError, match=r"the expert of own:x .*expected shape \[1\], got "):
        env.expert_action()


def test_collecting_names_the_fault_too() -> None:
    env = Own(np.zeros(2, np.float32))
    env.has_expert = True
    with pytest.raises(SimulatorError, match="own:x observed another 'state'"):
        collect_demos(env, episodes=1, seed=0)


# ---- workers that cannot be started -------------------------------------------------------------------------


@pytest.mark.long
def test_workers_started_before_a_failure_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(psutil.Process().children(recursive=True))
    start, started = multiprocessing.context.SpawnProcess.start, []

    def refuse_the_third(self: Any) -> None:
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        start(self)
        started.append(self.pid)

    with monkeypatch.context() as patch:
        patch.setattr(multiprocessing.context.SpawnProcess, "start", refuse_the_third)
        with pytest.raises(WorkerError, match=r"worker 2 of 4 could not be started: .*temporarily unavailable.*fewer"):
            ProcessVectorEnv([lambda: faulty(0)] * 4)
    assert len(started) == 2
    assert not any(psutil.pid_exists(pid) for pid in started)
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [child for child in left if "spawn_main" in " ".join(child.cmdline())]


def test_environments_built_before_a_failure_are_closed() -> None:
    closed: list[int] = []

    class Closing(ToyEnv):
        def close(self) -> None:
            closed.append(id(self))
            raise RuntimeError("cannot even be closed")

    def build() -> Any:
        if len(built) == 2:
            raise ConfigError("no third")
        built.append(Closing())
        return built[-1]

    built: list[Closing] = []
    with pytest.raises(ConfigError, match="no third"):
        make_vector_env(EnvConfig("gym:toy", time_limit=9), 3, build)
    assert set(closed) == {id(env) for env in built}


SCRIPT = """
from test_envs_vector import moody
from zoomrl.envs.vector.process import ProcessVectorEnv
from zoomrl.errors import ZoomrlError
try:
    ProcessVectorEnv([moody, moody]).close()
except ZoomrlError as error:
    print("said:", error)
"""


@pytest.mark.parametrize("way", ["stdin", "no guard"])
@pytest.mark.long
def test_a_program_that_workers_cannot_import_is_told_of_the_guard(way: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(SCRIPT.replace("except ZoomrlError as error", "except (ZoomrlError, ZeroDivisionError) as error"))
    words = [sys.executable, *([str(path)] if way == "no guard" else ["-"])]
    folders = [str(Path(__file__).parent), *filter(None, sys.path)]
    out = subprocess.run(
        words,
        input=SCRIPT if way == "stdin" else None,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": ":".join(folders)},
    )
    assert "said: " in out.stdout, out.stderr
    assert 'if __name__ == "__main__":' in out.stdout
    assert "in a file" in out.stdout
    assert ("no file <stdin>" in out.stdout) == (way == "stdin")
    assert ("ended before it could build its environment" in out.stdout) == (way == "no guard"), (
        "tried again for nothing"
    )


def test_the_program_of_the_tests_can_be_imported() -> None:
    vector_process._check_main()
