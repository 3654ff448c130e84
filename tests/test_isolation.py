"""Simulators in another interpreter: equal to those in this one, and every failure by its name."""

from __future__ import annotations

import ast
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest

from toy import assert_equal_trees, last_state, rows
from zoomrl.agents.cqn.config import CQNConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.isolation import process as isolated_process
from zoomrl.envs.isolation.env import IsolatedEnv, worst_case_timeout
from zoomrl.envs.processes import DEATHS_IN_A_ROW, START_TIMEOUT_S, SimulatorDied
from zoomrl.envs.registry import make_env
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.errors import ConfigError, MissingDependencyError, WorkerError
from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
from zoomrl.training.run import train

pytestmark = pytest.mark.long

ISOLATION = Path(isolated_process.__file__).parent
ENVS = ISOLATION.parent

# Action values that make the environment below misbehave.
RAISE, EXIT, HANG, SLEEP = 0.5, 0.6, 0.7, 0.8

MOODY = """
import os, sys, time
import gymnasium, numpy as np
from gymnasium import spaces

class Moody(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"]}
    action_space = spaces.Box(-1, 1, (2,))
    observation_space = spaces.Dict({
        "numbers": spaces.Box(-np.inf, np.inf, (3,)), "front": spaces.Box(0, 255, (8, 8, 3), np.uint8)
    })

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        if os.environ.get("MOODY") == "die": os._exit(9)
        if os.environ.get("MOODY") == "hang": time.sleep(600)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.mark = 0, self.np_random.uniform()
        argv, path = str(sys.argv[1:]), os.pathsep.join(sys.path)
        return self._obs(), {"seed": seed, "argv": argv, "path": path, "array": np.zeros(3)}

    def _obs(self):
        numbers = np.array([self.mark, self.count, 0.1], np.float32)
        return {"numbers": numbers, "front": np.full((8, 8, 3), self.count, np.uint8)}

    def step(self, action):
        mood = round(float(action[0]), 3)
        if mood == 0.5: raise KeyError("the drawer is stuck")
        if mood == 0.6:
            print("the last words")
            os._exit(3)
        if mood == 0.7: time.sleep(600)
        if mood == 0.8: time.sleep(1.0)
        self.count += 1
        reward = np.float64(self.np_random.normal()) / 3
        info = {"success": self.count == 5, "single": np.float32(0.1), "name": "moody", "list": [1]}
        return self._obs(), reward, self.count == 5, False, info

    def render(self):
        side = 16 * (self.count + 1)
        return np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)

gymnasium.register("Moody-v0", Moody)
"""


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvConfig:
    """The environment above, which only its interpreter can import."""
    (tmp_path / "moody_world.py").write_text(MOODY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return EnvConfig(
        "gym:moody_world:Moody-v0", time_limit=50, python=sys.executable, cameras=("front",), state="full", timeout=60
    )


@pytest.fixture
def env(moody: EnvConfig) -> Iterator[IsolatedEnv]:
    env = isolated(moody)
    env.reset(seed=3)
    yield env
    env.close()


def isolated(config: EnvConfig, **overrides: object) -> IsolatedEnv:
    env = make_env(config, **overrides)
    assert isinstance(env, IsolatedEnv)
    return env


def act(mood: float = 0.0) -> np.ndarray:
    return np.array([mood, 0.25], np.float32)


def program(folder: Path, text: str, name: str = "python") -> str:
    """An executable shell script."""
    path = folder / name
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)
    return str(path)


def gone(pid: int) -> bool:
    """Whether the process ends within a few seconds (a zombie waiting for init counts as ended)."""
    for _ in range(200):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


# ---- equality -----------------------------------------------------------------------------------------------


