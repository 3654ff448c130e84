"""HumanoidBench: whole-body control of Unitree humanoids, by position of their joints."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, episode_limit
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.global_seed import GlobalStream
from zoomrl.envs.mujoco.backend import FRAME_SIZE
from zoomrl.envs.mujoco.cameras import SceneCameras, check_cameras, observed, render_effects
from zoomrl.envs.mujoco.scene import SceneEnv
from zoomrl.envs.options import RENDERED, Options
from zoomrl.envs.suites.humanoidbench.compat import Benchmark, benchmark
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

DEFAULT_ROBOT = "h1hand"
"""Robot of a task that is named without one."""
# What tasks write into their model when they are reset, or on the way.
_WRITTEN = ("geom_rgba", "body_pos", "body_quat")


def humanoidbench_tasks() -> tuple[str, ...]:
    """Names ``<robot>-<task>`` of the registered tasks that the installation has a scene for, sorted.

    MissingDependencyError without HumanoidBench.
    """
    return tuple(sorted(name for name, task in benchmark().tasks.items() if task.scene.exists()))


class HumanoidBenchEnv(SceneEnv):
    """One task for one robot. ``state`` is upstream's observation: positions and velocities, and what the task adds.

    With ``state="robot"`` it is the angles and velocities of the robot's joints: upstream's proprioception, without
    the place and the orientation of the robot. Actions are rescaled by upstream from [-1, 1] to the targets of the
    joints (torques for the G1). Rewards are native, and time limits those of the registry.
    """

    options = Options("humanoidbench", {**RENDERED, "reward": ("native",), "state": ("full", "robot", "none")})
    simulator = ("humanoid_bench", "mujoco")

    def __init__(self, name: str, config: EnvConfig) -> None:
        self.options.check(config, f"humanoidbench:{name}")
        check_cameras(config)
        upstream = benchmark()
        name = _resolve(name, upstream)
        env_id, task = f"humanoidbench:{name}", upstream.tasks[name]
        limit = episode_limit(env_id, config.time_limit, config.action_repeat, task.steps, native_is_hard=False)
        self._sim, self._heights = upstream.build(name)
        self._stream = GlobalStream()
        reports_success = self._settle(env_id)
        self._shown = config.state if config.state != "auto" else "robot" if config.cameras else "full"
        size = int(self._sim.action_space.shape[0])
        entries = () if self._shown == "none" else tuple(StateEntry(k, len(v)) for k, v in self._parts().items())
        spec = EnvSpec(
            id=env_id,
            observations=observed(config.cameras, config.image_size, sum(e.size for e in entries)),
            action=ArraySpec((size,), low=(-1.0,) * size, high=(1.0,) * size),
            control_hz=1.0 / (float(self._sim.dt) * config.action_repeat),
            time_limit=limit,
            action_repeat=config.action_repeat,
            reports_success=reports_success,
            cameras=tuple(config.cameras),
            rendering=render_effects(config),
            action_meaning=_meaning(self._sim.model),
            success_bar=task.success_bar,
            state_entries=entries,
        )
        super().__init__(spec)
        self._views = self._cameras(config.cameras, config.image_size, effects=spec.rendering)
        own = str(self._sim.task.camera_name)
        named = [self._sim.model.camera(index).name for index in range(self._sim.model.ncam)]
        # Upstream asks for this camera of every robot; the G1 has one of its own only.
        self._video = self._cameras((own if own in named else "0",), FRAME_SIZE)

    def _settle(self, env_id: str) -> bool:
        """Make the first episode like all that follow; whether the task reports success."""
        # Some tasks change for good in their first reset: from then on there is no noise (highbar).
        self._reset(seed=0)
        self._fresh = _Fresh(self._sim)
        try:
            _, reward_info = self._sim.task.get_reward()
        except KeyError as error:
            raise ConfigError(f"{env_id} does not run upstream: its reward asks for {error}, which it lacks") from error
        return "success" in reward_info

    def _cameras(self, names: Sequence[str], size: int, **options: Any) -> SceneCameras:
        return SceneCameras(self.env_spec.id, self._sim.model, self._sim.data, names, size, **options)

    def _begin(self, seed: int) -> Mapping[str, Any]:
        self._fresh.restore()
        return self._reset(seed)

    def _reset(self, seed: int) -> Mapping[str, Any]:
        import mujoco

        self._heights.apply()
        # Poses are sampled from the environment's generator, goals and objects from numpy's global one.
        self._stream.seed(seed)
        with self._stream.lent():
            info: Mapping[str, Any] = self._sim.reset(seed=seed)[1]
        # Some tasks move a goal after poses have been computed, and observe where it was before.
        mujoco.mj_forward(self._sim.model, self._sim.data)
        return info

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        self._heights.apply()
        _, reward, terminated, truncated, info = self._sim.step(action.astype(np.float64))
        return ControlStep(
            float(reward), bool(terminated), bool(truncated), success=bool(info.get("success", False)), info=info
        )

    def _parts(self) -> dict[str, NDArray[Any]]:
        if self._shown == "robot":
            robot = self._sim.robot
            return {"joint_angles": robot.joint_angles(), "joint_velocities": robot.joint_velocities()}
        # Upstream gives one array, without names for its parts.
        return {"state": np.asarray(self._sim.task.get_obs())}

    def _state(self) -> NDArray[np.float32]:
        return np.concatenate(list(self._parts().values())).astype(np.float32)


class _Fresh:
    """What a task keeps besides MuJoCo's state, as it was before the first step.

    Upstream's resets leave some of it as the last episode did: what has been delivered (truck), and colours and
    places of goals in the model (maze, bookshelf).
    """

    def __init__(self, sim: Any) -> None:
        self._variables = vars(sim.task)
        lasting = [sim, sim.task, sim.robot]
        self._kept = {k: v for k, v in self._variables.items() if any(v is one for one in lasting)}
        own = {k: v for k, v in self._variables.items() if k not in self._kept}
        self._own = copy.deepcopy(own)
        self._arrays = [(array, array.copy()) for array in (getattr(sim.model, name) for name in _WRITTEN)]

    def restore(self) -> None:
        """Put it back."""
        self._variables.clear()
        self._variables.update(self._kept, **copy.deepcopy(self._own))
        for array, before in self._arrays:
            array[:] = before


def _resolve(name: str, upstream: Benchmark) -> str:
    """The registered name that ``name`` means; ConfigError when there is none, or no scene for it."""
    full = name.removesuffix("-v0")
    robot, _, task = full.partition("-")
    if robot not in upstream.robots:
        robot, task = DEFAULT_ROBOT, full
    full = f"{robot}-{task.replace('-', '_')}"
    if full not in upstream.tasks:
        raise unknown_name("HumanoidBench task", name, humanoidbench_tasks())
    scene = upstream.tasks[full].scene
    if not scene.exists():
        wanted = full.partition("-")[2]
        others = [other for other in humanoidbench_tasks() if other.partition("-")[2] == wanted]
        raise ConfigError(
            f"humanoidbench:{full} is registered upstream, which ships no scene for it ({scene.name}). "
            f"With a scene: {', '.join(others) or 'none'}"
        )
    return full


def _meaning(model: Any) -> tuple[str, ...]:
    """``absolute`` for each action where all actuators drive a joint to a position; unknown where any is a motor."""
    import mujoco

    positions = bool((model.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE.value).all())
    return ("absolute",) * model.nu if positions else ()
