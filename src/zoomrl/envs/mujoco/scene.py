"""What environments share whose scenes MuJoCo renders: the observation, the image for videos, and their end."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import Env, Observation
from zoomrl.envs.mujoco.cameras import SceneCameras


class SceneEnv(Env):
    """Observes :meth:`_state` and the images of ``_views``, and renders videos with ``_video``. Adapters set both."""

    _sim: Any
    _views: SceneCameras
    _video: SceneCameras

    @abstractmethod
    def _state(self) -> NDArray[np.float32]:
        """The current state [S]; asked for where the spec has one."""

    def _observe(self) -> Observation:
        observation: Observation = {}
        if "state" in self.env_spec.observations:
            observation["state"] = self._state()
        if self.env_spec.cameras:
            observation["rgb"] = self._views.render()
        return observation

    def _render(self) -> NDArray[np.uint8]:
        """The scene from the camera that videos are taken with, uint8 [240, 240, 3]."""
        frame: NDArray[np.uint8] = self._video.render()[0]
        return frame

    def close(self) -> None:
        """Free the simulator and its renderers. Safe to call twice."""
        self._views.close()
        self._video.close()
        self._free()

    def _free(self) -> None:
        self._sim.close()
