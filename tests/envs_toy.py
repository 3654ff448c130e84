"""A tiny deterministic environment. Loads no torch: worker processes that import it start in a second."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np


class ToyEnv(gymnasium.Env):
    """Push a point to the origin. Depends on the seed and the actions alone; ends in every way there is."""

    observation_space = gymnasium.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gymnasium.spaces.Box(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.point = self.np_random.uniform(-1, 1, 2)
        self.clock = 0
        self.fuse = int(self.np_random.integers(5, 40))
        return self._show(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.point = 0.9 * self.point + 0.2 * action + self.np_random.normal(0, 0.01, 2)
        self.clock += 1
        distance = float(np.abs(self.point).sum())
        success = distance < 0.4
        return self._show(), -distance, success or self.clock == self.fuse, False, {"success": success}

    def _show(self) -> np.ndarray:
        return np.array([*self.point, self.clock / 10], np.float32)


class ImageToy(ToyEnv):
    """The same, shown as an image of 16x16 pixels beside the clock."""

    observation_space = gymnasium.spaces.Dict(
        {
            "clock": gymnasium.spaces.Box(0, 10, (1,), np.float32),
            "front": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8),
        }
    )

    def _show(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        image = np.full((16, 16, 3), 20, np.uint8)
        row, column = np.clip((self.point + 1) * 8, 0, 15).astype(int)
        image[row, column] = 255
        return {"clock": np.array([self.clock / 10], np.float32), "front": image}


TOYS = {"gym:toy": ToyEnv, "gym:toy-images": ImageToy}


class Failing(ToyEnv):
    """Shows ``value`` at ``where`` in the episodes that their seed chooses."""

    where, value, fraction = "step", math.nan, 0.4

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        shown, info = super().reset(seed=seed)
        self.bad = bool(self.np_random.random() < self.fraction)
        return (self._spoilt(shown) if self.bad and self.where == "reset" else shown), info

    def step(self, action: np.ndarray) -> Any:
        shown, reward, terminated, truncated, info = super().step(action)
        if self.bad and self.clock == 1:
            shown = self._spoilt(shown) if self.where == "step" else shown
            reward = self.value if self.where == "reward" else reward
        return shown, reward, terminated, truncated, info

    def _spoilt(self, shown: Any) -> Any:
        return np.where(np.arange(3) == 1, self.value, shown)


class FailingDouble(Failing):
    """In float64, where 1e300 is a number."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def _show(self) -> np.ndarray:
        return super()._show().astype(np.float64)


class FailingImage(Failing, ImageToy):
    """Beside an image, which cannot show NaN."""

    observation_space = ImageToy.observation_space
    _show = ImageToy._show

    def _spoilt(self, shown: Any) -> Any:
        return {**shown, "clock": np.full(1, self.value, np.float32)}


def failing(where: str, value: float = math.nan, fraction: float = 0.4, kind: type = Failing) -> Any:
    """A class of its own, so that worker processes and tests do not share settings."""
    return type("Failing", (kind,), {"where": where, "value": value, "fraction": fraction})
