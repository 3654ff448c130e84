"""A run that goes on from another one with other options, in a directory of its own. The other one is not touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoomrl.agents.contract import Agent
from zoomrl.control.scaling import ActionScaler
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.spec import EnvSpec
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.claim import check_same
from zoomrl.training.config import TrainConfig, flat
from zoomrl.training.misfits import misfits, saved_weights
from zoomrl.training.run_files import read_config, read_policy_file

_KEPT = (
    "agent.name",
    "agent.normalize",
    "agent.v_min",
    "agent.v_max",
    "agent.atom_spacing",
    "agent.v_least",
    "collect.lag",
    "control.executor",
    "control.random_prefix",
    "control.action_range",
    "control.action_margin",
    "env.id",
    "env.num_envs",
    "env.action_repeat",
    "replay.sampling",
    "replay.frame_stack",
    "intervene.source",
    "intervene.env",
)
"""Options that what was saved depends on."""
_SLOTS = ("replay.capacity", "demos.episodes", "demos.validation", "intervene.capacity")
"""Options that decide in which slots episodes lie, by which priorities are saved."""
_BEGUN_ANEW: dict[str, Any] = {
    "best": None,
    "best_at": None,
    "end_reason": "",
    "log_position": 0,
    "log_sha256": "",
}
"""Entries of a state that a fork begins anew."""


@dataclass(frozen=True)
class Origin:
    """The run that is forked, and its newest checkpoint.

    Attributes:
        directory: of the run.
        name: of the checkpoint's file.
        state: what it holds.
    """

    directory: Path
    name: str
    state: dict[str, Any]


def read_origin(
    config: TrainConfig,
    agent: Agent,
    fingerprint: Mapping[str, str],
    device: torch.device,
    scaler: ActionScaler,
    spec: EnvSpec,
) -> Origin:
    """Read the run ``config.fork``.

    Args:
        config: of the fork.
        agent, fingerprint, device, scaler, spec: of the fork, which must fit those of its origin.

    Raises:
        ConfigError: an option that what was saved depends on is another one.
        CheckpointError: the origin has no checkpoint, another environment or demonstrations, or cannot be read.
    """
    directory = Path(config.fork)
    before = read_config(directory)
    _check_options(before, config)
    check_same(directory, fingerprint, device, scaler, spec)
    source = Checkpoints(directory, config.checkpoint.keep, read_policy_file(directory).run)
    loaded = source.load(resuming=False)
    if loaded is None:
        raise CheckpointError(f"{directory} has no checkpoint yet to fork")
    state, path = loaded
    if config.steps < state["env_steps"]:
        raise ConfigError(
            f"{directory} is at step {state['env_steps']:,} already, beyond steps={config.steps}. Ask for more steps"
        )
    if wrong := misfits(saved_weights(state["agent"]), agent.weights("all")):
        changed = _changed(before, config, [key for key in flat(config.to_dict()) if key.startswith("agent.")])
        options = f"\nOptions that differ: {', '.join(changed)}" if changed else ""
        raise ConfigError(f"the weights of {directory} do not fit the options of its fork:{wrong}{options}")
    return Origin(directory, path.name, state)


def plant(origin: Origin, checkpoints: Checkpoints) -> None:
    """Copy the checkpoint of ``origin`` and the episodes that it stands on to where ``checkpoints`` are.

    Raises:
        CheckpointError: they cannot be copied.
    """
    state = origin.state
    corrections = state.get("corrections")
    kept = [f"corrections/episode_{number:06d}.npz" for number in range(corrections["kept"] if corrections else 0)]
    try:
        for name in (*(f"replay/{name}" for name in state.get("segments", {})), *kept):
            _copy(origin.directory / name, checkpoints.directory / name)
    except OSError as error:
        raise CheckpointError(
            f"could not copy {error.filename} of {origin.directory}: {error.strerror or error}. If that run goes on, "
            "it may have made room for newer episodes meanwhile: run the same command again"
        ) from error
    # Without those of its callbacks, which may be other ones.
    begun = {name: value for name, value in state.items() if name != "callbacks"}
    if "tickets" in begun:
        # With other options the same machine computes other numbers.
        begun["tickets"] = {**begun["tickets"], "agent": "", "mixed": []}
    checkpoints.plant(origin.name, {**begun, **_BEGUN_ANEW})


def _check_options(origin: TrainConfig, fork: TrainConfig) -> None:
    by_slot = fork.replay.sampling == "priority"
    changed = _changed(origin, fork, (*_KEPT, *_SLOTS) if by_slot else _KEPT)
    if fork.replay.capacity < origin.replay.capacity and not by_slot:
        changed.append(f"replay.capacity: {origin.replay.capacity:,} -> {fork.replay.capacity:,}, which is less")
    if changed:
        raise ConfigError(
            f"a fork of {fork.fork} goes on with what that run has saved, and cannot change:\n  "
            + "\n  ".join(changed)
            + "\nStart a new run for these, perhaps with --init-from"
        )


def _changed(origin: TrainConfig, fork: TrainConfig, names: Iterable[str]) -> list[str]:
    before, after = flat(origin.to_dict()), flat(fork.to_dict())
    return [
        f"{name}: {before.get(name)!r} -> {after.get(name)!r}" for name in names if before.get(name) != after.get(name)
    ]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)