def same_bytes(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return [(k, v.dtype, v.shape, v.tobytes()) for k, v in a.items()] == [
        (k, v.dtype, v.shape, v.tobytes()) for k, v in b.items()
    ]


def assert_equal_episodes(here: Env, there: Env, steps: int) -> None:
    """The same seeds and actions, some drawn from the environments' own streams, give the same bytes."""
    assert there.env_spec == here.env_spec
    assert there.action_space == here.action_space
    assert there.observation_space == here.observation_space
    assert there.has_expert == here.has_expert
    rng = np.random.default_rng(0)
    for seed in (7, None, None, 2**32 - 1):
        assert same_bytes(here.reset(seed=seed)[0], there.reset(seed=seed)[0])
        ended = False
        for _ in range(steps):
            if ended:
                break
            if here.has_expert:
                assert here.expert_action().tobytes() == there.expert_action().tobytes()  # type: ignore[union-attr]
            action = rng.uniform(-1.5, 1.5, here.env_spec.action_dim).astype(np.float32)
            ours, theirs = here.step(action), there.step(action)
            assert same_bytes(ours[0], theirs[0])
            assert ours[1:4] == theirs[1:4]
            assert {k: v for k, v in ours[4].items() if np.ndim(v) == 0} == theirs[4]
            ended = ours[2] or ours[3]
    assert here.render().tobytes() == there.render().tobytes()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(EnvConfig("dmc:cartpole-swingup", action_repeat=3), marks=pytest.mark.slow),
        EnvConfig("metaworld:drawer-open", reward="dense", time_limit=15),
        pytest.param(
            EnvConfig("dmc:cartpole-swingup", cameras=("0", "1"), image_size=20, time_limit=3), marks=pytest.mark.slow
        ),
    ],
)
def test_equal_to_the_same_environment_in_this_process(config: EnvConfig) -> None:
    here, there = make_env(config), isolated(config, python=sys.executable)
    assert_equal_episodes(here, there, 20)
    here.close()
    there.close()


@pytest.mark.slow
def test_equal_without_gymnasium_over_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gymnasium", "torch", "tyro", "rich", "dacite", "torchrl", "tensordict"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('blocked')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    here, there = make_env("dmc:pendulum-swingup"), isolated(EnvConfig("dmc:pendulum-swingup", python=sys.executable))
    assert_equal_episodes(here, there, 10)
    there.close()


