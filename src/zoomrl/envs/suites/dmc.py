"""The DeepMind Control Suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, episode_limit
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.mujoco.backend import FRAME_SIZE, prefer_headless_gl
from zoomrl.envs.mujoco.cameras import SceneCameras, check_cameras, observed, render_effects
from zoomrl.envs.mujoco.scene import SceneEnv
from zoomrl.envs.options import RENDERED, Options
from zoomrl.errors import import_optional, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

_CONTROL_STEPS = 1000


def dmc_tasks() -> tuple[str, ...]:
    """Names ``<domain>-<task>`` of all suite tasks, sorted. MissingDependencyError without dm_control."""
    return tuple(sorted(f"{domain}-{task}" for domain, task in _suite().ALL_TASKS))


class DMCEnv(SceneEnv):
    """One suite task. ``state`` is the suite's observation, flattened in its own key order.

    The suite reports no success. Its time limit truncates; a task that ends itself terminates.
    """

    options = Options("dmc", {**RENDERED, "reward": ("native",), "state": ("full", "none")})
    simulator = ("dm-control", "mujoco")

    def __init__(self, name: str, config: EnvConfig) -> None:
        self.options.check(config, f"dmc:{name}")
        check_cameras(config)
        domain, task = _resolve(name)
        env_id = f"dmc:{domain}-{task}"
        limit = episode_limit(env_id, config.time_limit, config.action_repeat, _CONTROL_STEPS, native_is_hard=True)
        # A few tasks also sample their model from this seed; a fixed one keeps the model the same everywhere.
        self._sim: Any = _suite().load(domain, task, task_kwargs={"random": 0})
        self._unstable = import_optional("dm_control.rl.control", "dmc").PhysicsError
        actions = self._sim.action_spec()
        shows_state = config.state == "full" or (config.state == "auto" and not config.cameras)
        entries = tuple(StateEntry(name, int(np.prod(e.shape))) for name, e in self._sim.observation_spec().items())
        size = sum(entry.size for entry in entries)
        spec = EnvSpec(
            id=env_id,
            observations=observed(config.cameras, config.image_size, size if shows_state else 0),
            action=ArraySpec(
                tuple(actions.shape),
                low=tuple(float(v) for v in actions.minimum),
                high=tuple(float(v) for v in actions.maximum),
            ),
            control_hz=1.0 / (float(self._sim.control_timestep()) * config.action_repeat),
            time_limit=limit,
            action_repeat=config.action_repeat,
            cameras=tuple(config.cameras),
            rendering=render_effects(config),
            state_entries=entries if shows_state else (),
        )
        super().__init__(spec)
        self._entries: Mapping[str, Any] = {}
        self._views = self._cameras(config.cameras, config.image_size, effects=spec.rendering)
        # Not physics.render: dm_control believes its own OpenGL context to be the current one, which it is not
        # after another renderer was used.
        self._video = self._cameras(("0",), FRAME_SIZE)

    def _cameras(self, names: Sequence[str], size: int, **options: Any) -> SceneCameras:
        physics = self._sim.physics
        return SceneCameras(self.env_spec.id, physics.model.ptr, physics.data.ptr, names, size, **options)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        self._sim.task.random.seed(seed)
        self._entries = self._sim.reset().observation
        self._views.new_episode()
        self._video.new_episode()
        return {}

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        try:
            now = self._sim.step(action.astype(np.float64))
        except self._unstable:
            # The episode ends with what was seen last: nothing beyond it has any meaning.
            return ControlStep(0.0, truncated=True, info={"unstable": True})
        self._entries = now.observation
        ended = now.last()
        return ControlStep(
            float(now.reward),
            terminated=ended and now.discount == 0.0,
            truncated=ended and now.discount != 0.0,
        )

    def _state(self) -> NDArray[np.float32]:
        # Entries may be scalars; each becomes a flat run of numbers.
        return np.concatenate([np.ravel(np.asarray(value)) for value in self._entries.values()]).astype(np.float32)

    def _free(self) -> None:
        self._sim.physics.free()


def _resolve(name: str) -> tuple[str, str]:
    """``(domain, task)`` of a name written with a dash or, as in much of the literature, an underscore."""
    known = {f"{domain}_{task}": (domain, task) for domain, task in _suite().ALL_TASKS}
    key = name.replace("-", "_")
    if key.startswith("cup_"):
        key = "ball_in_" + key
    if key not in known:
        raise unknown_name("DeepMind Control task", name, dmc_tasks())
    return known[key]


def _suite() -> Any:
    prefer_headless_gl()
    return import_optional("dm_control.suite", "dmc")
