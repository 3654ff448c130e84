"""A tiny environment to train in: a point is pushed to the origin. Everything follows from the seed and the actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

ENV_ID = "gym:benchmarks.chaos.toy:Chaos-v0"
"""As zoomrl is told; processes that it starts import this module by that name."""
TIME_LIMIT = 12
DEMONSTRATIONS = 4


class PointEnv(gymnasium.Env):
    """Ends in success, in failure and by its time limit; pays at most 0.05 a step and 0.3 for success."""

    observation_space = gymnasium.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.point = self.np_random.uniform(-1, 1, 2)
        self.clock = 0
        self.fuse = int(self.np_random.integers(5, 30))
        return self._show(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.point = 0.9 * self.point + 0.2 * action + self.np_random.normal(0, 0.01, 2)
        self.clock += 1
        distance = float(np.abs(self.point).sum())
        success = distance < 0.3
        reward = 0.05 * np.exp(-distance) + 0.3 * success
        return self._show(), float(reward), success or self.clock == self.fuse, False, {"success": success}

    def _show(self) -> np.ndarray:
        return np.array([*self.point, self.clock / 10], np.float32)


gymnasium.register("Chaos-v0", entry_point=PointEnv, max_episode_steps=1000)


def demonstrate(path: Path) -> Path:
    """Write a few successful episodes of a proportional controller to ``path``."""
    from zoomrl.data.episode import EpisodeBuilder
    from zoomrl.demos.store.writer import write_demos
    from zoomrl.envs.config import EnvConfig
    from zoomrl.envs.suites.gym.env import wrap_gym_env

    env = wrap_gym_env(PointEnv(), EnvConfig(id=ENV_ID, time_limit=TIME_LIMIT))
    episodes, seed = [], 0
    while len(episodes) < DEMONSTRATIONS:
        observation, _ = env.reset(seed=seed)
        builder, ended = EpisodeBuilder(observation, seed), False
        while not ended:
            action = np.clip(-3 * observation["state"][:2], -1, 1).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            builder.add(action, reward, observation, info["success"])
            ended = terminated or truncated
        if builder.success and len(builder) > 2:
            episodes.append(builder.build(terminated=terminated, truncated=truncated, is_demo=True))
        seed += 1
    write_demos(path, episodes, env.env_spec)
    return path
