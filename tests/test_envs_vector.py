"""Several environments at once: equality of both kinds, and workers that die, hang and raise."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium import spaces

from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.envs.vector.process import ProcessVectorEnv
from zoomrl.envs.vector.serial import SerialVectorEnv
from zoomrl.errors import ConfigError, WorkerError

# Action values that make the environment below misbehave.
RAISE, EXIT, HANG = 0.5, 0.6, 0.7


class Moody(gymnasium.Env):  # type: ignore[type-arg]
    """Counts its steps; some actions make it raise, exit or hang."""

    action_space = spaces.Box(-1, 1, (2,))
    observation_space = spaces.Box(-np.inf, np.inf, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self.mark = float(self.np_random.uniform())
        return self._obs(), {"seed": seed}

    def _obs(self) -> Any:
        return np.array([self.mark, self.count], np.float32)

    def step(self, action: Any) -> Any:
        mood = round(float(action[0]), 3)
        if mood == RAISE:
            raise KeyError("the drawer is stuck")
        if mood == EXIT:
            os._exit(3)
        if mood == HANG:
            time.sleep(60)
        self.count += 1
        return self._obs(), float(action[1]), self.count == 5, False, {}


def moody() -> Env:
    return wrap_gym_env(Moody(), EnvConfig(time_limit=100))


def narrow() -> Env:
    env = Moody()
    env.action_space = spaces.Box(-1, 1, (1,))
    env.step = lambda action: (env._obs(), 0.0, False, False, {})  # type: ignore[method-assign]
    return wrap_gym_env(env, EnvConfig(time_limit=100))


def talkative() -> Env:
    """Its reset tells of a lock, which cannot be sent to another process."""
    env = Moody()
    begin = env.reset
    env.reset = lambda **options: (begin(**options)[0], {"lock": threading.Lock(), "level": 3})  # type: ignore[method-assign]
    return wrap_gym_env(env, EnvConfig(time_limit=100))


def actions(*first: float) -> np.ndarray:
    return np.array([[value, 0.25] for value in first], np.float32)


@pytest.fixture
def pair() -> Iterator[ProcessVectorEnv]:
    with ProcessVectorEnv([moody, moody], timeout_s=20) as env:
        env.reset(0, seed=10)
        env.reset(1, seed=11)
        yield env  # type: ignore[misc]


@pytest.mark.parametrize(
    "config",
    [EnvConfig("metaworld:drawer-open"), pytest.param(EnvConfig("dmc:cartpole-swingup"), marks=pytest.mark.slow)],
)
@pytest.mark.long
def test_serial_and_process_agree(config: EnvConfig) -> None:
    from dataclasses import replace

    config = replace(config, num_envs=2, time_limit=12)
    assert record(make_vector_env(config)) == record(make_vector_env(replace(config, workers="process")))


def record(env: VectorEnv) -> list[bytes]:
    """Everything that an alternation of steps, masks and resets produces, as bytes."""
    rng = np.random.default_rng(0)
    found = []
    with env:
        for index in range(env.num_envs):
            found.append(env.reset(index, seed=index)[0]["state"].tobytes())
        for step in range(30):
            active = np.array([True, step % 5 != 4])
            chosen = rng.uniform(-1, 1, (env.num_envs, env.env_spec.action_dim)).astype(np.float32)
            out = env.step(chosen, active)
            assert out.died == []
            parts = (out.obs["state"], out.reward, out.terminated, out.truncated, out.success)
            found.append(b"".join(part.tobytes() for part in parts))
            for index in np.flatnonzero(out.terminated | out.truncated):
                found.append(env.reset(int(index), seed=100 + step)[0]["state"].tobytes())
    return found


@pytest.mark.parametrize("kind", [SerialVectorEnv, ProcessVectorEnv])
@pytest.mark.long
def test_step_result(kind: Callable[..., VectorEnv]) -> None:
    with kind([moody, moody]) as env:
        assert env.num_envs == 2
        first, info = env.reset(0, seed=5)
        assert first["state"].shape == (2,)
        assert info["seed"] == 5
        env.reset(1, seed=6)
        out = env.step(np.array([[0, 0.5], [np.nan, 0.5]], np.float32), np.array([True, False]))
        assert out.obs["state"][:, 1].tolist() == [1, 0]
        assert out.reward.tolist() == [0.5, 0.0]
        assert out.reward.dtype == np.float32
        kept = out.obs["state"].copy()
        for _ in range(4):
            later = env.step(actions(0, 0))
        np.testing.assert_array_equal(out.obs["state"], kept, "results must not be overwritten by later steps")
        assert later.terminated.tolist() == [True, False]
        with pytest.raises(ValueError, match="finite"):
            env.step(np.full((2, 2), np.nan, np.float32))
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            env.step(np.zeros((2, 3), np.float32))
        with pytest.raises(ValueError, match="active"):
            env.step(actions(0, 0), np.array([True]))


@pytest.mark.long
def test_killed_worker(pair: ProcessVectorEnv, caplog: pytest.LogCaptureFixture) -> None:
    pair.step(actions(0, 0))
    os.kill(pair.worker_pids[1], signal.SIGKILL)
    with caplog.at_level(logging.WARNING, "zoomrl.envs"):
        out = pair.step(actions(0, 0))
    assert out.died == [1]
    assert out.obs["state"][0, 1] == 2, "the others go on"
    assert not out.terminated[1]
    assert not out.truncated[1]
    assert "worker 1 (gym:Moody) died (killed by signal 9); restarted, its episode is dropped" in caplog.text
    pair.reset(1, seed=11)
    out = pair.step(actions(0, 0))
    assert out.died == []
    assert out.obs["state"][:, 1].tolist() == [3, 1]


@pytest.mark.slow
def test_exiting_and_raising_workers(pair: ProcessVectorEnv, caplog: pytest.LogCaptureFixture) -> None:
    assert pair.step(actions(EXIT, 0)).died == [0]
    assert "worker 0 (gym:Moody) died (exited with code 3)" in caplog.text
    pair.reset(0, seed=0)
    with pytest.raises(WorkerError, match=r"worker 1 \(gym:Moody\) raised KeyError: 'the drawer is stuck'") as error:
        pair.step(actions(0, RAISE))
    assert "in step" in str(error.value), "the worker's traceback is part of the message"
    # Nobody died, so both go on; the reply of the one that answered was not left in its pipe.
    out = pair.step(actions(0, 0))
    assert out.obs["state"][:, 1].tolist() == [2, 2]


@pytest.mark.timing
@pytest.mark.slow
def test_hanging_worker(caplog: pytest.LogCaptureFixture) -> None:
    with ProcessVectorEnv([moody, moody], timeout_s=1.5) as env:
        env.reset(0, seed=0)
        env.reset(1, seed=0)
        pid = env.worker_pids[0]
        start = time.monotonic()
        assert env.step(actions(HANG, 0)).died == [0]
        assert time.monotonic() - start < 20
        assert not psutil.pid_exists(pid)
        assert "worker 0 (gym:Moody) died (did not answer within 1.5 s)" in caplog.text


@pytest.mark.long
def test_a_worker_dead_at_reset_is_replaced(pair: ProcessVectorEnv) -> None:
    os.kill(pair.worker_pids[0], signal.SIGKILL)
    obs, _ = pair.reset(0, seed=10)
    assert obs["state"][1] == 0
    assert pair.step(actions(0, 0)).died == []


@pytest.mark.long
def test_a_worker_that_keeps_dying_is_an_error(pair: ProcessVectorEnv) -> None:
    for _ in range(2):
        assert pair.step(actions(EXIT, 0), np.array([True, False])).died == [0]
        pair.reset(0, seed=0)
    with pytest.raises(WorkerError, match=r"died 3 times in a row without completing a step.*workers='serial'"):
        pair.step(actions(EXIT, 0))


@pytest.mark.slow
def test_a_completed_step_clears_the_count(pair: ProcessVectorEnv) -> None:
    for _ in range(4):
        assert pair.step(actions(EXIT, 0), np.array([True, False])).died == [0]
        pair.reset(0, seed=0)
        pair.step(actions(0, 0), np.array([True, False]))


@pytest.mark.long
def test_an_interrupted_step_leaves_no_stale_reply(pair: ProcessVectorEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoomrl.envs.vector import process as vector_process

    def interrupted(*args: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vector_process, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pair.step(actions(0, 0))
    obs, _ = pair.reset(0, seed=3)
    assert obs["state"].shape == (2,)
    assert pair.step(actions(0, 0)).obs["state"][:, 1].tolist() == [1, 2]


@pytest.mark.long
def test_errors_of_the_factory() -> None:
    with pytest.raises(ConfigError, match="Did you mean drawer-open"):
        make_vector_env(EnvConfig("metaworld:drawer-opne", workers="process"), num_envs=1)

    def broken() -> Env:
        raise RuntimeError("no such scene")

    with pytest.raises(WorkerError, match="worker 0 raised RuntimeError: no such scene"):
        ProcessVectorEnv([broken])
    assert multiprocessing.active_children() == []


def test_environments_must_fit_together() -> None:
    with pytest.raises(ConfigError, match=r"environment 1 .* action shape"):
        SerialVectorEnv([moody, narrow])
    with pytest.raises(ConfigError, match="at least 1"):
        make_vector_env(EnvConfig(num_envs=0))
    with pytest.raises(ConfigError, match="start_method"):
        ProcessVectorEnv([moody], start_method="fork")  # type: ignore[arg-type]


@pytest.mark.long
def test_close_leaves_no_process() -> None:
    env = ProcessVectorEnv([moody, moody])
    pids = env.worker_pids
    assert all(psutil.pid_exists(pid) for pid in pids)
    env.close()
    env.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert multiprocessing.active_children() == []
    with pytest.raises(WorkerError, match="closed"):
        env.reset(0, seed=0)


@pytest.mark.parametrize("mood", [0.0, HANG])
@pytest.mark.long
def test_workers_end_with_a_killed_parent(tmp_path: Path, mood: float) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import numpy as np, os, threading, signal\n"
        "from test_envs_vector import *\n"
        "if __name__ == '__main__':\n"
        "    env = ProcessVectorEnv([moody])\n"
        "    env.reset(0, seed=0)\n"
        "    print(env.worker_pids[0], flush=True)\n"
        "    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        f"    env.step(actions({mood}))\n"
        "    time.sleep(60)\n"
    )
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])}
    out = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert out.returncode == -signal.SIGKILL, out.stderr
    assert gone(int(out.stdout))


def gone(pid: int) -> bool:
    """Whether the process ends within a few seconds (a zombie waiting for init counts as ended)."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.long
