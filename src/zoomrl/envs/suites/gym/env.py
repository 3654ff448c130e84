"""Any Gymnasium environment with box observations, images among them, and bounded box actions."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from zoomrl.envs.answers import brief, check_info, number, truth
from zoomrl.envs.base import ControlStep, Env, Observation, episode_limit, named_errors
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.image import as_image
from zoomrl.envs.options import FITTED, Options, differences
from zoomrl.envs.suites.gym.observation import RENDER, GymObserver
from zoomrl.envs.versions import distributions
from zoomrl.errors import (
    BrokenDependencyError,
    ConfigError,
    MissingDependencyError,
    SimulatorError,
    is_missing,
    unknown_name,
)
from zoomrl.plugins import import_named
from zoomrl.spec import ArraySpec, EnvSpec

SUCCESS_KEYS = ("success", "is_success")

_RENDERS_ITSELF = (
    "the environment itself renders its images. Presets for a CPU switch this off: add --env.shadows "
    "--env.reflections --env.antialiasing (from Python: EnvConfig(shadows=True, reflections=True, antialiasing=True))"
)
_log = logging.getLogger("zoomrl.envs")


class GymEnv(Env):
    """A Gymnasium environment behind zoomrl's contract.

    ``state`` is the observation flattened to float32; the boxes of a Dict are joined in its key order. Images among
    them become views of ``rgb``, as does the environment's own rendering where the camera "render" is named.
    Same seed, same episode holds as far as the wrapped environment's own ``reset(seed=...)`` keeps it.

    Whether the environment reports success shows only in its info, so construction resets it and takes one
    step to look.
    """

    options = Options(
        "gym",
        {**FITTED, "reward": ("native",), "state": ("full", "none")},
        dict.fromkeys(("shadows", "reflections", "antialiasing"), _RENDERS_ITSELF),
    )

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        config: EnvConfig,
        *,
        env_id: str,
        native_limit: int | None,
        native_is_hard: bool,
    ) -> None:
        self.options.check(config, env_id)
        self._sim = env
        self._id = env_id
        self._told_late = False
        self._actions = _action_box(env_id, env.action_space)
        self._observer = GymObserver(env_id, env.observation_space, config)
        self._seen: Any = None
        limit = _time_limit(env_id, config, native_limit, native_is_hard)
        dt = getattr(env.unwrapped, "dt", None)
        known_dt = isinstance(dt, int | float | np.floating) and dt > 0
        success = self._probe_success()
        if self._observer.renders:
            self._probe_render()
        if not self._observer.cameras and (config.image_fit != "none" or config.image_crop):
            raise ConfigError(
                f"image_fit and image_crop are for images, and {env_id} observes none here: name cameras, or leave "
                "them out"
            )
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
            reports_success=success,
            cameras=self._observer.cameras,
            state_entries=self._observer.state_entries,
            image_fit=config.image_fit,
            image_crop=config.image_crop,
            camera_sizes=self._observer.camera_sizes,
        )
        super().__init__(spec)

    @classmethod
    def by_name(cls, name: str, config: EnvConfig) -> Env:
        """The registered environment ``name``; see :func:`make_gym_env`."""
        return make_gym_env(name, config)

    @property
    def wrapped(self) -> gymnasium.Env[Any, Any]:
        """The Gymnasium environment itself."""
        return self._sim

    def _probe_success(self) -> bool:
        _, info = named_errors(self._id, "reset", partial(self._reset, 0), self._packages)
        middle = (self._actions.low / 2 + self._actions.high / 2).astype(self._actions.dtype)
        *_, step_info = named_errors(self._id, "step", partial(self._step, middle), self._packages)
        return any(key in seen for key in SUCCESS_KEYS for seen in (info, step_info))

    def _probe_render(self) -> None:
        try:
            frame = named_errors(self._id, "render", self._render, self._packages)
        except MissingDependencyError:
            raise
        except Exception as error:
            raise ConfigError(
                f"the camera {RENDER!r} shows what {self._id} renders of itself, and that fails with "
                f"{type(error).__name__}: {error}. `zoomrl doctor` says what can be rendered here"
            ) from error
        self._observer.rendered((frame.shape[0], frame.shape[1]))

    def _packages(self) -> tuple[str, ...]:
        # The environment's package, and those of the simulators that it holds.
        inner = self._sim.unwrapped
        parts = (type(part).__module__.partition(".")[0] for part in (inner, *getattr(inner, "__dict__", {}).values()))
        return distributions({"gymnasium", *parts})

    def _reset(self, seed: int) -> tuple[Any, Mapping[str, Any]]:
        """Gymnasium's two answers to a reset; SimulatorError for others."""
        answer: Any = self._sim.reset(seed=seed)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise SimulatorError(f"{self._id}: reset() must return (observation, info), got {brief(answer)}")
        return answer[0], check_info(answer[1], self._id, "reset")

    def _step(self, action: NDArray[Any]) -> tuple[Any, Any, Any, Any, Mapping[str, Any]]:
        """Gymnasium's five answers to a step; SimulatorError for others."""
        answer: Any = self._sim.step(action)
        if not (isinstance(answer, tuple) and len(answer) == 5):
            raise SimulatorError(
                f"{self._id}: step() must return (observation, reward, terminated, truncated, info), got "
                f"{brief(answer)}"
            )
        return *answer[:4], check_info(answer[4], self._id, "step")

    def _begin(self, seed: int) -> Mapping[str, Any]:
        self._seen, info = self._reset(seed)
        return info

    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        shaped = action.reshape(self._actions.shape).astype(self._actions.dtype)
        # Rounding a bound to float32 can put it outside the box by one unit in the last place.
        within = np.clip(shaped, self._actions.low, self._actions.high)
        self._seen, reward, terminated, truncated, info = self._step(within)
        return ControlStep(
            number(reward, self._id, "the reward"),
            truth(terminated, self._id, "terminated"),
            truth(truncated, self._id, "truncated"),
            self._success(info),
            info,
        )

    def _success(self, info: Mapping[str, Any]) -> bool:
        # None says that it is not known yet.
        said = {key: info[key] for key in SUCCESS_KEYS if info.get(key) is not None}
        if said and not self.env_spec.reports_success and not self._told_late:
            self._told_late = True
            _log.warning(
                "%s puts %s into the info of some steps alone, so that no success is reported: put it into that of "
                "reset and of every step",
                *(self._id, " and ".join(map(repr, said))),
            )
        return any(truth(value, self._id, f"info[{key!r}]") for key, value in said.items())

    def _observe(self) -> Observation:
        return self._observer(self._seen, self.render)

    def _render(self) -> NDArray[np.uint8]:
        """The environment's own image, uint8 [H, W, 3], from any form that :func:`as_image` reads."""
        try:
            frame = self._sim.render()
        except NotImplementedError:
            frame = None
        except gymnasium.error.DependencyNotInstalled as error:
            raise MissingDependencyError(f"{self._id} cannot render itself: {error}") from error
        if not isinstance(frame, np.ndarray):
            raise SimulatorError(f"{self._id} does not render: it has no 'rgb_array' mode, or was built without")
        try:
            return as_image(frame)
        except ValueError as error:
            raise SimulatorError(f"{self._id}: {error}") from error

    def close(self) -> None:
        """Free the wrapped environment. Safe to call twice.

        What it raises is said and goes no further: it would take the place of what the run came to.
        """
        try:
            self._sim.close()
        except Exception as error:
            _log.warning("%s could not be closed (%s: %s)", self.env_spec.id, type(error).__name__, error)


