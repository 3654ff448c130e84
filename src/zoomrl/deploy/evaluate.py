"""A trained policy, evaluated with fresh episodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium

from zoomrl.deploy.load import BundlePolicy, load_policy
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.errors import ConfigError, ZoomrlError
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.evaluate import evaluate as evaluate_controller
from zoomrl.training.policy import Policy
from zoomrl.training.seeds import derive
from zoomrl.training.video import VideoRecorder, announcement, probe_image

_log = logging.getLogger("zoomrl.deploy")

Factory = Callable[[], gymnasium.Env[Any, Any]]
AnyPolicy = Policy | BundlePolicy


def evaluate(
    run: str | Path,
    *,
    make_env: Factory | None = None,
    episodes: int = 50,
    seed: int = 0,
    num_envs: int = 1,
    video: str | Path | None = None,
) -> Evaluation:
    """Run episodes of a trained policy without exploration noise, on seeds that training did not use.

    It builds the environment that the run's config names, which may import a module or start an interpreter that it
    names: evaluate runs that you trust.

    Args:
        run: a run directory (its newest checkpoint, or with ``eval.keep_best`` its best one), a checkpoint file, or a
            bundle of ``zoomrl export``.
        make_env: builds one environment of your own, as for :func:`zoomrl.train`.
        episodes: how many.
        seed: of the episodes; the same seed gives the same episodes.
        num_envs: environments stepped together.
        video: file (.mp4 or .gif) for a video of the first episode.

    Returns:
        Returns, lengths and successes of the episodes; ``row()`` has their means and intervals.

    Raises:
        CheckpointError: there is no readable checkpoint.
        ConfigError: a number is out of its range, or the environment cannot be built, or is another one than in
            training.
        MissingDependencyError: its simulator is not installed.
        NonFiniteLossError: the agent's action is NaN or infinite.
        WorkerError: the environment fails in a way that a restart does not mend; SimulatorError where it raises.
        ZoomrlError: a video is wanted and cannot be made.
    """
    for name, value, low in (("episodes", episodes, 1), ("num_envs", num_envs, 1), ("seed", seed, 0)):
        if value < low:
            raise ConfigError(f"{name} must be at least {low}, got {value}")
    count = min(num_envs, episodes)
    policy = load_policy(run, num_envs=count, seed=seed)
    with environments(policy, count, make_env) as envs:
        seeds = episode_seeds(seed, episodes)
        recorder = VideoRecorder() if video is not None else None
        if recorder is not None and video is not None:
            if isinstance(reason := probe_image(envs, seeds[0]), str):
                raise ZoomrlError(f"no video can be made: {reason}")
            _log.info(announcement(Path(video), policy.spec.time_limit))
        result = run_episodes(policy, envs, seeds, recorder)
    if recorder is not None and video is not None:
        recorder.save(Path(video), policy.spec.control_hz or 30)
        if recorder.problem is not None:
            raise ZoomrlError(f"no video was made: {recorder.problem}")
    return result


def environments(
    policy: AnyPolicy, count: int, make_env: Factory | None = None, python: str | None = None
) -> VectorEnv:
    """``count`` environments for ``policy``: those of its run, or of ``make_env``.

    Args:
        policy: of the run.
        count: how many.
        make_env: builds one, in place of the run's own.
        python: interpreter in which the simulator runs; None for the run's own.

    Raises:
        ConfigError: they cannot be built, or are others than in training.
    """
    config = policy.env
    # The spec says what was observed, also where the config left that to the environment.
    config = replace(config, cameras=config.cameras or policy.spec.cameras)
    if python is not None:
        config = replace(config, python=python)
    envs = make_vector_env(config, count, make_env)
    different = policy.spec.mismatches(envs.env_spec)
    if different:
        envs.close()
        raise ConfigError(
            f"the policy was trained in another environment than {config.id} is here. Trained against built:\n  "
            + "\n  ".join(different)
        )
    return envs


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """Reset seeds of the episodes of an evaluation with ``seed``."""
    return [derive(seed, "cli_env", index) for index in range(episodes)]


def run_episodes(
    policy: AnyPolicy, envs: VectorEnv, seeds: list[int], recorder: VideoRecorder | None = None
) -> Evaluation:
    """One episode per seed; ``recorder`` receives the frames of the first."""
    result = evaluate_controller(policy.controller, envs, seeds, discount=policy.discount, recorder=recorder)
    assert result is not None  # nothing asked it to stop
    return result
