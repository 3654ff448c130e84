"""BiGym: forty household tasks of a humanoid with two arms on a floating base."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, episode_limit
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.global_seed import GlobalStream
from zoomrl.envs.mujoco.backend import FRAME_SIZE, prefer_headless_gl
from zoomrl.envs.mujoco.cameras import SceneCameras, check_cameras, observed, render_effects
from zoomrl.envs.mujoco.scene import SceneEnv
from zoomrl.envs.options import ANY, RENDERED, Options
from zoomrl.envs.suites.bigym.experts import EXPERTS
from zoomrl.envs.suites.bigym.tasks import PHYSICS_HZ, TASKS, BiGymTask
from zoomrl.errors import BrokenDependencyError, ConfigError, MissingDependencyError, install_command, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

CAMERAS = ("head", "left_wrist", "right_wrist", "external")
"""What can be observed, by BiGym's names."""
DEMO_MUJOCO = "3.1.5"
"""The MuJoCo that the published demonstrations were recorded with."""

_PROPRIOCEPTION = ("proprioception", "proprioception_grippers", "proprioception_floating_base")
# Physics steps of a control step: BiGym takes no others.
_FEWEST, _MOST = 1, 25
_GRIPPERS = 2


def bigym_tasks() -> tuple[str, ...]:
    """Names of all tasks, sorted; known without BiGym."""
    return tuple(sorted(TASKS))


class BiGymEnv(SceneEnv):
    """One BiGym task with the H1 robot, whose joints are commanded by position.

    An action holds changes of the base's x, y (z) in metres and of its heading in radians, the angles of ten arm
    joints in radians, and two grippers from 0 (open) to 1. ``state`` is what the robot knows of itself: joint
    positions and velocities, two grippers, the base's position; ``full`` adds, in alphabetical order of their names,
    what the simulator alone knows (places of targets, racks and plates, in the few tasks that tell).

    The reward is 1 on success, which ends the episode, and else 0. Failure (the pelvis 10 m away, or what the task
    says) ends it too. Broken physics truncate it, with ``info["unstable"]``.
    """

    options = Options(
        "bigym",
        {**RENDERED, "reward": ("sparse", "native"), "state": ("full", "robot", "none"), "control_hz": ANY},
        {"terminate_on_success": "BiGym itself ends an episode at success; leave it on"},
    )
    simulator = ("bigym", "mojo", "mujoco")

    def __init__(self, name: str, config: EnvConfig) -> None:
        task_name = name.replace("-", "_")
        if task_name not in TASKS:
            raise unknown_name("BiGym task", name, TASKS)
        self.options.check(config, f"bigym:{name}")
        _check(config)
        task = TASKS[task_name]
        env_id = f"bigym:{task_name}"
        downsample = _downsample(task, config.control_hz)
        repeat, native = config.action_repeat, task.length // downsample
        limit = episode_limit(env_id, config.time_limit, repeat, native, native_is_hard=False)
        state = config.state if config.state != "auto" else "robot" if config.cameras else "full"
        # Upstream seeds numpy's global random state, and samples from it.
        self._stream = GlobalStream()
        with self._stream.lent():
            self._sim, self._unstable = _build(task, PHYSICS_HZ / downsample, privileged=state == "full")
            self._entries: Mapping[str, NDArray[np.float32]] = self._sim.get_observation()
        # Sizes from a real observation: move_plate declares 3 numbers for a pose and gives 7.
        private = sorted(key for key in self._entries if not key.startswith("proprioception"))
        self._keys = () if state == "none" else (*_PROPRIOCEPTION, *private)
        actions = self._sim.action_space
        arms = len(actions.low) - len(task.dofs) - _GRIPPERS
        spec = EnvSpec(
            id=env_id,
            observations=observed(config.cameras, config.image_size, len(self._state())),
            action=ArraySpec(
                tuple(actions.shape),
                low=tuple(float(bound) for bound in actions.low),
                high=tuple(float(bound) for bound in actions.high),
            ),
            control_hz=PHYSICS_HZ / (downsample * repeat),
            time_limit=limit,
            action_repeat=repeat,
            reports_success=True,
            reward="sparse",
            cameras=tuple(config.cameras),
            rendering=render_effects(config),
            action_meaning=("delta",) * len(task.dofs) + ("absolute",) * arms + ("gripper",) * _GRIPPERS,
            state_entries=tuple(StateEntry(key, int(np.size(self._entries[key]))) for key in self._keys),
        )
        super().__init__(spec)
        self._policy = EXPERTS.get(task_name)
        self.has_expert = self._policy is not None
        self._views = self._cameras(config.cameras, config.image_size, effects=spec.rendering)
        self._video = self._cameras(("external",), FRAME_SIZE)

    def _cameras(self, names: Sequence[str], size: int, **options: Any) -> SceneCameras:
        model, data = self._sim.mojo.model, self._sim.mojo.data
        # The robot's own cameras carry its name: h1/head.
        full = {name.rpartition("/")[2]: name for name in (model.camera(i).name for i in range(model.ncam))}
        return SceneCameras(self.env_spec.id, model, data, [full[name] for name in names], size, **options)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        import mujoco

        # Upstream keeps the success of the last step until the next one, and would report it of the new episode.
        self._sim._step_cache.clean()
        with self._stream.lent():
            self._entries, info = self._sim.reset(seed=seed)
        # Upstream moves doors and targets without computing where everything is, and images show what was
        # computed. The next step computes it again in any case.
        mujoco.mj_kinematics(self._sim.mojo.model, self._sim.mojo.data)
        mujoco.mj_camlight(self._sim.mojo.model, self._sim.mojo.data)
        reset_info: Mapping[str, Any] = info
        return reset_info

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        try:
            with self._stream.lent():
                self._entries, reward, terminated, unhealthy, info = self._sim.step(action)
        except self._unstable:
            unhealthy, info = True, {}
        if unhealthy:
            # MuJoCo has put everything back to where it started: no success is to be read from that.
            return ControlStep(0.0, truncated=True, info={**info, "task_success": 0.0, "unstable": True})
        return ControlStep(float(reward), bool(terminated), success=bool(info["task_success"]), info=info)

    def _state(self) -> NDArray[np.float32]:
        parts = [np.ravel(self._entries[key]) for key in self._keys]
        return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)

    def _expert(self) -> NDArray[Any] | None:
        return None if self._policy is None else self._policy(self._sim)