def make_gym_env(name: str, config: EnvConfig) -> GymEnv:
    """Build the registered environment ``name``, such as ``Pendulum-v1`` or ``package:Id-v0``.

    Raises:
        ConfigError: for an unknown name, spaces that cannot be used, or a missing time limit.
        MissingDependencyError: when the environment's package or simulator is not installed.
    """
    module, _, registered = name.rpartition(":")
    if module:
        try:
            import_named(module)
        except ImportError as error:
            kind = MissingDependencyError if is_missing(error, module) else BrokenDependencyError
            raise kind(
                f"cannot import {module!r}, which should register {name!r}: {error}. A module of your own must be "
                "installed, or its folder be the current one or in PYTHONPATH"
            ) from error
    if registered not in gymnasium.registry:
        raise unknown_name("Gymnasium environment", registered, gymnasium.registry)
    # The time limit is counted in agent steps here, so Gymnasium's own wrapper stays off (-1).
    options: dict[str, Any] = {"max_episode_steps": -1, "disable_env_checker": True}
    if can_render(registered):
        options["render_mode"] = "rgb_array"
        # No window is opened: pygame complains of a missing desktop otherwise, in words that look like ours.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        env = gymnasium.make(registered, **options)
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingDependencyError(f"gym:{name} needs a package that is not installed: {error}") from error
    native = gymnasium.registry[registered].max_episode_steps
    return _closed_if_refused(
        env, lambda: GymEnv(env, config, env_id=f"gym:{name}", native_limit=native, native_is_hard=False)
    )


