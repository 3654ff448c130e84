"""RLBench: manipulation by a Franka Panda in CoppeliaSim, by changes of its joint positions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, Env, Observation, episode_limit
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.global_seed import GlobalStream
from zoomrl.envs.gym_base import ResetNeeded
from zoomrl.envs.mujoco.cameras import check_cameras, observed
from zoomrl.envs.options import IMAGES, Options
from zoomrl.envs.suites.rlbench.backend import Backend, installed
from zoomrl.envs.suites.rlbench.tasks import LIMITS
from zoomrl.errors import ConfigError, MissingDependencyError, WorkerError, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

CAMERAS = ("front", "wrist", "left_shoulder", "right_shoulder", "overhead")
"""Names of the cameras, as in RLBench's observations."""
MAX_DELTA = 0.2
"""Largest change of a joint in one agent step, in radians: demonstrations with a larger one are dropped."""

_CONTROL_HZ = 20.0
_JOINTS = 7
_ROBOT_DIM = _JOINTS + 1
_ARM = {"arm_max_velocity": 2.0, "arm_max_acceleration": 8.0}
_RESET_TRIES = 5
_ONE_WAY = (
    "CoppeliaSim renders images in one way. Presets for a CPU switch this off: add --env.shadows --env.reflections "
    "--env.antialiasing"
)


