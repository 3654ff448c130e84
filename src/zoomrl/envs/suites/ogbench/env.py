"""OGBench's manipulation tasks: a UR5e arm, cubes, buttons, a drawer and a window, one fixed goal a task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, episode_limit
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.mujoco.backend import FRAME_SIZE
from zoomrl.envs.mujoco.cameras import SceneCameras, check_cameras, observed, render_effects
from zoomrl.envs.mujoco.scene import SceneEnv
from zoomrl.envs.options import ANY, RENDERED, Options
from zoomrl.envs.suites.ogbench.simulator import build
from zoomrl.envs.suites.ogbench.tasks import SCENES, ogbench_tasks
from zoomrl.errors import unknown_name
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

_CONTROL_HZ = 20.0
_ACTION_DIM = 5
_ROBOT_DIM = 19
"""How many numbers of the state are the robot's own, from the first."""
_CAMERA = "front"
_CLOSE = 0.04
"""Metres within which a cube, the drawer and the window are where they should be, as published."""


class OGBenchEnv(SceneEnv):
    """One task of one scene: every reset has the task's objects and goal, and samples how the arm begins.

    ``state`` is the simulator's observation without a goal, which is the same in all episodes of a task: the robot (19:
    joint positions and velocities, place and yaw of the hand, opening and contact of the gripper), then 9 numbers for
    each cube, 4 for each button, 4 for drawer and window. An action moves the hand (x, y, z), turns it and moves the
    gripper, each from -1 to 1.

    Reward and success are those of the state that is shown after the step (upstream's ``success_timing="post"``).
    """

    options = Options(
        "ogbench",
        {**RENDERED, "reward": ("sparse", "native"), "state": ("full", "robot", "none"), "terminate_on_success": ANY},
        {"reward": "choose 'sparse', 'native' (minus the number of objects that are not in place) or 'auto' (sparse)"},
    )
    simulator = ("ogbench", "mujoco", "dm-control")

    def __init__(self, name: str, config: EnvConfig) -> None:
        self.options.check(config, f"ogbench:{name}")
        check_cameras(config)
        scene, number = resolve(name)
        env_id = f"ogbench:{scene}-task{number}"
        limit = episode_limit(
            env_id, config.time_limit, config.action_repeat, SCENES[scene].steps, native_is_hard=False
        )
        self._sparse = config.reward != "native"
        self._sim: Any = build(scene, task=number, pixels=bool(config.cameras))
        self._full_state, _ = self._sim.reset(seed=0)
        state = config.state if config.state != "auto" else "none" if config.cameras else "full"
        size = {"full": len(self._full_state), "robot": _ROBOT_DIM, "none": 0}[state]
        spec = EnvSpec(
            id=env_id,
            observations=observed(config.cameras, config.image_size, size),
            action=ArraySpec((_ACTION_DIM,), low=(-1.0,) * _ACTION_DIM, high=(1.0,) * _ACTION_DIM),
            control_hz=_CONTROL_HZ / config.action_repeat,
            time_limit=limit,
            action_repeat=config.action_repeat,
            reports_success=True,
            reward="sparse" if self._sparse else "native",
            cameras=tuple(config.cameras),
            rendering=render_effects(config),
            action_meaning=("delta", "delta", "delta", "delta", "gripper"),
            # Upstream gives one array, without names for its parts.
            state_entries=(StateEntry("state", size),) if size else (),
        )
        super().__init__(spec, terminate_on_success=config.terminate_on_success)
        self._views = self._cameras(config.cameras, config.image_size, effects=spec.rendering)
        self._video = self._cameras((_CAMERA,), FRAME_SIZE)

    def _cameras(self, names: Sequence[str], size: int, **options: Any) -> SceneCameras:
        return SceneCameras(self.env_spec.id, self._sim.model, self._sim.data, names, size, **options)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        self._full_state, _ = self._sim.reset(seed=seed)
        return {}

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        self._full_state, reward, _, _, info = self._sim.step(action)
        success = bool(info["success"])
        return ControlStep(float(success) if self._sparse else float(reward), success=success)

    def _state(self) -> NDArray[np.float32]:
        return self._full_state[: self.env_spec.state_dim].astype(np.float32)

    def in_place(self, qpos: NDArray[Any], buttons: NDArray[Any] | None) -> NDArray[np.bool_]:
        """Which objects are where the task wants them, in recorded states.

        Args:
            qpos: positions of all joints [N, Q], as the simulator orders them.
            buttons: state of each button [N, B]; None for scenes without.

        Returns:
            [N, objects]; a state solves the task where all of its row are True.

        Raises:
            ValueError: an array is not of this scene.
        """
        sim, count = self._sim, len(qpos)
        if qpos.shape != (count, sim.model.nq):
            raise ValueError(f"qpos must have shape [{count}, {sim.model.nq}], got {list(qpos.shape)}")
        found: list[NDArray[np.bool_]] = []
        for index in range(getattr(sim, "_num_cubes", 0)):
            first = sim.model.joint(f"object_joint_{index}").qposadr[0]
            goal = sim.data.mocap_pos[sim._cube_target_mocap_ids[index]]
            found.append(np.linalg.norm(qpos[:, first : first + 3] - goal, axis=-1) <= _CLOSE)
        number = getattr(sim, "_num_buttons", 0)
        if number:
            if buttons is None or buttons.shape != (count, number):
                found_shape = "none" if buttons is None else list(buttons.shape)
                raise ValueError(f"button_states must have shape [{count}, {number}], got {found_shape}")
            found.extend((buttons == sim._target_button_states).T)
        for joint, goal in (("drawer_slide", "_target_drawer_pos"), ("window_slide", "_target_window_pos")):
            if hasattr(sim, goal):
                found.append(np.abs(qpos[:, sim.model.joint(joint).qposadr[0]] - getattr(sim, goal)) <= _CLOSE)
        return np.stack(found, axis=1)

    def rewards(self, placed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Rewards [N] of steps to states with these objects in place [N, objects], as this environment gives them."""
        count = placed.sum(axis=1)
        found = count == placed.shape[1] if self._sparse else count - placed.shape[1]
        return np.asarray(found, np.float32)


def resolve(name: str) -> tuple[str, int]:
    """Scene and number of a task: ``puzzle-3x3-task4``, ``puzzle-3x3``, or the benchmark's own name of it.

    Raises:
        ConfigError: there is none of that name.
    """
    parts = re.fullmatch(r"(.+?)(?:-play)?(?:-singletask)?(?:-task([0-9]+))?(?:-v0)?", name)
    scene = parts[1] if parts else ""
    if scene in SCENES:
        number = int(parts[2]) if parts and parts[2] else SCENES[scene].default
        if f"{scene}-task{number}" in ogbench_tasks():
            return scene, number
    raise unknown_name("OGBench task", name, ogbench_tasks())
