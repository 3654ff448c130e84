"""A simulator in one file: a point on a plane is pushed towards a goal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, Env, Observation
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.options import Options
from zoomrl.errors import unknown_name
from zoomrl.spec import ArraySpec, EnvSpec

DISTANCES = {"near": 0.3, "far": 1.0}
"""Tasks: how far from the goal an episode begins at most."""


class PointEnv(Env):
    """``point:near`` and ``point:far``. The reward is minus the distance to the goal; success is within 0.05."""

    options = Options("point", {"terminate_on_success": (True, False)})

    def __init__(self, task: str, config: EnvConfig) -> None:
        if task not in DISTANCES:
            raise unknown_name("point task", task, DISTANCES)
        self.options.check(config, config.id)
        spec = EnvSpec(
            id=config.id,
            observations={"state": ArraySpec((4,))},
            action=ArraySpec((2,), "float32", (-0.1,) * 2, (0.1,) * 2),
            control_hz=20.0,
            time_limit=config.time_limit or 50,
            action_repeat=config.action_repeat,
            reports_success=True,
        )
        super().__init__(spec, terminate_on_success=config.terminate_on_success)
        self._farthest = DISTANCES[task]
        self._point = self._goal = np.zeros(2, np.float32)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        random = np.random.default_rng(seed)
        self._point = random.uniform(-1, 1, 2).astype(np.float32)
        angle, distance = random.uniform(0, 2 * np.pi), random.uniform(0.1, self._farthest)
        self._goal = self._point + np.float32(distance) * np.array([np.cos(angle), np.sin(angle)], np.float32)
        return {}

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        self._point = self._point + action
        distance = float(np.linalg.norm(self._goal - self._point))
        return ControlStep(-distance, success=distance < 0.05)

    def _observe(self) -> Observation:
        return {"state": np.concatenate([self._point, self._goal - self._point])}
