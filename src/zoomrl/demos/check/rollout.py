"""Replaying demonstrations: the environment that a set was recorded in, and what it returns now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.data.finite import simulator_fault
from zoomrl.demos.check.findings import EpisodeAccount, Rollout
from zoomrl.demos.entries import align, align_spec
from zoomrl.demos.store.reader import open_set
from zoomrl.envs.base import Env
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.mujoco.cameras import EVERYTHING
from zoomrl.envs.registry import honours, make_env
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError
from zoomrl.spec import EnvSpec

STATE_TOLERANCE = 1e-4
"""Largest difference of a number that counts as equal: absolute, or as a fraction of the stored number."""

IMAGE_TOLERANCE = 1.0
"""Largest mean difference of an image that counts as equal, in grey levels of 255: drivers round differently."""


def recorded_config(spec: EnvSpec, episodes: Sequence[EpisodeAccount]) -> tuple[EnvConfig, list[str]]:
    """The options under which ``episodes`` were recorded, as far as they and ``spec`` tell, and what was assumed."""
    assumed = []
    options: dict[str, Any] = {"id": spec.id, "action_repeat": spec.action_repeat}
    if spec.reward in ("sparse", "dense"):
        options["reward"] = spec.reward
    if spec.time_limit > 0:
        options["time_limit"] = spec.time_limit
    else:
        longest = max(account.length for account in episodes)
        options["time_limit"] = longest
        assumed.append(f"a time limit of {longest} agent steps, the longest episode: the set names none")
    solved = [account for account in episodes if account.success]
    if solved and spec.reports_success and honours(spec.id, "terminate_on_success"):
        ends = solved[0].terminated
        options["terminate_on_success"] = ends
        assumed.append(f"that success {'ends' if ends else 'does not end'} an episode, as it did in the recording")
    if spec.cameras and "rgb" in spec.observations:
        options["cameras"] = spec.cameras
        height, width = spec.observations["rgb"].shape[1:3]
        if height == width:  # the others are taken as the environment observes them
            options["image_size"] = height
        if spec.fits_images and honours(spec.id, "image_fit"):
            options |= {"image_fit": spec.image_fit, "image_crop": spec.image_crop}
        # Environments that render by themselves say nothing about it.
        options |= {name: name in spec.rendering for name in EVERYTHING if honours(spec.id, name)}
    if "state" not in spec.observations:
        options["state"] = "none"
    return EnvConfig(**options), assumed


def with_overrides(config: EnvConfig, asked: EnvConfig, default: EnvConfig) -> EnvConfig:
    """``config`` with every option of ``asked`` that differs from ``default``."""
    names = [field.name for field in fields(EnvConfig)]
    changed = {name: getattr(asked, name) for name in names if getattr(asked, name) != getattr(default, name)}
    return replace(config, **changed)


def build_env(config: EnvConfig, spec: EnvSpec, make: Callable[[EnvConfig], Env] = make_env) -> tuple[Env, list[str]]:
    """The environment of ``config`` that shows what ``spec`` says, and what was tried for that.

    A spec does not name the kind of its state, nor whether the control rate was the task's own, so that the kinds
    and the rate are tried where the plain options give another spec.

    Raises:
        ConfigError: where the environment cannot be built.
        MissingDependencyError: where the simulator is not installed.
        DemonstrationError: where no environment that can be built fits; lists the differences.
    """
    config = replace(config, num_envs=1, workers="serial")
    env = make(config)
    found = align_spec(spec, env.env_spec).mismatches(env.env_spec)
    if not found:
        return env, []
    env.close()
    for option, value in _alternatives(config, spec, env.env_spec):
        changed: dict[str, Any] = {option: value}
        try:
            other = make(replace(config, **changed))
        except ConfigError:
            continue  # this environment has no such option
        if not align_spec(spec, other.env_spec).mismatches(other.env_spec):
            return other, [f"{option} {value}: what the set shows fits no other choice"]
        other.close()
    lines = "\n".join(f"  - {line}" for line in found)
    raise DemonstrationError(
        f"the environment {env.env_spec.id} built for the replay is not that of the recording; set against "
        f"environment:\n{lines}"
    )


def _alternatives(config: EnvConfig, spec: EnvSpec, built: EnvSpec) -> Iterator[tuple[str, Any]]:
    if spec.state_dim != built.state_dim and "state" in spec.observations:
        yield from (("state", kind) for kind in ("full", "robot") if kind != config.state)
    if not config.control_hz and spec.control_hz and abs(spec.control_hz - built.control_hz) > 1e-6:
        yield "control_hz", spec.control_hz


def replay_set(
    path: str | Path,
    env: Env,
    indices: Iterable[int],
    on_episode: Callable[[int, Rollout], None] | None = None,
) -> dict[int, Rollout]:
    """Replay the episodes ``indices`` of the set at ``path``, which can be read and have a seed.

    Raises:
        DemonstrationError: when a state is made of other entries than the environment's.
    """
    replays = {}
    with open_set(path, partial=True) as source:
        for index in indices:
            replays[index] = replay(env, align(source.episode(index), env.env_spec, f"episode {index}"))
            if on_episode is not None:
                on_episode(index, replays[index])
    return replays


def replay(env: Env, episode: Episode) -> Rollout:
    """Reset ``env`` with the seed of ``episode``, execute its actions, and compare with what was recorded.

    Whatever the simulator raises, and NaN or infinity that it returns, is kept as ``problem``, so that the other
    episodes can still be replayed.

    Raises:
        MissingDependencyError: when no image can be rendered here.
    """
    differences = _Differences(episode.observations)
    rewards: list[float] = []
    success, ended, problem = False, "", ""
    reset: dict[str, bool] = {}
    try:
        seen, _ = env.reset(seed=episode.seed)
        problem = simulator_fault(seen, step=0, seed=episode.seed)
        differences.add(seen)
        reset = _compared_reset(episode, seen)
        for action in episode.actions:
            if problem:
                break
            seen, reward, terminated, truncated, info = env.step(action)
            problem = simulator_fault(seen, reward, step=len(rewards) + 1, seed=episode.seed)
            rewards.append(float(reward))
            success |= bool(info["success"])
            differences.add(seen)
            if terminated or truncated:
                ended = "terminated" if terminated else "truncated"
                break
    except MissingDependencyError:
        raise  # nothing can be rendered here: no fault of the episode
    except Exception as error:  # a simulator raises what it likes
        problem = f"{type(error).__name__}: {error}"
    returned = np.asarray(rewards, np.float32)
    other = ~np.isclose(returned, episode.rewards[: len(returned)], STATE_TOLERANCE, STATE_TOLERANCE)
    return Rollout(
        executed=len(rewards),
        success=success,
        ended=ended,
        divergence=differences.first,
        observation=differences.name,
        largest=differences.largest,
        differing=differences.rows,
        rewards_sum=float(returned.sum(dtype=np.float64)),
        rewards_last=rewards[-1] if rewards else 0.0,
        reward_step=int(np.argmax(other)) if other.any() else None,
        problem=problem,
        **reset,
    )


def _compared_reset(episode: Episode, seen: Mapping[str, NDArray[Any]]) -> dict[str, bool]:
    if "state" not in episode.observations:
        return {}
    stored, shown = episode.observations["state"][0], seen["state"]
    differs = difference(stored, shown)[1]
    return {"reset_differs": differs, "reordered": differs and not difference(np.sort(stored), np.sort(shown))[1]}


class _Differences:
    """Compares what is shown, row by row, with what was stored."""

    def __init__(self, stored: Mapping[str, NDArray[Any]]) -> None:
        self._stored = stored
        self._row = 0
        self.first: int | None = None
        self.name = ""
        self.rows = 0
        self.largest = dict.fromkeys(stored, 0.0)

    def add(self, seen: Mapping[str, NDArray[Any]]) -> None:
        """Compare the next row."""
        beyond = []
        for name, stored in self._stored.items():
            size, differs = difference(stored[self._row], seen[name])
            self.largest[name] = max(self.largest[name], size)
            if differs:
                beyond.append(name)
        if beyond:
            self.rows += 1
            if self.first is None:
                self.first, self.name = self._row, beyond[0]
        self._row += 1


def difference(stored: NDArray[Any], seen: NDArray[Any]) -> tuple[float, bool]:
    """Size of the difference between two observations of the same kind, and whether it is beyond the tolerance.

    For images, uint8 [V, H, W, C], the mean over the view that differs most; else the largest of any number.
    """
    gap = np.abs(stored.astype(np.float64) - seen.astype(np.float64))
    if stored.dtype == np.uint8:
        size = float(gap.reshape(len(gap), -1).mean(1).max())
        return size, size > IMAGE_TOLERANCE
    # A number that is not one differs from everything.
    gap = np.where(np.isfinite(gap), gap, np.inf)
    allowed = STATE_TOLERANCE * np.maximum(1.0, np.abs(stored))
    return float(gap.max(initial=0.0)), bool((gap > allowed).any())