def test_images_scalars_and_what_the_simulator_sees(
    env: IsolatedEnv, tmp_path: Path, moody: EnvConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    here = make_env(moody, python="")
    assert_equal_episodes(here, env, 5)
    first, info = env.reset(seed=4)
    assert info["seed"] == 4
    assert "array" not in info
    # Simulators read the arguments, and import by names that files of ours have.
    assert info["argv"] == "[]"
    assert str(ENVS) not in info["path"].split(os.pathsep)
    kept = {name: array.copy() for name, array in first.items()}
    for _ in range(3):
        *_, info = env.step(act())
        # Images grow from call to call.
        assert env.render().shape == here.render().shape or env.render().shape[0] > 16
    assert same_bytes(first, kept), "results must not be overwritten by later steps"
    assert info == {"success": False, "single": float(np.float32(0.1)), "name": "moody"}


def small(directory: Path, env: EnvConfig) -> TrainConfig:
    return TrainConfig(
        env=env,
        agent=CQNConfig(hidden_dim=16, trunk_dim=8, bins=3, levels=2),
        replay=ReplayConfig(batch_size=16, capacity=400),
        control=ControlConfig(executor="open_loop", noise="0.2", snap=True),
        demos=DemoConfig(source="none", episodes=0),
        eval=EvalConfig(every=60, episodes=1, final_episodes=1, num_envs=1, video=False),
        log=LogConfig(every=50, tensorboard=False),
        checkpoint=CheckpointConfig(every=120),
        steps=120,
        threads=1,
        seed_steps=40,
        offline_updates=0,
        run_dir=str(directory),
    )


@pytest.mark.slow
def test_training_is_the_same(tmp_path: Path) -> None:
    config = EnvConfig("dmc:cartpole-swingup", time_limit=60)
    found = []
    for name, python in (("here", ""), ("there", sys.executable)):
        result = train(small(tmp_path / name, replace(config, python=python)))
        assert result.finished
        found.append((last_state(tmp_path / name), rows(tmp_path / name)))
    assert_equal_trees(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


# ---- interpreters that will not do ------------------------------------------------------------------------


def refused(python: str, kind: type[Exception], match: str, env_id: str = "dmc:cartpole-swingup") -> str:
    with pytest.raises(kind, match=match) as error:
        make_env(EnvConfig(env_id, python=python))
    assert "Traceback" not in str(error.value)
    return str(error.value)


def test_no_interpreter(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("nothing")
    refused(str(tmp_path / "missing"), ConfigError, "missing' does not exist.*/bin/python")
    refused(str(tmp_path), ConfigError, "is a directory.*/bin/python")
    refused(str(plain), ConfigError, "is not executable")
    plain.chmod(0o755)
    refused(str(plain), ConfigError, "cannot be started.*Exec format")


def test_not_a_python(tmp_path: Path) -> None:
    text = refused(program(tmp_path, "echo I am a shell; exit 5"), ConfigError, "exited with code 5 before it had said")
    assert text.endswith("I am a shell")


def test_a_program_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated_process, "START_TIMEOUT_S", 0.5)
    refused(program(tmp_path, "exec sleep 600"), ConfigError, r"it did not answer within 0\.5 s before it had said")


def test_too_old(tmp_path: Path) -> None:
    old = "import runpy, sys; sys.version_info = (3, 8, 18); del sys.argv[0]; "
    run = old + "runpy.run_path(sys.argv[0], run_name='__main__')"
    refused(program(tmp_path, f'exec {sys.executable} -c "{run}" "$@"'), ConfigError, r"is Python 3\.8\.18.*3\.10 or")


@pytest.mark.parametrize("name", ["python2.7", "python3.6", "python3.8", "python3.9"])
def test_really_old(name: str) -> None:
    found = shutil.which(name)
    if found is None or subprocess.run([found, "--version"], capture_output=True).returncode:
        pytest.skip(f"no {name} here")
    refused(found, ConfigError, f"is Python {name.removeprefix('python')}")


def test_without_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('No module named numpy')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = refused(sys.executable, MissingDependencyError, "No module named numpy")
    assert text.endswith(f"{sys.executable} -m pip install numpy")


def test_without_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dm_control.py").write_text("raise ModuleNotFoundError('blocked', name='dm_control')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = refused(sys.executable, MissingDependencyError, "'dm_control' is not installed")
    assert f"{sys.executable} -m pip install ..." in text


def test_own_errors_arrive_as_they_are() -> None:
    with pytest.raises(ConfigError) as here:
        make_env("dmc:cartpole-swingpu")
    with pytest.raises(ConfigError) as there:
        make_env("dmc:cartpole-swingpu", python=sys.executable)
    assert type(there.value) is ConfigError
    assert str(there.value) == str(here.value)
    refused(sys.executable, ConfigError, "unknown environment domain", "dcm:cartpole-swingup")


@pytest.mark.parametrize(
    ("mood", "match"),
    [("die", "exited with code 9"), pytest.param("hang", "did not answer within 6 s", marks=pytest.mark.slow)],
)
def test_death_while_building(moody: EnvConfig, monkeypatch: pytest.MonkeyPatch, mood: str, match: str) -> None:
    monkeypatch.setenv("MOODY", mood)
    if mood == "hang":
        monkeypatch.setattr(isolated_process, "START_TIMEOUT_S", 6.0)
    with pytest.raises(SimulatorDied, match=match):
        make_env(moody, timeout=5.0)


def test_options_that_cannot_work(moody: EnvConfig) -> None:
    for timeout in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"env\.timeout must be positive"):
            make_env(moody, timeout=timeout)
        with pytest.raises(ConfigError, match=r"env\.timeout must be positive"):
            make_vector_env(EnvConfig(workers="process", timeout=timeout))
    with pytest.raises(ConfigError, match="register it with Gymnasium"):
        make_vector_env(moody, factory=lambda: gymnasium.make("Pendulum-v1"))


# ---- life and death ---------------------------------------------------------------------------------------


def test_bad_calls_are_refused_on_this_side(moody: EnvConfig) -> None:
    env = isolated(moody)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"gym:moody_world:Moody-v0.*reset"):
        env.step(act())
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=-1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        env.step(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="finite"):
        env.step(act(np.nan))
    for _ in range(5):
        _, _, terminated, _, _ = env.step(act())
    assert terminated
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(act())
    env.close()


def test_an_exception_brings_its_traceback_and_ends_nothing(env: IsolatedEnv) -> None:
    pid = env.pid
    with pytest.raises(WorkerError, match="raised KeyError: 'the drawer is stuck'") as error:
        env.step(act(RAISE))
    assert not isinstance(error.value, SimulatorDied)
    assert "moody_world.py" in str(error.value)
    assert env.step(act())[0]["state"][1] == 1
    assert env.pid == pid


def test_a_killed_simulator(env: IsolatedEnv, moody: EnvConfig) -> None:
    env.step(act())
    pid = env.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SimulatorDied, match=rf"{moody.id} in {sys.executable} died \(killed by signal 9\)"):
        env.step(act())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(act())
    with pytest.raises(WorkerError, match=r"reset\(\) starts it again"):
        env.render()
    assert env.reset(seed=3)[0]["state"][1] == 0
    assert env.step(act())[0]["state"][1] == 1
    assert env.pid != pid


