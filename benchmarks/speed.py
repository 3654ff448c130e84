"""Speed of updates, sampling and acting, next to a plain matrix product of equal work measured in the same run.

Usage: python benchmarks/speed.py [--no-write]     (one thread)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict

from provenance import measure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from slow_cqn import SlowCQN
from zoomrl.agents.cqn.learner import CQN
from zoomrl.control.chunk import ActionChunk
from zoomrl.control.executor import TemporalEnsemble
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.nets.linear import linear
from zoomrl.nets.perception import ObservationShape
from zoomrl.recipes.compose import preset
from zoomrl.spec import ArraySpec, EnvSpec


def main() -> None:
    measure("speed_cpu", __doc__, summary)


def summary() -> dict[str, Any]:
    """All measurements, one after the other."""
    return {
        "cqn_update": cqn_update(),
        "cqn_as_update": cqn_as_update(),
        "replay_sample": replay_sample(),
        "temporal_ensemble": temporal_ensemble(),
        "environment_steps": environment_steps(),
    }


def cqn_update() -> dict[str, Any]:
    """CQN at walker-walk size against the product of the matrices that its update cannot avoid."""
    state_dim, action_dim, batch, hidden, levels, bins = 24, 6, 256, 512, 3, 5
    agent = CQN(preset("cqn-dmc").agent, ObservationShape(state_dim), action_dim)
    data = random_batch(batch, state_dim, 1, action_dim, demo=False)
    # Three passes over all levels forwards (choose, target, online) and one backwards, which costs two.
    inputs = state_dim + action_dim + levels
    rows = batch * levels
    per_row = 2 * (inputs * hidden + hidden * hidden + hidden * action_dim * bins)
    flops = 5 * rows * per_row
    a, b = torch.randn(rows, hidden), torch.randn(hidden, hidden)
    repeats = flops / (2 * rows * hidden * hidden)
    update, product = interleaved(lambda: agent.update(data), lambda: linear(a, b))
    floor = product * repeats
    return {
        "shape": {"batch": batch, "state": state_dim, "action": action_dim, "hidden": hidden, "value": "scalar"},
        "gflop": flops / 1e9,
        "update_ms": 1e3 * update,
        "updates_per_s": 1 / update,
        "floor_ms": 1e3 * floor,
        "matmul_gflops": flops / floor / 1e9,
        "ratio_to_floor": update / floor,
    }


def cqn_as_update() -> dict[str, Any]:
    """CQN-AS at quickstart size against the straightforward eager version kept in the tests."""
    config = preset("quickstart")
    state_dim, action_dim, batch = 39, 4, config.replay.batch_size
    statistics = torch.zeros(state_dim), torch.ones(state_dim)
    agent = CQN(config.agent, ObservationShape(state_dim), action_dim, statistics=statistics)
    data = random_batch(batch, state_dim, agent.chunk_length, action_dim, demo=True)
    slow = SlowCQN(agent)
    fast_s, slow_s = interleaved(lambda: agent.update(data), lambda: slow.update(data))
    generator = torch.Generator()
    observation = {"state": torch.randn(1, state_dim)}
    act_s, _ = interleaved(lambda: agent.act(observation, generator), lambda: None)
    return {
        "shape": {"batch": batch, "state": state_dim, "action": action_dim, **asdict(config.agent)},
        "update_ms": 1e3 * fast_s,
        "updates_per_s": 1 / fast_s,
        "straightforward_ms": 1e3 * slow_s,
        "speedup": slow_s / fast_s,
        "act_ms": 1e3 * act_s,
    }


def replay_sample() -> dict[str, Any]:
    """512 windows of 4 actions and 3 rewards, 50 numbers of state, from 1,000 episodes."""
    spec = EnvSpec("bench", {"state": ArraySpec((50,))}, ArraySpec((6,), low=(-1.0,) * 6, high=(1.0,) * 6), 50, 200)
    random = np.random.default_rng(0)

    def episode(success: bool) -> Episode:
        steps = int(random.integers(50, 150))
        states = random.normal(size=(steps + 1, 50)).astype(np.float32)
        actions = random.uniform(-1, 1, (steps, 6)).astype(np.float32)
        return Episode({"state": states}, actions, np.zeros(steps, np.float32), success, not success, success, success)

    config = ReplayConfig(capacity=120_000, batch_size=512, n_step=3)
    replay = ReplayBuffer(config, spec, 4, [episode(True) for _ in range(20)], lambda action: action)
    for _ in range(1000):
        replay.add(episode(False))
    seconds, _ = interleaved(replay.sample, lambda: None)
    return {"windows": 512, "sample_ms": 1e3 * seconds}


def temporal_ensemble() -> dict[str, Any]:
    """One step of one environment with chunks of 16 actions of 16 dimensions."""
    ensemble = TemporalEnsemble(1, 16, 16, 0.01, "oldest")
    chunk = ActionChunk(torch.rand(1, 16, 16), torch.ones(1, 16, dtype=torch.bool))
    seconds, _ = interleaved(lambda: ensemble.step(chunk), lambda: None, repeats=500)
    return {"horizon": 16, "action": 16, "step_ms": 1e3 * seconds}


def environment_steps(decisions: int = 1500) -> dict[str, Any]:
    """Steps per second of two cheap environments from state, in one process and in a worker process each."""
    result: dict[str, Any] = {"env": "metaworld:drawer-open", "num_envs": 2}
    for workers in ("serial", "process"):
        config = EnvConfig(num_envs=2, time_limit=500, workers=workers, terminate_on_success=False)
        with make_vector_env(config) as envs:
            actions = np.zeros((2, envs.env_spec.action_dim), np.float32)
            steps, seconds = 0, 0.0
            while steps < 2 * decisions:
                for index in range(2):
                    envs.reset(index, steps + index)
                start = time.perf_counter()
                for _ in range(500):
                    envs.step(actions)
                seconds += time.perf_counter() - start
                steps += 1000
            result[f"{workers}_steps_per_s"] = steps / seconds
    return result


def interleaved(one: Callable[[], object], two: Callable[[], object], repeats: int = 60) -> tuple[float, float]:
    """Median seconds of two functions called in turns, so that both meet the same load on the machine."""
    for _ in range(5):
        one()
        two()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, record in zip((one, two), times, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return float(np.median(times[0])), float(np.median(times[1]))


def random_batch(size: int, state_dim: int, chunk_length: int, action_dim: int, *, demo: bool) -> TensorDict:
    """A batch of the replay's layout with random contents."""
    g = torch.Generator().manual_seed(0)
    return TensorDict(
        {
            "obs": {"state": torch.randn(size, state_dim, generator=g)},
            "next_obs": {"state": torch.randn(size, state_dim, generator=g)},
            "actions": torch.rand(size, chunk_length, action_dim, generator=g) * 2 - 1,
            "valid": torch.ones(size, chunk_length, dtype=torch.bool),
            "reward": (torch.rand(size, generator=g) < 0.1).float(),
            "discount": torch.full((size,), 0.97),
            "is_demo": torch.full((size,), demo),
        },
        [size],
    )


if __name__ == "__main__":
    main()