class RLBenchEnv(Env):
    """One task, variation 0, placed anew at every reset; an action is a change of 7 joints in radians, and the gripper.

    ``state`` is the 7 joint positions and whether the gripper is open (1) or closed (0); with ``state="full"`` followed
    by poses of the task's objects. The gripper opens at actions above 0.5. Reward is 1 at success, which ends the
    episode, as a broken constraint of the task does.

    A motion that RLBench refuses ends the episode as truncated, with the reason in ``info["failed"]``: it says nothing
    about the task, so that values go on beyond it.

    CoppeliaSim is started by the first reset (``state="full"``: at once), and once per process.

    Args:
        name: of the task, with underscores or dashes.
        config: options; another than the 22 tasks of :data:`LIMITS` needs a time limit.
        backend: for tests; None is :func:`installed`.
    """

    options = Options(
        "rlbench",
        {**IMAGES, "reward": ("sparse", "native"), "state": ("full", "robot", "none")},
        {
            **dict.fromkeys(("shadows", "reflections", "antialiasing"), _ONE_WAY),
            "terminate_on_success": "RLBench itself ends an episode at success; leave it on",
        },
    )
    simulator = ("rlbench", "pyrep")
    _holder: ClassVar[str | None] = None

    def __init__(self, name: str, config: EnvConfig, backend: Backend | None = None) -> None:
        task = name.replace("-", "_")
        env_id = f"rlbench:{task}"
        limit = _limit(env_id, task, config)
        self.options.check(config, env_id)
        _check(config)
        self._backend = installed() if backend is None else backend
        try:
            self._task_class = self._backend.find_task(task)
        except self._backend.no_task as error:
            raise unknown_name("RLBench task", name, LIMITS) from error
        self._shown = config.state if config.state != "auto" else "robot" if config.cameras else "full"
        self._size = config.image_size
        self._views = tuple(config.cameras)
        self._stream = GlobalStream()
        self._sim: Any = None
        self._task: Any = None
        self._now: Any = None
        self._id = env_id
        self._state_dim = self._measured() if self._shown == "full" else _ROBOT_DIM * (self._shown == "robot")
        reach = (MAX_DELTA,) * _JOINTS
        super().__init__(
            EnvSpec(
                id=env_id,
                observations=observed(config.cameras, config.image_size, self._state_dim),
                action=ArraySpec((_JOINTS + 1,), low=(*(-x for x in reach), 0.0), high=(*reach, 1.0)),
                control_hz=_CONTROL_HZ / config.action_repeat,
                time_limit=limit,
                action_repeat=config.action_repeat,
                reports_success=True,
                reward="sparse",
                cameras=self._views,
                action_meaning=("delta",) * _JOINTS + ("gripper",),
                state_entries=_entries(self._state_dim),
            )
        )

    def _measured(self) -> int:
        """Length of the full state, which only the simulator knows."""
        try:
            self._begin(0)
        except BaseException:
            self.close()
            raise
        return len(self._state())

    def _launch(self) -> None:
        if RLBenchEnv._holder is not None:
            raise ConfigError(
                f"{self._id}: CoppeliaSim runs once per process, and {RLBenchEnv._holder} has it here. Give each "
                "environment a process of its own by --env.workers process, or close the other one"
            )
        make = self._backend
        camera = {"depth": False, "point_cloud": False, "mask": False, "image_size": (self._size, self._size)}
        config = make.ObservationConfig(
            **{
                f"{name}_camera": make.CameraConfig(
                    rgb=name in self._views, render_mode=make.RenderMode.OPENGL3, **camera
                )
                for name in CAMERAS
            }
        )
        config.set_all_low_dim(False)
        config.joint_positions = config.gripper_open = True
        config.task_low_dim_state = self._shown == "full"
        mode = make.MoveArmThenGripper(make.JointPosition(absolute_mode=False), make.Discrete())
        self._sim = make.Environment(mode, obs_config=config, headless=True, **_ARM)
        RLBenchEnv._holder = self._id
        folder = os.getcwd()
        try:
            self._sim.launch()
            self._task = self._sim.get_task(self._task_class)
        except BaseException:
            # What went wrong is to be seen, and not that nothing runs that could be ended.
            with contextlib.suppress(Exception):
                self.close()
            raise
        finally:
            # PyRep leaves the process in CoppeliaSim's folder.
            os.chdir(folder)
        self._task.set_variation(0)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        if self._sim is None:
            self._launch()
        self._stream.seed(seed)
        for attempt in range(_RESET_TRIES):
            try:
                with self._stream.lent():
                    descriptions, self._now = self._task.reset()
            except self._backend.failures as error:
                if attempt + 1 == _RESET_TRIES:
                    raise WorkerError(
                        f"{self._id} could not be placed in its scene, {_RESET_TRIES} times in a row with seed {seed}: "
                        f"{type(error).__name__}: {error}"
                    ) from error
            else:
                break
        return {"descriptions": list(descriptions)}

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        try:
            with self._stream.lent():
                self._now, reward, terminated = self._task.step(action.astype(np.float64))
        except self._backend.failures as error:
            return ControlStep(0.0, truncated=True, info={"failed": f"{type(error).__name__}: {error}"})
        return ControlStep(float(reward), bool(terminated), success=bool(reward))

    def _state(self) -> NDArray[np.float32]:
        parts = [self._now.joint_positions, [self._now.gripper_open]]
        if self._shown == "full":
            parts.append(self._now.task_low_dim_state)
        return np.concatenate(parts).astype(np.float32)

    def _observe(self) -> Observation:
        observation: Observation = {}
        if self._shown != "none":
            state = self._state()
            if len(state) != self._state_dim:
                raise WorkerError(
                    f"{self._id} has no state of fixed length: {self._state_dim} numbers at first, {len(state)} now. "
                    "Choose --env.state robot"
                )
            observation["state"] = state
        if self._views:
            observation["rgb"] = np.stack([getattr(self._now, f"{name}_rgb") for name in self._views])
        return observation

    def _render(self) -> NDArray[np.uint8]:
        """What the first observed camera saw last, uint8 [image_size, image_size, 3].

        MissingDependencyError without cameras: RLBench renders what an observation holds, and nothing else.
        """
        if not self._views:
            raise MissingDependencyError(f"{self._id} renders observed cameras alone; name one by --env.cameras front")
        if self._now is None:
            raise ResetNeeded(f"{self._id}: nothing has been seen yet; call reset() before render()")
        frame: NDArray[np.uint8] = np.array(getattr(self._now, f"{self._views[0]}_rgb"))
        return frame

    def close(self) -> None:
        """End CoppeliaSim. Safe to call twice; another reset starts it again."""
        simulator, self._sim, self._task = self._sim, None, None
        if simulator is not None:
            RLBenchEnv._holder = None
            simulator.shutdown()


def _limit(env_id: str, task: str, config: EnvConfig) -> int:
    if task not in LIMITS and config.time_limit is None:
        hint = unknown_name("RLBench task with a published time limit", task, LIMITS)
        raise ConfigError(f"{hint} Another task of RLBench needs a limit of its own: add --env.time-limit")
    native = LIMITS.get(task, (config.time_limit or 1) * config.action_repeat)
    return episode_limit(env_id, config.time_limit, config.action_repeat, native, native_is_hard=False)


def _entries(state_dim: int) -> tuple[StateEntry, ...]:
    """The parts of a state of that length, by RLBench's names; those of the robot come first."""
    if state_dim == 0:
        return ()
    robot = (StateEntry("joint_positions", _JOINTS), StateEntry("gripper_open", _ROBOT_DIM - _JOINTS))
    rest = state_dim - _ROBOT_DIM
    return (*robot, StateEntry("task_low_dim_state", rest)) if rest else robot


def _check(config: EnvConfig) -> None:
    check_cameras(config)
    for name in config.cameras:
        if name not in CAMERAS:
            raise unknown_name("RLBench camera", name, CAMERAS)