def test_the_last_words_of_a_crash(env: IsolatedEnv, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SimulatorDied, match=r"exited with code 3\)\nThe last that it printed:\nthe last words"):
        env.step(act(EXIT))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "the last words\n"), "what simulators print is passed on"


@pytest.mark.timing
@pytest.mark.slow
def test_a_simulator_that_hangs(moody: EnvConfig) -> None:
    env = isolated(moody, timeout=3.0)
    env.reset(seed=0)
    pid = env.pid
    assert pid is not None
    start = time.monotonic()
    with pytest.raises(SimulatorDied, match="did not answer within 3 s"):
        env.step(act(HANG))
    assert time.monotonic() - start < 15
    assert not psutil.pid_exists(pid)
    env.reset(seed=0)
    env.close()


def test_dead_at_reset_is_started_again(env: IsolatedEnv, caplog: pytest.LogCaptureFixture) -> None:
    assert env.pid is not None
    os.kill(env.pid, signal.SIGKILL)
    assert env.reset(seed=3)[0]["state"][1] == 0
    assert "Starting it again" in caplog.text
    assert env.step(act())[0]["state"][1] == 1


def test_dying_again_and_again_is_an_error(env: IsolatedEnv) -> None:
    for _ in range(DEATHS_IN_A_ROW - 1):
        with pytest.raises(SimulatorDied):
            env.step(act(EXIT))
        env.reset(seed=0)
    env.step(act())  # a completed step clears the count
    for death in range(DEATHS_IN_A_ROW):
        with pytest.raises(WorkerError) as error:
            env.step(act(EXIT))
        if death < DEATHS_IN_A_ROW - 1:
            assert isinstance(error.value, SimulatorDied)
            env.reset(seed=0)
    assert not isinstance(error.value, SimulatorDied)
    assert "died 3 times in a row without completing a step" in str(error.value)


def test_an_interrupted_step_leaves_no_stale_reply(env: IsolatedEnv) -> None:
    env.send_step(act(SLEEP))
    observation, _ = env.reset(seed=9)
    assert observation["state"][1] == 0
    assert env.step(act())[0]["state"][1] == 1


def test_ctrl_c_is_the_parents_affair(env: IsolatedEnv) -> None:
    assert env.pid is not None
    os.kill(env.pid, signal.SIGINT)
    assert env.step(act())[0]["state"][1] == 1


def test_close_leaves_nothing(moody: EnvConfig) -> None:
    def named() -> set[str]:
        # Semaphores are other processes': nothing here makes any.
        return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.")}

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    def comes_back() -> bool:
        # Fewer is well: what earlier tests left open may be closed meanwhile.
        return _comes_true(lambda: named() == names and opened() <= files)

    gc.collect()
    names, files = named(), opened()
    envs = [isolated(moody), isolated(moody)]
    pids = [env.pid or 0 for env in envs]
    for env in envs:
        env.reset(seed=0)
    assert named() == names, "a file with a name would outlive a crash"
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(SimulatorDied):
        envs[1].step(act())
    for env in envs:
        env.close()
        env.close()
        assert env.pid is None
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert comes_back()  # once the threads that pass its output on have ended
    with pytest.raises(WorkerError, match="closed"):
        envs[0].reset(seed=0)
    with pytest.raises(ConfigError, match="unknown"):
        make_env("dmc:nothing-nowhere", python=sys.executable)
    assert comes_back(), "nor after a start that failed"


