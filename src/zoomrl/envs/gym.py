"""Any Gymnasium environment with box observations, pictures among them, and bounded box actions."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from zoomrl.envs.base import ControlStep, Env, Observation, decisions_allowed
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.gym_observation import RENDER, GymObserver
from zoomrl.errors import BrokenDependencyError, ConfigError, MissingDependencyError, is_missing, unknown_name
from zoomrl.spec import ArraySpec, EnvSpec

SUCCESS_KEYS = ("success", "is_success")


class GymEnv(Env):
    """A Gymnasium environment behind zoomrl's contract.

    ``state`` is the observation flattened to float32; the boxes of a Dict are joined in its key order. Pictures among
    them become views of ``rgb``, as does the environment's own drawing of itself where the camera "render" is named.
    Same seed, same episode holds as far as the wrapped environment's own ``reset(seed=...)`` keeps it.

    Whether the environment reports success shows only in its info, so construction resets it and takes one
    step to look.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        config: EnvConfig,
        *,
        env_id: str,
        native_limit: int | None,
        native_is_hard: bool,
    ) -> None:
        if config.reward not in ("auto", "native"):
            raise ConfigError(
                f"reward {config.reward!r} is not available for gym; choose 'native' (the meaning of 'auto')"
            )
        self._sim = env
        self._actions = _action_box(env_id, env.action_space)
        self._observer = GymObserver(env_id, env.observation_space, config)
        self._seen: Any = None
        limit = _time_limit(env_id, config, native_limit, native_is_hard)
        dt = getattr(env.unwrapped, "dt", None)
        known_dt = isinstance(dt, int | float | np.floating) and dt > 0
        spec = EnvSpec(
            id=env_id,
            observations=self._observer.arrays,
            action=ArraySpec(
                (int(np.prod(self._actions.shape)),),
                low=tuple(float(v) for v in self._actions.low.ravel()),
                high=tuple(float(v) for v in self._actions.high.ravel()),
            ),
            control_hz=1.0 / (float(dt) * config.action_repeat) if known_dt else 0.0,  # type: ignore[arg-type]
            time_limit=limit,
            action_repeat=config.action_repeat,
            reports_success=self._probe_success(),
            cameras=self._observer.cameras,
            state_entries=self._observer.state_entries,
        )
        super().__init__(spec)
        if self._observer.renders:
            self._probe_render()

    def _probe_success(self) -> bool:
        _, info = self._sim.reset(seed=0)
        middle = (self._actions.low + self._actions.high) / 2
        step_info = self._sim.step(middle.astype(self._actions.dtype))[-1]
        return any(key in seen for key in SUCCESS_KEYS for seen in (info, step_info))

    def _probe_render(self) -> None:
        try:
            self.render()
        except MissingDependencyError:
            raise
        except Exception as error:
            raise ConfigError(
                f"the camera {RENDER!r} shows what {self.env_spec.id} draws of itself, and that fails with "
                f"{type(error).__name__}: {error}. `zoomrl doctor` says what can be drawn here"
            ) from error

    def _begin(self, seed: int) -> Mapping[str, Any]:
        self._seen, info = self._sim.reset(seed=seed)
        return info

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        shaped = action.reshape(self._actions.shape).astype(self._actions.dtype)
        # Rounding a bound to float32 can put it outside the box by one unit in the last place.
        within = np.clip(shaped, self._actions.low, self._actions.high)
        self._seen, reward, terminated, truncated, info = self._sim.step(within)
        success = any(bool(info.get(key, False)) for key in SUCCESS_KEYS)
        return ControlStep(float(reward), bool(terminated), bool(truncated), success, info)

    def _observe(self) -> Observation:
        return self._observer(self._seen, self.render)

    def render(self) -> NDArray[np.uint8]:
        """The environment's own picture, uint8 [H, W, 3].

        Raises:
            RuntimeError: when it offers none.
            MissingDependencyError: when what draws it is not installed.
        """
        try:
            frame = self._sim.render()
        except NotImplementedError:
            frame = None
        except gymnasium.error.DependencyNotInstalled as error:
            raise MissingDependencyError(f"{self.env_spec.id} cannot draw itself: {error}") from error
        if not isinstance(frame, np.ndarray):
            raise RuntimeError(f"{self.env_spec.id} does not render: it has no 'rgb_array' mode, or was built without")
        return np.asarray(frame, np.uint8)

    def close(self) -> None:
        """Free the wrapped environment. Safe to call twice."""
        self._sim.close()


