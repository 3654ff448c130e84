"""Meta-World v3: fifty Sawyer manipulation tasks with scripted experts."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, episode_limit
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.gym_base import ResetNeeded
from zoomrl.envs.mujoco.backend import FRAME_SIZE, prefer_headless_gl
from zoomrl.envs.mujoco.cameras import SceneCameras, check_cameras, observed, render_effects
from zoomrl.envs.mujoco.scene import SceneEnv
from zoomrl.envs.options import ANY, RENDERED, Options
from zoomrl.errors import import_optional, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

_SUFFIX = "-v3"
_CAMERA = "corner2"
# Mounted upside down in the scene files.
_ROLLED = ("corner", "corner2", "corner3", "corner4")
_CONTROL_HZ = 80.0
_CONTROL_STEPS = 500
# How many of the simulator's 39 numbers, from the first.
_STATE_DIMS = {"full": 39, "robot": 4, "none": 0}
_ACTION_DIM = 4


def metaworld_tasks() -> tuple[str, ...]:
    """Names of all tasks, sorted, without the version suffix. MissingDependencyError without Meta-World."""
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in _classes()))


class MetaWorldEnv(SceneEnv):
    """One Meta-World task; every reset samples a new placement of objects and goal from the task's own range.

    ``state`` holds the simulator's 39 numbers: hand, gripper and object now (18), the same one control
    step earlier (18), and the goal (3); or its first four alone: hand x, y, z in metres and gripper opening.
    Success is that of the current step, and can be transient.
    """

    options = Options(
        "metaworld",
        {**RENDERED, "reward": ("sparse", "dense"), "state": ("full", "robot", "none"), "terminate_on_success": ANY},
        {"reward": "it has two rewards of its own; choose 'sparse', 'dense' or 'auto' (sparse)"},
    )
    simulator = ("metaworld", "mujoco")
    has_expert = True

    def __init__(self, task: str, config: EnvConfig) -> None:
        self.options.check(config, f"metaworld:{task}")
        task = task.removesuffix(_SUFFIX)
        env_id = f"metaworld:{task}"
        check_cameras(config)
        limit = episode_limit(env_id, config.time_limit, config.action_repeat, _CONTROL_STEPS, native_is_hard=True)
        classes = _classes()
        if task + _SUFFIX not in classes:
            raise unknown_name("Meta-World task", task, metaworld_tasks())
        self._sparse = config.reward != "dense"
        state = config.state if config.state != "auto" else "robot" if config.cameras else "full"
        spec = EnvSpec(
            id=env_id,
            observations=observed(config.cameras, config.image_size, _STATE_DIMS[state]),
            action=ArraySpec((_ACTION_DIM,), low=(-1.0,) * _ACTION_DIM, high=(1.0,) * _ACTION_DIM),
            control_hz=_CONTROL_HZ / config.action_repeat,
            time_limit=limit,
            action_repeat=config.action_repeat,
            reports_success=True,
            reward="sparse" if self._sparse else "dense",
            cameras=tuple(config.cameras),
            rendering=render_effects(config),
            action_meaning=("delta", "delta", "delta", "gripper"),
            # Upstream gives one array, without names for its parts.
            state_entries=() if state == "none" else (StateEntry("state", _STATE_DIMS[state]),),
        )
        super().__init__(spec, terminate_on_success=config.terminate_on_success)
        self._name = task + _SUFFIX
        self._sim: Any = classes[self._name]()
        self._policy: Any = _policies()[self._name]()
        self._full_state: NDArray[np.float64] | None = None
        self._views = self._cameras(config.cameras, config.image_size, effects=spec.rendering)
        self._video = self._cameras((_CAMERA,), FRAME_SIZE)

    def _cameras(self, names: Sequence[str], size: int, **options: Any) -> SceneCameras:
        return SceneCameras(self.env_spec.id, self._sim.model, self._sim.data, names, size, rolled=_ROLLED, **options)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        import mujoco

        self._sim.set_task(self._sample_task(seed))
        self._full_state, info = self._sim.reset()
        # Upstream moves some objects (the window of window-close) after it has computed where everything is, and
        # images show what was computed. The next step computes it again in any case.
        mujoco.mj_kinematics(self._sim.model, self._sim.data)
        mujoco.mj_camlight(self._sim.model, self._sim.data)
        reset_info: Mapping[str, Any] = info
        return reset_info

    def _sample_task(self, seed: int) -> Any:
        """A task whose placement depends on ``seed`` alone.

        Upstream ignores ``reset(seed=...)``. Its own way to a placement is to let ``reset_model`` sample one
        (rejecting those that overlap) and to freeze it. Frozen is how it must then be reset: upstream resets
        the model twice and reads the observation from poses that only the first of them has settled, so with
        a new sample in each the first observation would show the wrong placement.
        """
        from metaworld.types import Task

        sim = self._sim
        sim._set_task_called = True
        sim._freeze_rand_vec = False
        sim.seeded_rand_vec = True
        sim.np_random = np.random.default_rng(seed)
        sim.reset_model()
        data = {"env_cls": type(sim), "rand_vec": sim._last_rand_vec, "partially_observable": False}
        return Task(self._name, pickle.dumps(data))

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        self._full_state, reward, terminated, truncated, info = self._sim.step(action)
        success = bool(info["success"])
        return ControlStep(
            float(success) if self._sparse else float(reward),
            terminated,
            truncated,
            success,
            info,
        )

    def _state(self) -> NDArray[np.float32]:
        assert self._full_state is not None
        return self._full_state[: self.env_spec.state_dim].astype(np.float32)

    def _expert(self) -> NDArray[Any] | None:
        if self._full_state is None:
            raise ResetNeeded(f"{self.env_spec.id}: the expert needs a state; call reset() first")
        action: NDArray[Any] = self._policy.get_action(self._full_state)
        return action


def _metaworld() -> ModuleType:
    prefer_headless_gl()
    module: ModuleType = import_optional("metaworld", "metaworld")
    return module


def _classes() -> Mapping[str, type]:
    _metaworld()
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    return ALL_V3_ENVIRONMENTS


def _policies() -> Mapping[str, type]:
    _metaworld()
    from metaworld.policies import ENV_POLICY_MAP

    # The experts' gains exceed the action range; their actions are clipped here, so the advice is moot.
    warnings.filterwarnings("ignore", message="Constant.s. may be too high", category=UserWarning)
    return ENV_POLICY_MAP
