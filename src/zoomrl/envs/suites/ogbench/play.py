"""Play: an arm that goes from one random target to the next, as OGBench's own data of that name were made.

Section 5 and appendix E of arXiv:2410.20092: a trajectory through a few poses for each target, followed step by step,
with smoothed noise on it; cubes, buttons, drawer and window at random to begin with.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.global_seed import GlobalStream
from zoomrl.envs.suites.ogbench.simulator import build
from zoomrl.envs.suites.ogbench.tasks import SCENES
from zoomrl.errors import ConfigError, unknown_name

STEPS = 1001
"""Observations of a trajectory."""
NOISE = 0.1
"""Standard deviation of the noise on the poses of a trajectory, as a fraction of the range of an action."""
_STACKING = {"single": (0.0, 0.0), "double": (0.0, 0.25), "triple": (0.05, 0.35), "quadruple": (0.1, 0.5)}
_STACKING |= {"octuple": (0.0, 0.35)}
"""Bounds of the probability that a cube is put on another, by the number of cubes; it is sampled once a trajectory."""
_RIGHT, _LEFT, _DRAWER = 0.29, -0.3, (0.06, 0.08)
"""Where the cube of ``scene`` goes out of sight, in metres: too far right; too far left, unless at the height of the
drawer."""
_ATTEMPTS = 100
Trajectory = dict[str, NDArray[Any]]


class Player:
    """Plays in one scene.

    Args:
        scene: one of :data:`~zoomrl.envs.suites.ogbench.tasks.SCENES`.
        steps: observations of a trajectory.
        noise: on the trajectories that are followed; see :data:`NOISE`.

    Raises:
        ConfigError: there is no such scene, or a number is out of its range.
        MissingDependencyError: OGBench is not installed.
    """

    def __init__(self, scene: str, *, steps: int = STEPS, noise: float = NOISE) -> None:
        if scene not in SCENES:
            raise unknown_name("scene of OGBench", scene, SCENES)
        if steps < 2:
            raise ConfigError(f"a trajectory must have at least 2 observations, got {steps}")
        if not 0 <= noise < np.inf:
            raise ConfigError(f"noise must be a finite fraction of the range of an action, 0 or more, got {noise}")
        self._scene, self._steps = scene, steps
        self._sim = build(scene)
        self._oracles = {
            target: _oracle(target)(env=self._sim, noise=noise, noise_smoothing=0.5, **options)
            for target, options in _targets(scene).items()
        }

    def play(self, seed: int, number: int) -> Trajectory:
        """Trajectory ``number`` of a set.

        It depends on ``seed`` and ``number`` alone. In ``scene``, one in which the cube leaves the camera's sight is
        made anew, as published.

        Returns:
            ``observations`` [T, S] float32, ``actions`` [T, A] float32, ``terminals`` [T] bool, true at the last, whose
            action has no result; ``qpos``, ``qvel`` float32 and, where there are buttons, ``button_states`` int64.
        """
        for attempt in range(_ATTEMPTS):
            sequence = np.random.SeedSequence(seed, spawn_key=(number, attempt))
            found = self._play(*(int(word) for word in sequence.generate_state(2)))
            if self._scene != "scene" or in_sight(found["qpos"]):
                return found
        raise RuntimeError(f"{_ATTEMPTS} trajectories in a row lost the cube out of sight")

    def _play(self, seed: int, noise_seed: int) -> Trajectory:
        # Oracles sample from numpy's global generator.
        with GlobalStream(noise_seed).lent():
            observation, info = self._sim.reset(seed=seed)
            low, high = _STACKING.get(SCENES[self._scene].variant, (0.5, 0.5))
            stacking = np.random.uniform(low, high)
            oracle = self._oracles[info["privileged/target_task"]]
            oracle.reset(observation, info)
            rows: list[Mapping[str, Any]] = []
            for _ in range(self._steps):
                action = np.clip(oracle.select_action(observation, info), -1, 1)
                before = observation
                observation, _, _, _, info = self._sim.step(action)
                rows.append({"observations": before, "actions": action, **_before(info)})
                if oracle.done:
                    aim = self._sim.set_new_target(p_stack=stacking)
                    oracle = self._oracles[aim[1]["privileged/target_task"]]
                    oracle.reset(*aim)
        found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        found = {k: v.astype(np.int64 if k == "button_states" else np.float32) for k, v in found.items()}
        return {**found, "terminals": np.arange(self._steps) == self._steps - 1}


def in_sight(qpos: NDArray[Any]) -> bool:
    """Whether the cube of ``scene`` can be seen, or lies in the drawer, in every state [T, Q] of a trajectory."""
    _, y, z = qpos[:, 14:17].T
    return not ((y >= _RIGHT) | ((y <= _LEFT) & ((z < _DRAWER[0]) | (z > _DRAWER[1])))).any()


def _before(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the simulator says of the state that the action was chosen in."""
    return {name: info[f"prev_{name}"] for name in ("qpos", "qvel", "button_states") if f"prev_{name}" in info}


def _targets(scene: str) -> dict[str, dict[str, Any]]:
    """What there is to aim at in a scene, and the options of its oracle."""
    if scene.startswith("cube"):
        return {"cube": {}}
    # Nothing is to be gripped where there are only buttons.
    return (
        {"button": {"gripper_always_closed": True}} if scene.startswith("puzzle") else {target: {} for target in _ALL}
    )


_ALL = ("cube", "button", "drawer", "window")


def _oracle(target: str) -> Callable[..., Any]:
    module = importlib.import_module(f"ogbench.manipspace.oracles.plan.{target}_plan")
    found: Callable[..., Any] = getattr(module, f"{target.capitalize()}PlanOracle")
    return found