def _comes_true(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` holds within a few seconds."""
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("mood", [0.0, HANG])
def test_the_simulator_ends_with_a_killed_parent(moody: EnvConfig, tmp_path: Path, mood: float) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, signal, sys, threading, time\n"
        "import numpy as np\n"
        "from zoomrl.envs.config import EnvConfig\n"
        "from zoomrl.envs.registry import make_env\n"
        f"env = make_env({moody!r})\n"
        "env.reset(seed=0)\n"
        "print(env.pid, flush=True)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        f"env.step(np.array([{mood}, 0], np.float32))\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    out = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert out.returncode == -signal.SIGKILL, out.stderr
    assert gone(int(out.stdout))


# ---- several ------------------------------------------------------------------------------------------------


def pair_of(mood: float) -> np.ndarray:
    return np.array([[mood, 0.25], [0.0, 0.25]], np.float32)


@pytest.mark.parametrize("workers", ["serial", "process"])
def test_a_death_among_several(moody: EnvConfig, workers: str, caplog: pytest.LogCaptureFixture) -> None:
    with make_vector_env(replace(moody, workers=workers, num_envs=2)) as envs:
        for index in range(2):
            envs.reset(index, seed=index)
        envs.step(pair_of(0.0))
        with caplog.at_level(logging.WARNING, "zoomrl.envs"):
            out = envs.step(pair_of(EXIT))
        assert out.died == [0]
        assert out.obs["state"][1, 1] == 2, "the others go on"
        assert "its episode is dropped" in caplog.text
        assert "exited with code 3" in caplog.text
        assert "the last words" in caplog.text
        envs.reset(0, seed=0)
        out = envs.step(pair_of(0.0))
        assert out.died == []
        assert out.obs["state"][:, 1].tolist() == [1, 3]
        for _ in range(DEATHS_IN_A_ROW - 1):
            envs.reset(0, seed=0)
            assert envs.step(pair_of(EXIT), np.array([True, False])).died == [0]
        envs.reset(0, seed=0)
        with pytest.raises(WorkerError, match="3 times in a row"):
            envs.step(pair_of(EXIT), np.array([True, False]))


@pytest.mark.timing
@pytest.mark.slow
def test_isolated_simulators_work_at_the_same_time(moody: EnvConfig) -> None:
    with make_vector_env(moody, 3) as envs:
        for index in range(3):
            envs.reset(index, seed=index)
        start = time.monotonic()
        out = envs.step(np.array([[SLEEP, 0]] * 3, np.float32))
        assert time.monotonic() - start < 2.9, "three steps of one second each"
        assert out.obs["state"][:, 1].tolist() == [1, 1, 1]


def test_who_watches_the_watcher_waits_longer(moody: EnvConfig) -> None:
    assert worst_case_timeout(replace(moody, python="", timeout=7.0)) == 7.0
    assert worst_case_timeout(replace(moody, timeout=7.0)) > START_TIMEOUT_S + 7.0


@pytest.mark.timing
@pytest.mark.slow
def test_a_hang_in_a_worker_process_is_found_by_the_inner_watch(
    moody: EnvConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with make_vector_env(replace(moody, workers="process", timeout=3.0), 1) as envs:
        envs.reset(0, seed=0)
        assert envs.step(pair_of(HANG)[:1]).died == [0]
        assert "the simulator of gym:moody_world:Moody-v0" in caplog.text
        assert "did not answer within 3 s" in caplog.text


# ---- what the other interpreter must understand -----------------------------------------------------------


def parses(path: Path, version: tuple[int, int]) -> bool:
    ast.parse(path.read_text(), feature_version=version)
    return True


def test_old_interpreters_understand_the_files(tmp_path: Path) -> None:
    newer = tmp_path / "newer.py"
    newer.write_text("try:\n    pass\nexcept* OSError:\n    pass\n")
    with pytest.raises(SyntaxError):
        parses(newer, (3, 10))
    for path in [*ENVS.rglob("*.py"), *(ENVS.parent / f"{name}.py" for name in ("__init__", "errors", "spec"))]:
        assert parses(path, (3, 10)), path
    text = (ISOLATION / "worker.py").read_text()
    # Neither f-strings nor annotations: an older Python has to get as far as saying what it is.
    nodes = list(ast.walk(ast.parse(text)))
    assert not [n for n in nodes if isinstance(n, ast.JoinedStr | ast.AnnAssign | ast.NamedExpr | ast.Match)]
    assert not [n for n in nodes if isinstance(n, ast.arg | ast.FunctionDef) and getattr(n, "annotation", None)]


@pytest.mark.parametrize("module", ["registry", "isolation.server", "suites.metaworld", "suites.dmc"])
def test_needs_numpy_alone(module: str) -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "sys.modules['gymnasium'] = None\n"
        f"import zoomrl.envs.{module}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(sorted(new - {'gymnasium'}))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() in ("['numpy', 'zoomrl']", "['_distutils_hack', 'numpy', 'zoomrl']")


def test_the_plain_face_samples_seeds_as_gymnasium_does() -> None:
    code = (
        "import sys\n"
        "sys.modules['gymnasium'] = None\n"
        "from zoomrl.envs.gym_base import GymBase, ResetNeeded\n"
        "face = GymBase()\n"
        "face.reset(seed=5); a = face.np_random.integers(2**32); face.reset(); b = face.np_random.integers(2**32)\n"
        "face.close(); print(a, b, issubclass(ResetNeeded, Exception), GymBase().np_random.random() < 1)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=5)
    rng, _ = gymnasium.utils.seeding.np_random(5)
    assert out.stdout.split() == [str(rng.integers(2**32)), str(rng.integers(2**32)), "True", "True"]
