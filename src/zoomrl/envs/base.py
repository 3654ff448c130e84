"""The contract of an environment, and everything that all adapters share.

An adapter only knows how to begin an episode from a seed, how to advance its simulator by one control
step, and how to observe it. Action checks, action repeat, the time limit, the end on success and the refusal
to step a finished episode are written here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.answers import brief, check_info, check_observation
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.gym_base import GymBase, Observation, ResetNeeded
from zoomrl.envs.options import Options
from zoomrl.envs.versions import with_versions
from zoomrl.errors import ConfigError, SimulatorError, ZoomrlError
from zoomrl.spec import ArraySpec, EnvSpec

# numpy's RandomState, which some simulators seed, takes no more than 32 bits.
MAX_SEED = 2**32
MAX_BOUND = 1e10
"""Action bounds from here on stand for no bound (MuJoCo's mjMAXVAL); arithmetic with far larger ones overflows."""
T = TypeVar("T")


@dataclass(frozen=True)
class ControlStep:
    """What a simulator reports after one control step (before action repeat is applied)."""

    reward: float
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


class Env(GymBase, ABC):
    """A seeded, time-limited environment with named observations and bounded continuous actions.

    What a simulator raises arrives as :class:`SimulatorError`, with the exception itself as its cause.

    Args:
        env_spec: what the environment shows and accepts.
        terminate_on_success: end an episode at its first success.

    Attributes:
        options: which options of :class:`EnvConfig` the adapter honours.
        simulator: distributions that run the environment, whose versions are named when it breaks.
        can_step: whether there is anything to step, and not recordings alone.
        env_spec: names, shapes, bounds and rates; plain data.
        has_expert: whether :meth:`expert_action` returns actions.

    Raises:
        ConfigError: nothing would be observed, or the actions have no finite bounds.
    """

    options: ClassVar[Options] = Options("this environment", {})
    simulator: ClassVar[tuple[str, ...]] = ()
    can_step: ClassVar[bool] = True

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (gymnasium declares it as an instance attribute)
    render_mode = "rgb_array"
    has_expert: bool = False

    def __init__(self, env_spec: EnvSpec, *, terminate_on_success: bool = False) -> None:
        if not env_spec.observations:
            raise ConfigError(
                f"{env_spec.id} would show nothing: it has no state here, so name cameras, or ask for a state"
            )
        self.env_spec = env_spec
        self.terminate_on_success = terminate_on_success
        _check_bounds(env_spec)
        self._low, self._high = action_bounds(env_spec.action)
        self._agent_steps = 0
        self._running = False
        self._show_spaces(env_spec)

    @classmethod
    def by_name(cls, name: str, config: EnvConfig) -> Env:
        """The environment called ``name`` within its domain; adapters that users ask for by an id take these two."""
        return cls(name, config)  # type: ignore[call-arg, arg-type]

    # ---- what users call -------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: the same seed gives a bit-identical episode for the same actions, whatever happened
                before. None continues from the environment's own random stream.
            options: accepted for Gymnasium's sake and unused.

        Returns:
            The first observation (``state`` is float32 [S], ``rgb`` uint8 [V, H, W, 3]) and the simulator's info.

        Raises:
            ValueError: for a seed outside 0 .. 2**32 - 1.
            SimulatorError: when the simulator raises, or shows what its spec does not promise.
        """
        if seed is not None and not 0 <= seed < MAX_SEED:
            raise ValueError(f"seed must lie in 0 .. {MAX_SEED - 1}, got {seed}")
        super().reset(seed=seed)
        self._running = False  # until it has begun: a simulator that fails here has no episode to go on with
        episode_seed = int(self.np_random.integers(MAX_SEED)) if seed is None else int(seed)
        info = self._asked("reset", lambda: self._begin(episode_seed))
        observation = self._observed()
        self._agent_steps = 0
        self._running = True
        return observation, dict(check_info(info, self.env_spec.id, "reset"))

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one agent step: the clipped action is held for ``action_repeat`` control steps.

        Args:
            action: float32 [A], in the environment's units.

        Returns:
            ``(observation, reward, terminated, truncated, info)``: the reward is summed over the repeats,
            at most one of the two flags is set, and ``info["success"]`` says whether any repeat succeeded.

        Raises:
            ValueError: for an action of the wrong shape or with NaN or infinite entries.
            gymnasium.error.ResetNeeded: before the first reset and after the end of an episode.
            SimulatorError: when the simulator raises, or shows what its spec does not promise.
        """
        clipped = self._accepted(action)
        reward, success = 0.0, False
        for _ in range(self.env_spec.action_repeat):
            now = self._asked("step", lambda: self._advance(clipped))
            reward += float(now.reward)
            success |= bool(now.success)
            terminated = now.terminated or (success and self.terminate_on_success)
            if terminated or now.truncated:
                break
        self._agent_steps += 1
        # An episode that reaches its goal on the last allowed agent step has ended: nothing lies beyond it.
        truncated = not terminated and (now.truncated or self._agent_steps >= self.env_spec.time_limit)
        self._running = not (terminated or truncated)
        # Once per agent step: an image takes longer than several control steps.
        return self._observed(), reward, terminated, truncated, {**now.info, "success": success}

    def _accepted(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """``action`` clipped to the bounds, once it is clear that it can be taken; raises as :meth:`step` does."""
        if not self._running:
            raise ResetNeeded(f"{self.env_spec.id}: no episode is running; call reset() before step()")
        return np.clip(check_actions(action, self.env_spec.action), self._low, self._high)

    def _observed(self) -> Observation:
        observation = self._asked("observe", self._observe)
        check_observation(observation, self.env_spec.observations, self.env_spec.id)
        return observation

    def render(self) -> NDArray[np.uint8]:
        """The current image, uint8 [H, W, 3]. The renderer is created at the first call.

        Raises:
            SimulatorError: when it fails, or the environment offers no image.
            MissingDependencyError: when what renders is not installed.
        """
        return self._asked("render", self._render)

    def expert_action(self) -> NDArray[np.float32] | None:
        """The scripted expert's action for the current state, float32 [A] in the environment's units; None without one.

        It is clipped to the bounds.

        Raises:
            SimulatorError: when the expert raises, or its action has another shape than the environment's.
        """
        action = self._asked("expert", self._expert)
        if action is None:
            return None
        if np.shape(action) != self.env_spec.action.shape:  # clipping would broadcast it
            expected = f"expected shape {list(self.env_spec.action.shape)}, got {brief(action)}"
            raise SimulatorError(
                f"the expert of {self.env_spec.id} took another action than the environment: {expected}"
            )
        return np.clip(np.asarray(action, np.float32), self._low, self._high)

    def _asked(self, call: str, work: Callable[[], T]) -> T:
        """What ``work`` returns; what a simulator raises in it is named after the ``call``."""
        return named_errors(self.env_spec.id, call, work, self._packages)

    # ---- what adapters fill in -------------------------------------------------------------------------

    def _packages(self) -> tuple[str, ...]:
        """Distributions that run this environment; asked for when it breaks."""
        return self.simulator

    @abstractmethod
    def _begin(self, seed: int) -> Mapping[str, Any]:
        """Start an episode that depends on ``seed`` alone; the simulator's info."""

    @abstractmethod
    def _advance(self, action: NDArray[np.float32]) -> ControlStep:
        """Advance the simulator by one control step with a clipped action, float32 [A]."""

    @abstractmethod
    def _observe(self) -> Observation:
        """The current observation."""

    def _render(self) -> NDArray[np.uint8]:
        """The current image, uint8 [H, W, 3]."""
        raise SimulatorError(f"{self.env_spec.id} does not render")

    def _expert(self) -> NDArray[Any] | None:
        """The scripted expert's unclipped action [A]; None where there is no expert."""
        return None


def named_errors(env_id: str, call: str, work: Callable[[], T], packages: Callable[[], tuple[str, ...]]) -> T:
    """What ``work`` returns. Whatever a simulator raises in it becomes a :class:`SimulatorError` with that cause.

    Args:
        env_id: of the environment.
        call: what it was asked for: ``reset``, ``step``, ``observe``, ``render``, ``expert`` or ``make``.
        work: asks it.
        packages: distributions that run it; asked for when it breaks.

    Raises:
        SimulatorError: names the environment, the call, the exception and the versions. zoomrl's own errors, and
            Gymnasium's of a missing reset, stay as they are.
    """
    try:
        return work()
    except (ZoomrlError, ResetNeeded):
        raise
    except Exception as error:
        versions = with_versions(packages())
        raise SimulatorError(
            f"{env_id} raised {type(error).__name__}: {error}, in {call}{f' ({versions})' if versions else ''}. "
            "The fault is in the environment or its simulator: the traceback of the cause shows where (--debug on the "
            "command line)"
        ) from error


def check_actions(actions: NDArray[Any], spec: ArraySpec, batch: tuple[int, ...] = ()) -> NDArray[np.float32]:
    """``actions`` as float32 [*batch, A]; ValueError when the shape is wrong or an entry is not finite."""
    with np.errstate(over="ignore"):
        array = np.asarray(actions, dtype=np.float32)
    if array.shape != (*batch, *spec.shape):
        raise ValueError(f"action must have shape {(*batch, *spec.shape)}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"action must be finite, got {array.tolist()}")
    return array


def action_bounds(spec: ArraySpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lower and upper bound of an action, float32 [A] each; ConfigError when there are none."""
    if spec.low is None or spec.high is None:
        raise ConfigError("an environment needs finite action bounds; this action has none")
    return np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)


def _check_bounds(spec: EnvSpec) -> None:
    low, high = spec.action.low or (), spec.action.high or ()
    for index, (lowest, highest) in enumerate(zip(low, high, strict=True)):
        if not (abs(lowest) < MAX_BOUND and abs(highest) < MAX_BOUND):
            raise ConfigError(
                f"{spec.id} has unbounded actions: dimension {index} lies in {lowest:g} .. {highest:g}. zoomrl divides "
                f"the range of actions, and needs bounds below {MAX_BOUND:g}. Give the action space the bounds within "
                "which it is used, for example with gymnasium.wrappers.TransformAction"
            )


def episode_limit(env_id: str, asked: int | None, action_repeat: int, native: int, *, native_is_hard: bool) -> int:
    """The time limit in agent steps.

    Args:
        env_id: for the message.
        asked: agent steps wanted, or None for the environment's own limit.
        action_repeat: control steps per agent step.
        native: the environment's own limit in control steps.
        native_is_hard: whether the simulator itself ends the episode there.

    Raises:
        ConfigError: for an action repeat or limit below one, or a limit beyond a hard native one.
    """
    if action_repeat < 1:
        raise ConfigError(f"action_repeat must be at least 1, got {action_repeat}")
    most = native // action_repeat
    if most < 1:
        raise ConfigError(f"action_repeat {action_repeat} exceeds the {native} control steps of {env_id}")
    if asked is None:
        return most
    if asked < 1:
        raise ConfigError(f"time_limit must be at least 1 agent step, got {asked}")
    if native_is_hard and asked > most:
        raise ConfigError(
            f"time_limit {asked} is too long for {env_id}: its simulator stops after {native} control steps, "
            f"which is {most} agent steps at action_repeat {action_repeat}"
        )
    return asked
