"""An environment that goes wrong when it is told to. Light to import: worker processes do."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.suites.gym.env import wrap_gym_env


class Faulty(gymnasium.Env):  # type: ignore[type-arg]
    """A counter; ``fault`` says what goes wrong, and ``when``: at which step, 0 for the reset."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"
    observation_space: Any = spaces.Dict(
        {
            "robot": spaces.Dict({"x": spaces.Box(-9, 99, (2,), np.float32)}),
            "eye": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        }
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, when: int = -1, **answers: Any) -> None:
        self.when, self.answers, self.resets = when, answers, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.resets += 1
        self.clock = 0
        return self.answer("observation", self.look()), {"success": False}

    def step(self, action: Any) -> Any:
        self.clock += 1
        seen = self.answer("observation", self.look())
        info = self.answer("info", {"success": self.answer("success", False)})
        return seen, self.answer("reward", 0.0), self.answer("terminated", False), False, info

    def render(self) -> Any:
        return self.answer("frame", np.zeros((4, 4, 3), np.uint8))

    def answer(self, name: str, usual: Any) -> Any:
        # The first reset and step are those that look for success.
        if name not in self.answers or self.resets < 2 or self.clock != self.when:
            return usual
        wrong = self.answers[name]
        return wrong(usual) if callable(wrong) else wrong

    def look(self) -> Any:
        return {"robot": {"x": np.full(2, self.clock, np.float32)}, "eye": np.zeros((4, 4, 3), np.uint8)}


def stuck(usual: Any) -> Any:
    raise AssertionError("mju_error: the drawer is stuck")


def faulty(when: int, cameras: tuple[str, ...] = ("eye",), **answers: Any) -> Env:
    return wrap_gym_env(Faulty(when, **answers), EnvConfig("gym:faulty", time_limit=9, cameras=cameras))