def _check(config: EnvConfig) -> None:
    """ConfigError for what needs no simulator to be refused: building one takes seconds."""
    check_cameras(config)
    for camera in config.cameras:
        if camera not in CAMERAS:
            raise unknown_name("BiGym camera", camera, CAMERAS)
    if config.state == "none" and not config.cameras:
        raise ConfigError("state 'none' without cameras leaves nothing to observe; name cameras, or ask for a state")


def _downsample(task: BiGymTask, control_hz: float) -> int:
    """Physics steps of a control step; ConfigError for a rate that is no whole number of them."""
    if control_hz == 0.0:
        return task.downsample
    steps = round(PHYSICS_HZ / control_hz) if control_hz > 0.0 else 0
    if not _FEWEST <= steps <= _MOST or abs(PHYSICS_HZ / steps - control_hz) > 1e-3:
        raise ConfigError(
            f"control_hz must be {PHYSICS_HZ} divided by a whole number from {_FEWEST} to {_MOST} for bigym (20, "
            f"25, 50, 100, 125, 250, 500 and what lies between), got {control_hz:g}"
        )
    return steps


def _build(task: BiGymTask, control_hz: float, *, privileged: bool) -> tuple[Any, type[Exception]]:
    """The simulator of a task, and what it raises when its physics keep failing."""
    module = _import(f"bigym.envs.{task.module}")
    modes, config = _import("bigym.action_modes"), _import("bigym.utils.observation_config")
    _compare_mujoco(_import("mujoco").__version__)
    dofs = [modes.PelvisDof[dof] for dof in task.dofs]
    simulator = getattr(module, task.cls)(
        modes.JointPositionActionMode(floating_base=True, absolute=True, floating_dofs=dofs),
        config.ObservationConfig(privileged_information=privileged),
        control_frequency=control_hz,
        start_seed=0,
    )
    return simulator, _import("bigym.utils.env_health").UnstableSimulationError


def _import(name: str) -> Any:
    prefer_headless_gl()
    try:
        # A part of BiGym that is not used here asks for a display.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*DISPLAY")
            return importlib.import_module(name)
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> MissingDependencyError:
    if not isinstance(error, ModuleNotFoundError):
        return BrokenDependencyError(f"BiGym is installed, but cannot be imported: {type(error).__name__}: {error}")
    why = f"BiGym is not complete here: {error}."
    try:
        if not hasattr(importlib.import_module("mojo"), "Mojo"):
            why = "The 'mojo' installed here is another project of that name, from PyPI; uninstall it."
    except ImportError:
        pass
    return MissingDependencyError(
        f"{why} BiGym is in no package registry. Install what is, zoomrl[bigym]: {install_command('bigym')}. Then, "
        "without their dependencies, github.com/chernyadev/bigym at commit 72d3054 and github.com/stepjam/mojo at "
        "commit de95ff9. docs/environments/bigym.md has the commands"
    )


@cache
def _compare_mujoco(version: str) -> None:
    """Warn, once in a process, that the published demonstrations were recorded with another MuJoCo."""
    if version != DEMO_MUJOCO:
        warnings.warn(
            f"MuJoCo {version} is installed; BiGym's published demonstrations were recorded with {DEMO_MUJOCO}, and "
            "some of them may fail here. Scripted demonstrations are not concerned. See docs/environments/bigym.md",
            stacklevel=2,
        )