def test_workers_ignore_ctrl_c(pair: ProcessVectorEnv) -> None:
    for pid in pair.worker_pids:
        os.kill(pid, signal.SIGINT)
    assert pair.step(actions(0, 0)).died == []


@pytest.mark.slow
def test_own_factory_and_rendering() -> None:
    calls = []

    def factory() -> gymnasium.Env:  # type: ignore[type-arg]
        calls.append(1)
        return Moody()

    with make_vector_env(EnvConfig(num_envs=2, time_limit=9), factory=factory) as env:
        assert len(calls) == 2
        assert env.env_spec.id == "gym:Moody"
        assert env.env_spec.time_limit == 9
    with make_vector_env(EnvConfig("dmc:pendulum-swingup", workers="process"), num_envs=1) as env:
        env.reset(0, seed=0)
        assert env.render(0).shape == (240, 240, 3)


@pytest.mark.long
def test_forkserver() -> None:
    with ProcessVectorEnv([moody], start_method="forkserver") as env:
        env.reset(0, seed=1)
        assert env.step(actions(0)).obs["state"][0, 1] == 1


def test_what_a_reset_tells_need_not_be_fit_to_be_sent() -> None:
    with ProcessVectorEnv([talkative], timeout_s=20) as env:
        observation, info = env.reset(0, seed=1)
        assert observation["state"].shape == (2,)
        assert info == {"level": 3}
