"""What of RLBench an environment is built of, so that a test can put something else in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoomrl.errors import MissingDependencyError


@dataclass(frozen=True)
class Backend:
    """The names of RLBench that an environment is built of; a test puts classes of its own in their places.

    Attributes:
        find_task: RLBench's ``name_to_task_class``.
        no_task: raised by it.
        failures: raised by a reset or step that could not be carried out, of which the simulator recovers.
    """

    Environment: Any
    ObservationConfig: Any
    CameraConfig: Any
    RenderMode: Any
    MoveArmThenGripper: Any
    JointPosition: Any
    Discrete: Any
    find_task: Callable[[str], Any]
    no_task: type[Exception]
    failures: tuple[type[Exception], ...]


def installed() -> Backend:
    """The RLBench that is installed.

    Raises:
        MissingDependencyError: RLBench, PyRep or CoppeliaSim is not.
    """
    try:
        from pyrep.const import RenderMode
        from rlbench.action_modes.action_mode import MoveArmThenGripper
        from rlbench.action_modes.arm_action_modes import JointPosition
        from rlbench.action_modes.gripper_action_modes import Discrete
        from rlbench.backend import exceptions
        from rlbench.environment import Environment
        from rlbench.observation_config import CameraConfig, ObservationConfig
        from rlbench.utils import InvalidTaskName, name_to_task_class
    except ImportError as error:
        raise MissingDependencyError(
            f"RLBench cannot be imported: {error}. It needs CoppeliaSim 4.1, PyRep and RLBench, none of which is in a "
            "package registry (a package called pyrep is another project): see docs/environments/rlbench.md"
        ) from error
    return Backend(
        *(Environment, ObservationConfig, CameraConfig, RenderMode, MoveArmThenGripper, JointPosition, Discrete),
        find_task=name_to_task_class,
        no_task=InvalidTaskName,
        failures=(
            *(exceptions.InvalidActionError, exceptions.BoundaryError),
            *(exceptions.WaypointError, exceptions.TaskEnvironmentError),
        ),
    )