def wrap_gym_env(env: gymnasium.Env[Any, Any], config: EnvConfig) -> Env:
    """Adapt a Gymnasium environment that the caller built; an :class:`Env` comes back unchanged.

    The id is ``config.id`` where that begins with ``gym:``, else the environment's registered or class name.
    ``config.time_limit`` is needed unless the environment carries a time limit of its own.

    Args:
        env: with a Box of bounded floating-point actions, and a Box of observations or a Dict of them. It is reset and
            stepped once, to see whether it reports success.
        config: options of the environment; how many are stepped together, and in which process, means nothing here.

    Returns:
        It shows ``state`` float32 [S] and, where images are observed, ``rgb`` uint8 [V, H, W, 3], and takes actions
        float32 [A] in the environment's units.

    Raises:
        ConfigError: for what cannot be used, options that Gymnasium environments do not honour, and an :class:`Env`
            that was built with other options than ``config`` asks for.
        SimulatorError: when the environment raises in its first reset and step.
    """
    if isinstance(env, Env):
        different = list(differences(config, env.env_spec))
        if env.terminate_on_success and not config.terminate_on_success:
            different.append("terminate_on_success: asked for False, got True")
        if different:
            raise ConfigError(
                f"{env.env_spec.id} was wrapped already, with other options than the config asks for: "
                f"{'; '.join(different)}. Build it with the options of the config, or give the config those of it"
            )
        return env
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"expected a Gymnasium environment, got {brief(env)}. make_env must build and return one, an instance of "
            "gymnasium.Env"
        )
    registered = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    env_id = config.id if config.id.startswith("gym:") else f"gym:{registered}"
    native = env.spec.max_episode_steps if env.spec is not None else None
    return GymEnv(env, config, env_id=env_id, native_limit=native, native_is_hard=native is not None)


def _closed_if_refused(env: gymnasium.Env[Any, Any], wrap: Callable[[], GymEnv]) -> GymEnv:
    try:
        return wrap()
    except BaseException:
        with suppress(Exception):  # what was wrong is to be seen, and not what closing raises over it
            env.close()
        raise


def can_render(registered: str) -> bool:
    """Whether the environment offers images; building it with a mode it lacks would warn or fail."""
    entry = gymnasium.registry[registered].entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    metadata = getattr(creator, "metadata", None)
    return isinstance(metadata, Mapping) and "rgb_array" in metadata.get("render_modes", ())


def _time_limit(env_id: str, config: EnvConfig, native: int | None, native_is_hard: bool) -> int:
    if native is None:
        if config.time_limit is None:
            raise ConfigError(f"{env_id} has no time limit of its own; set time_limit (agent steps per episode)")
        native = config.time_limit * max(config.action_repeat, 1)
    return episode_limit(env_id, config.time_limit, config.action_repeat, native, native_is_hard=native_is_hard)


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