def make_gym_env(name: str, config: EnvConfig) -> GymEnv:
    """Build the registered environment ``name``, such as ``Pendulum-v1`` or ``package:Id-v0``.

    Raises:
        ConfigError: for an unknown name, spaces that cannot be used, or a missing time limit.
        MissingDependencyError: when the environment's package or simulator is not installed.
    """
    module, _, registered = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            kind = MissingDependencyError if is_missing(error, module) else BrokenDependencyError
            raise kind(f"cannot import {module!r}, which should register {name!r}: {error}") from error
    if registered not in gymnasium.registry:
        raise unknown_name("Gymnasium environment", registered, gymnasium.registry)
    # The time limit is counted in decisions here, so Gymnasium's own wrapper stays off (-1).
    options: dict[str, Any] = {"max_episode_steps": -1, "disable_env_checker": True}
    if can_render(registered):
        options["render_mode"] = "rgb_array"
    try:
        env = gymnasium.make(registered, **options)
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingDependencyError(f"gym:{name} needs a package that is not installed: {error}") from error
    native = gymnasium.registry[registered].max_episode_steps
    return GymEnv(env, config, env_id=f"gym:{name}", native_limit=native, native_is_hard=False)


def wrap_gym_env(env: gymnasium.Env[Any, Any], config: EnvConfig) -> Env:
    """Adapt a Gymnasium environment that the caller built; an :class:`Env` comes back unchanged.

    The id is ``config.id`` where that begins with ``gym:``, else the environment's registered or class name.
    ``config.time_limit`` is needed unless the environment carries a time limit of its own.
    """
    if isinstance(env, Env):
        return env
    registered = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    env_id = config.id if config.id.startswith("gym:") else f"gym:{registered}"
    native = env.spec.max_episode_steps if env.spec is not None else None
    return GymEnv(env, config, env_id=env_id, native_limit=native, native_is_hard=native is not None)


def can_render(registered: str) -> bool:
    """Whether the environment offers pictures; building it with a mode it lacks would warn or fail."""
    entry = gymnasium.registry[registered].entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    metadata = getattr(creator, "metadata", None)
    return isinstance(metadata, Mapping) and "rgb_array" in metadata.get("render_modes", ())


def _time_limit(env_id: str, config: EnvConfig, native: int | None, native_is_hard: bool) -> int:
    if native is None:
        if config.time_limit is None:
            raise ConfigError(f"{env_id} has no time limit of its own; set time_limit (decisions per episode)")
        native = config.time_limit * max(config.action_repeat, 1)
    return decisions_allowed(env_id, config.time_limit, config.action_repeat, native, native_is_hard=native_is_hard)


def _action_box(env_id: str, space: spaces.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box):
        raise ConfigError(f"{env_id} has {type(space).__name__} actions; zoomrl needs continuous ones (Box)")
    if not np.issubdtype(space.dtype, np.floating):
        raise ConfigError(f"{env_id} has {space.dtype} actions; zoomrl needs floating-point ones")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ConfigError(
            f"{env_id} has unbounded actions (low {space.low.min()}, high {space.high.max()}); zoomrl "
            "divides the action range into bins and needs finite bounds. Give it an action_space with finite "
            "bounds, for example with gymnasium.wrappers.TransformAction"
        )
    return space
