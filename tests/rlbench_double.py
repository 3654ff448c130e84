"""RLBench without CoppeliaSim: the same classes, methods and arguments, over seven joints that go where they are told.

Written from RLBench's documented interface. `tests/test_envs_rlbench.py` holds its signatures against RLBench's own
wherever its sources are at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from zoomrl.envs.suites.rlbench.backend import Backend

JOINTS = 7
REACHED = 0.05
CAMERA_NAMES = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
LOW_DIM = (
    "joint_velocities",
    "joint_positions",
    "joint_forces",
    "gripper_open",
    "gripper_pose",
    "gripper_matrix",
    "gripper_joint_positions",
    "gripper_touch_forces",
    "wrist_camera_matrix",
    "task_low_dim_state",
)


class InvalidActionError(Exception):
    pass


class BoundaryError(Exception):
    pass


class TaskEnvironmentError(Exception):
    pass


class WaypointError(Exception):
    def __init__(self, message: str, task: Any) -> None:
        super().__init__(f"Error in task {task.get_name()}. {message}")


class InvalidTaskName(Exception):  # noqa: N818  (RLBench's name)
    pass


class RenderMode(Enum):
    OPENGL = 0
    OPENGL3 = 1


class CameraConfig:
    def __init__(
        self,
        rgb: bool = True,
        rgb_noise: Any = None,
        depth: bool = True,
        depth_noise: Any = None,
        point_cloud: bool = True,
        mask: bool = True,
        image_size: tuple[int, int] = (128, 128),
        render_mode: RenderMode = RenderMode.OPENGL3,
        masks_as_one_channel: bool = True,
        depth_in_meters: bool = False,
    ) -> None:
        self.rgb, self.depth, self.point_cloud, self.mask = rgb, depth, point_cloud, mask
        self.image_size, self.render_mode = image_size, render_mode

    def set_all(self, value: bool) -> None:
        self.rgb = self.depth = self.point_cloud = self.mask = value


class ObservationConfig:
    def __init__(
        self,
        left_shoulder_camera: CameraConfig | None = None,
        right_shoulder_camera: CameraConfig | None = None,
        overhead_camera: CameraConfig | None = None,
        wrist_camera: CameraConfig | None = None,
        front_camera: CameraConfig | None = None,
        joint_velocities: bool = True,
        joint_velocities_noise: Any = None,
        joint_positions: bool = True,
        joint_positions_noise: Any = None,
        joint_forces: bool = True,
        joint_forces_noise: Any = None,
        gripper_open: bool = True,
        gripper_pose: bool = True,
        gripper_matrix: bool = False,
        gripper_joint_positions: bool = False,
        gripper_touch_forces: bool = False,
        wrist_camera_matrix: bool = False,
        record_gripper_closing: bool = False,
        task_low_dim_state: bool = False,
    ) -> None:
        given = locals()
        for name in CAMERA_NAMES:
            setattr(self, f"{name}_camera", given[f"{name}_camera"] or CameraConfig())
        for name in LOW_DIM:
            setattr(self, name, given[name])

    def set_all(self, value: bool) -> None:
        self.set_all_high_dim(value)
        self.set_all_low_dim(value)

    def set_all_high_dim(self, value: bool) -> None:
        for name in CAMERA_NAMES:
            getattr(self, f"{name}_camera").set_all(value)

    def set_all_low_dim(self, value: bool) -> None:
        for name in LOW_DIM:
            setattr(self, name, value)


class JointPosition:
    def __init__(self, absolute_mode: bool = True) -> None:
        self.absolute = absolute_mode


class Discrete:
    def __init__(self, attach_grasped_objects: bool = True, detach_before_open: bool = True) -> None:
        pass


class MoveArmThenGripper:
    def __init__(self, arm_action_mode: JointPosition, gripper_action_mode: Discrete) -> None:
        self.arm_action_mode, self.gripper_action_mode = arm_action_mode, gripper_action_mode


class Observation:
    """RLBench's fields; those that were not asked for are None."""

    def __init__(self, **fields: Any) -> None:
        for camera in CAMERA_NAMES:
            for kind in ("rgb", "depth", "mask", "point_cloud"):
                setattr(self, f"{camera}_{kind}", None)
        for name in LOW_DIM:
            setattr(self, name, None)
        self.misc: dict[str, Any] = {}
        vars(self).update(fields)


@dataclass
class Faults:
    """What goes wrong, for tests.

    Attributes:
        resets: raised by the next resets, one each.
        steps: raised by the next steps, one each.
        growing: whether the task's state becomes longer with each step.
    """

    resets: list[Exception] = field(default_factory=list)
    steps: list[Exception] = field(default_factory=list)
    growing: bool = False


class JointGoal:
    """A task: bring all joints within `REACHED` of a goal; a first joint beyond 1.5 breaks its constraint."""

    name = "reach_target"

    def __init__(self) -> None:
        self.goal = np.zeros(JOINTS)

    def get_name(self) -> str:
        return self.name


