"""Scripted experts for the simplest BiGym tasks. They look at the simulator, and keep no memory of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_HAND_SPEED = 1.0
"""Metres per second that a reaching hand is asked to move at most."""
_DAMPING = 0.05
_BASE_WEIGHT = 0.1
"""Weight of moving a joint of the base; a joint of the arms has 1."""
_BASE_SPEED = 0.5
"""Metres per second."""
_LEVEL = np.array([-0.3, 0.0, 0.0, 1.57, 0.0])
"""An arm's shoulder pitch, roll and yaw, elbow and wrist."""


def reach(simulator: Any) -> Vector:
    """Bring a wrist to each target, with the arms and, less willingly, the base.

    Weighted, damped least squares: the joints move by ``W J' (J W J' + d^2)^-1 e`` for the distances ``e`` of the
    wrists from their targets. The step is added to the commands of now rather than to the angles, so that what gravity
    takes is made up for.
    """
    model, data, robot = simulator.mojo.model, simulator.mojo.data, simulator.robot
    base = robot.floating_base.all_actuators
    actuators = [model.actuator(one.full_identifier).id for one in (*base, *robot.limb_actuators)]
    columns = [model.jnt_dofadr[model.actuator_trnid[index, 0]] for index in actuators]
    weights = np.where(np.arange(len(columns)) < len(base), _BASE_WEIGHT, 1.0)
    hands = [_hand(simulator, target) for target in simulator.targets]
    jacobian = np.concatenate([_jacobian(model, data, site)[:, columns] for site, _ in hands])
    longest = _HAND_SPEED / simulator.control_frequency
    error = np.concatenate([_shortened(gap, longest) for _, gap in hands])
    damped = (jacobian * weights) @ jacobian.T + _DAMPING**2 * np.eye(len(error))
    moves = weights * (jacobian.T @ np.linalg.solve(damped, error))
    commands = data.ctrl[actuators]
    # The base is commanded by changes, the arms by angles.
    commands[: len(base)] = 0.0
    return _action(simulator, commands + moves)


def push_forward(simulator: Any) -> Vector:
    """Drive the base forwards, with the forearms held level: the hands push the drawer in."""
    base = np.zeros(simulator.robot.floating_base.dof_amount)
    base[0] = _BASE_SPEED / simulator.control_frequency
    return _action(simulator, np.concatenate([base, _LEVEL, _LEVEL]))


EXPERTS: dict[str, Callable[[Any], Vector]] = {
    "reach_target_single": reach,
    "reach_target_dual": reach,
    "reach_target_multi_modal": reach,
    "drawer_top_close": push_forward,
}
"""Task -> function from the simulator to an action [A]."""


def _action(simulator: Any, joints: Vector) -> Vector:
    """An action of base and arms, with open grippers."""
    return np.concatenate([joints, np.zeros(len(simulator.robot.grippers))])


def _hand(simulator: Any, target: Any) -> tuple[int, Vector]:
    """Of the hands that may reach ``target``, the nearest: its site, and how far it is off [3]."""
    grippers = [simulator.robot.grippers[side] for side in target._config.target_hands]
    place = np.asarray(target.body.get_position())
    gaps = [place - gripper.wrist_position for gripper in grippers]
    nearest = int(np.argmin([np.linalg.norm(gap) for gap in gaps]))
    site = grippers[nearest].wrist_site.mjcf.full_identifier
    return simulator.mojo.model.site(site).id, gaps[nearest]


def _jacobian(model: Any, data: Any, site: int) -> Vector:
    import mujoco

    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, jacobian, None, site)
    return jacobian


def _shortened(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector * min(1.0, longest / length) if length > 0.0 else vector
