"""Recording demonstrations from an environment's scripted expert."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from zoomrl.data.episode import Episode, EpisodeBuilder
from zoomrl.data.finite import first_not_finite, simulator_fault
from zoomrl.envs.base import Env, action_bounds
from zoomrl.envs.isolation.env import IsolatedEnv
from zoomrl.envs.processes import SimulatorDied
from zoomrl.envs.versions import installed_version
from zoomrl.errors import ConfigError, DemonstrationError

_log = logging.getLogger("zoomrl.demos")

POLICY = "scripted-expert"

DEMOS_STREAM = 0x64656D6F
"""Keys the seeds of this module ("demo" in ASCII), so that no episode here starts as one in training does."""

PACKAGES = (
    "zoomrl",
    "numpy",
    "gymnasium",
    "mujoco",
    "metaworld",
    "dm-control",
    "bigym",
    "mojo",
    "humanoid_bench",
    "ogbench",
)


def collect_demos(
    env: Env,
    *,
    episodes: int,
    seed: int,
    noise: float = 0.0,
    max_attempts: int | None = None,
    keep_failures: bool = True,
    on_episode: Callable[[int, Episode], None] | None = None,
) -> list[Episode]:
    """Run the scripted expert until ``episodes`` episodes have succeeded.

    The same arguments give the same episodes bit for bit; attempt k does not depend on the attempts before. An attempt
    in which the simulator dies, or it or the expert shows NaN or infinity, is dropped, and said by name.

    Args:
        env: an environment with an expert. It is left wherever the last episode ended.
        episodes: successful episodes wanted.
        seed: not negative; reset seeds and noise derive from it and the number of the attempt.
        noise: standard deviation of the Gaussian noise on the expert's action, as a fraction of half the
            action range. The sum is clipped to the bounds, and what was executed is what is stored.
        max_attempts: attempts after which to give up; None is ``5 * episodes + 20``.
        keep_failures: return failed episodes too, with ``is_demo`` False.
        on_episode: called with the number and the episode of every attempt, failed ones included.

    Returns:
        Episodes in the order of recording; exactly ``episodes`` of them have ``is_demo`` True.

    Raises:
        ConfigError: for an environment without an expert, or an argument out of range.
        DemonstrationError: when the attempts run out; names the success rate.
        SimulatorError: when the simulator raises.
    """
    spec = env.env_spec
    _check_arguments(episodes, seed, noise)
    if not env.has_expert:
        raise _no_expert(spec.id)
    attempts = 5 * episodes + 20 if max_attempts is None else max_attempts
    if attempts < episodes:
        raise ConfigError(f"max_attempts must be at least the {episodes} episodes wanted, got {attempts}")
    kept: list[Episode] = []
    successes = lost = 0
    for attempt in range(attempts):
        sequence = np.random.SeedSequence(seed, spawn_key=(DEMOS_STREAM, attempt))
        episode: Episode | str
        try:
            episode = _record(env, sequence, noise)
        except SimulatorDied as death:
            episode = str(death)
        if isinstance(episode, str):
            lost += 1
            _log.warning("attempt %d is dropped: %s", attempt, episode)
            continue
        successes += episode.success
        if episode.success or keep_failures:
            kept.append(episode)
        if on_episode is not None:
            on_episode(attempt, episode)
        if successes == episodes:
            return kept
    dropped = f", and the simulator failed in {lost}" if lost else ""
    raise DemonstrationError(
        f"the expert of {spec.id} succeeded in {successes} of {attempts} attempts "
        f"({successes / attempts:.0%}) with noise {noise:g}{dropped}; {episodes} successes were wanted. "
        f"Use less noise, more attempts, or a time limit above {spec.time_limit} agent steps"
    )


def collection_meta(env: Env, *, seed: int, noise: float = 0.0) -> dict[str, Any]:
    """Provenance of a whole set: how it was collected, and the versions of the packages that matter."""
    # An isolated simulator has packages of its own.
    packages = ("zoomrl",) if isinstance(env, IsolatedEnv) else PACKAGES
    return {
        "policy": POLICY,
        "env": env.env_spec.id,
        "seed": seed,
        "noise": noise,
        "versions": {name: version for name in packages if (version := installed_version(name)) is not None},
    }


def _record(env: Env, sequence: np.random.SeedSequence, noise: float) -> Episode | str:
    """One attempt, or why it is lost."""
    low, high = action_bounds(env.env_spec.action)
    scale = (noise * (high - low) / 2).astype(np.float32)
    rng = np.random.default_rng(sequence.spawn(1)[0])
    reset_seed = int(sequence.generate_state(1)[0])
    observation, _ = env.reset(seed=reset_seed)
    if fault := simulator_fault(observation, step=0, seed=reset_seed):
        return f"{env.env_spec.id} {fault}"
    builder = EpisodeBuilder(observation, seed=reset_seed)
    terminated = truncated = False
    while not (terminated or truncated):
        expert = env.expert_action()
        if expert is None:
            raise _no_expert(env.env_spec.id)
        if found := first_not_finite("action", expert):
            step = len(builder) + 1
            return f"the expert of {env.env_spec.id} has no action at step {step} of the seed {reset_seed}: {found}"
        disturbance = scale * rng.standard_normal(expert.shape, np.float32) if noise else np.float32(0.0)
        action = np.clip(expert + disturbance, low, high).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        if fault := simulator_fault(observation, reward, step=len(builder) + 1, seed=reset_seed):
            return f"{env.env_spec.id} {fault}"
        builder.add(action, reward, observation, bool(info["success"]))
    episode = builder.build(
        terminated=terminated,
        truncated=truncated,
        is_demo=builder.success,
        policy=POLICY,
        noise=noise,
        env=env.env_spec.id,
    )
    return replace(episode, state_entries=env.env_spec.state_entries)


def _check_arguments(episodes: int, seed: int, noise: float) -> None:
    if episodes < 1:
        raise ConfigError(f"episodes must be at least 1, got {episodes}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    if not 0.0 <= noise < np.inf:
        raise ConfigError(f"noise must be a finite fraction of half the action range, 0 or more, got {noise}")


def _no_expert(env_id: str) -> ConfigError:
    return ConfigError(
        f"{env_id} has no scripted expert to collect demonstrations from. All Meta-World tasks have one (for example "
        "metaworld:drawer-open), and of BiGym's the three of reaching and bigym:drawer_top_close; for others, bring a "
        "set of your own with --demos PATH, or turn recordings into one with: zoomrl demos import"
    )