class TaskEnvironment:
    def __init__(self, task: JointGoal, config: ObservationConfig, faults: Faults) -> None:
        self.task, self._config, self._faults = task, config, faults
        self._joints, self._open, self._steps = np.zeros(JOINTS), 1.0, 0
        self._reset_called = False
        self.variation = -1

    def get_name(self) -> str:
        return self.task.get_name()

    def sample_variation(self) -> int:
        self.variation = int(np.random.randint(0, self.variation_count()))
        return self.variation

    def set_variation(self, v: int) -> None:
        if v >= self.variation_count():
            raise TaskEnvironmentError(f"Requested variation {v}, but there are only {self.variation_count()}")
        self.variation = v

    def variation_count(self) -> int:
        return 3

    def reset(self, demo: Any = None) -> tuple[list[str], Observation]:
        # Like the real one, from numpy's global generator.
        self.task.goal = np.random.uniform(-0.5, 0.5, JOINTS)
        if self._faults.resets:
            raise self._faults.resets.pop(0)
        self._joints, self._open, self._steps = np.zeros(JOINTS), 1.0, 0
        self._reset_called = True
        return ["reach the target"], self.get_observation()

    def get_observation(self) -> Observation:
        fields: dict[str, Any] = {}
        for name in CAMERA_NAMES:
            camera = getattr(self._config, f"{name}_camera")
            if camera.rgb:
                image = np.full((*camera.image_size, 3), CAMERA_NAMES.index(name), np.uint8)
                image[0, :JOINTS, 0] = np.clip(100 + 100 * self._joints, 0, 255)
                fields[f"{name}_rgb"] = image
        values = {
            "joint_positions": self._joints.copy(),
            "gripper_open": self._open,
            "task_low_dim_state": np.concatenate([self.task.goal, np.zeros(self._faults.growing * self._steps)]),
        }
        fields |= {name: value for name, value in values.items() if getattr(self._config, name)}
        return Observation(**fields)

    def step(self, action: Any) -> tuple[Observation, float, bool]:
        if not self._reset_called:
            raise RuntimeError("Call 'reset' before calling 'step' on a task.")
        if np.shape(action) != (JOINTS + 1,):
            raise InvalidActionError(f"Expected the action shape to be: {(JOINTS + 1,)}, but was {np.shape(action)}")
        self._steps += 1
        if self._faults.steps:
            raise self._faults.steps.pop(0)
        self._joints = self._joints + action[:JOINTS]
        self._open = float(action[JOINTS] > 0.5)
        success = bool(np.abs(self._joints - self.task.goal).max() < REACHED)
        broken = bool(self._joints[0] > 1.5)
        return self.get_observation(), float(success), success or broken

    def get_demos(
        self,
        amount: int,
        live_demos: bool = False,
        image_paths: bool = False,
        callable_each_step: Callable[[Observation], None] | None = None,
        max_attempts: int = 10,
        random_selection: bool = True,
        from_episode_number: int = 0,
    ) -> list[list[Observation]]:
        if not live_demos:
            raise RuntimeError("Can't ask for a stored demo when no dataset root provided.")
        return [self._demo() for _ in range(amount)]

    def _demo(self) -> list[Observation]:
        observations, done = [self.reset()[1]], False
        while not done:
            delta = np.clip(self.task.goal - self._joints, -0.1, 0.1)
            observation, _, done = self.step(np.append(delta, 1.0))
            observation.misc["joint_position_action"] = np.append(self._joints, 1.0)
            observations.append(observation)
        return observations


class Environment:
    """One simulator; `launched` counts those that run, of which a process can have one."""

    launched = 0
    built: Environment | None = None
    faults = Faults()

    def __init__(
        self,
        action_mode: MoveArmThenGripper,
        dataset_root: str = "",
        obs_config: ObservationConfig | None = None,
        headless: bool = False,
        static_positions: bool = False,
        robot_setup: str = "panda",
        randomize_every: Any = None,
        frequency: int = 1,
        visual_randomization_config: Any = None,
        dynamics_randomization_config: Any = None,
        attach_grasped_objects: bool = True,
        shaped_rewards: bool = False,
        arm_max_velocity: float = 1.0,
        arm_max_acceleration: float = 4.0,
    ) -> None:
        assert not action_mode.arm_action_mode.absolute, "the double moves by changes of position alone"
        self.config = obs_config or ObservationConfig()
        self.headless, self.arm = headless, (arm_max_velocity, arm_max_acceleration)
        self.running = False
        self.task: TaskEnvironment | None = None
        Environment.built = self

    def launch(self) -> None:
        if Environment.launched:
            raise RuntimeError("Already called launch!")
        Environment.launched += 1
        self.running = True

    def shutdown(self) -> None:
        Environment.launched -= self.running
        self.running = False

    def get_task(self, task_class: type[JointGoal]) -> TaskEnvironment:
        self.task = TaskEnvironment(task_class(), self.config, Environment.faults)
        return self.task

    @property
    def action_shape(self) -> tuple[int]:
        return (JOINTS + 1,)


def name_to_task_class(task_file: str) -> type[JointGoal]:
    if "zzz" in task_file:
        raise InvalidTaskName(f"The task file '{task_file}' does not exist or cannot be compiled.")
    return type(task_file, (JointGoal,), {"name": task_file})


def double() -> Backend:
    """The double, as the adapter takes it."""
    return Backend(
        *(Environment, ObservationConfig, CameraConfig, RenderMode, MoveArmThenGripper, JointPosition, Discrete),
        find_task=name_to_task_class,
        no_task=InvalidTaskName,
        failures=(InvalidActionError, BoundaryError, WaypointError, TaskEnvironmentError),
    )
