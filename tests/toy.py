"""Tiny configs for the toy environment, and comparisons of finished runs."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from envs_toy import TOYS, ToyEnv
from zoomrl.agents.cqn.config import CQNASConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import EpisodeBuilder
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env
from zoomrl.files import read_json
from zoomrl.training.config import CheckpointConfig, EvalConfig, LogConfig, TrainConfig
from zoomrl.training.result import RunResult
from zoomrl.training.rows import WALL_FIELDS, read_rows
from zoomrl.training.run import train


def demo_set(path: Path, count: int = 3, first_seed: int = 0) -> Path:
    """Successful toy episodes on disk, and a failed one between them."""
    env = wrap_gym_env(ToyEnv(), EnvConfig(id="gym:toy", time_limit=12))
    episodes, seed = [], first_seed
    while len(episodes) < count + 1:
        observation, _ = env.reset(seed=seed)
        builder = EpisodeBuilder(observation, seed)
        ended, failing = False, len(episodes) == 1
        while not ended:
            action = np.clip(-3 * observation["state"][:2], -1, 1) * (-1 if failing else 1)
            observation, reward, terminated, truncated, info = env.step(action.astype(np.float32))
            builder.add(action.astype(np.float32), reward, observation, info["success"])
            ended = terminated or truncated
        if builder.success != failing and len(builder) > 1:
            episodes.append(builder.build(terminated=terminated, truncated=truncated, is_demo=builder.success))
        seed += 1
    write_demos(path, episodes, env.env_spec)
    return path


SEED = 5
"""Of :func:`tiny`: its run ends in the middle of an episode, and has ends of both kinds before."""


def tiny(directory: Path, demos: Path | None = None, **changes: Any) -> TrainConfig:
    """A run of seconds; ``changes`` are ``field=value`` or ``group__field=value``."""
    config = TrainConfig(
        env=EnvConfig(id="gym:toy", time_limit=12),
        agent=CQNASConfig(
            chunk_length=3, hidden_dim=12, trunk_dim=6, atoms=7, bins=3, levels=2, dueling="shared", lr=1e-3
        ),
        replay=ReplayConfig(batch_size=6, n_step=2, frame_stack=2, capacity=35),
        control=ControlConfig(noise="linear(0.5,0.1,50)"),
        demos=DemoConfig(source=str(demos) if demos else "none", episodes=0),
        eval=EvalConfig(every=20, episodes=2, final_episodes=2, num_envs=2, video=False),
        log=LogConfig(every=7, tensorboard=False),
        checkpoint=CheckpointConfig(every=15),
        steps=60,
        threads=1,
        seed_steps=3,
        seed=SEED,
        updates_per_step=0.5,
        offline_updates=4 if demos else 0,
        run_dir=str(directory),
    )
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        if group:
            value = dataclasses.replace(fields.get(group, getattr(config, group)), **{field: value})
        fields[group or field] = value
    return dataclasses.replace(config, **fields)


def run(config: TrainConfig) -> tuple[RunResult, str]:
    """Train in the toy environment; returns the result and what was said."""
    said = Console(file=io.StringIO(), width=1000)
    result = train(config, make_env=TOYS.get(config.env.id), console=said)
    return result, said.file.getvalue()  # type: ignore[attr-defined]


def checkpoint_files(directory: Path) -> list[Path]:
    return sorted((directory / "checkpoints").glob("step_*.pt"))


def rows(directory: Path) -> list[dict[str, Any]]:
    """Metrics without what the clock decides."""
    return [{k: v for k, v in row.items() if k not in WALL_FIELDS} for row in read_rows(directory / "metrics.jsonl")]


def assert_equal_trees(a: Any, b: Any, where: str = "state") -> None:
    """Bit for bit, tensors included."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_equal_trees(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal_trees(x, y, f"{where}[{index}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert a.shape == b.shape, where
        assert a.numpy().tobytes() == b.numpy().tobytes(), where
    elif where != "state.seconds":  # wall time, for the user alone
        assert a == b, where


def last_state(directory: Path) -> dict[str, Any]:
    state = torch.load(checkpoint_files(directory)[-1], weights_only=True)
    # The metrics file's length depends on the clock's digits; when to save next is no result.
    return {
        k: v for k, v in state.items() if k not in ("log_position", "log_sha256", "segments", "next_checkpoint", "run")
    }


def assert_same_run(a: Path, b: Path) -> None:
    """Same newest checkpoint, same rows, same result."""
    assert checkpoint_files(a)[-1].name == checkpoint_files(b)[-1].name
    assert_equal_trees(last_state(a), last_state(b))
    assert rows(a) == rows(b)
    results = [read_json(d / "result.json") for d in (a, b)]
    for result in results:
        for measured in ("training_seconds", "peak_memory_gb", "expected_memory_gb"):
            result.pop(measured)
    assert results[0] == results[1]
