"""Corrections while training: a person, or a recording of one, takes over for some agent steps.

What is executed is what is stored. Each stretch of corrected agent steps is also an episode of its own, which imitation
may copy: a demonstration of what to do where the policy had come to (cf. Luo et al. 2024, "Precise and Dexterous
Robotic Manipulation via Human-in-the-Loop Reinforcement Learning").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.spec import ArraySpec, EnvSpec

Array = NDArray[np.float32]


class Intervention(Protocol):
    """Someone who may take over one environment."""

    def action(self, episode: int, step: int, proposed: Array) -> Array | None:
        """The action [A] in the environment's units to execute instead of ``proposed`` [A]; None leaves it.

        Args:
            episode: number of the environment's episode, from 0.
            step: agent step within it, from 0.
            proposed: what the policy would do.
        """
        ...

    def close(self) -> None:
        """Let go. Safe to call twice."""
        ...


class Recording:
    """Corrections from a file, one JSON object a line: ``{"episode": 3, "step": 17, "action": [...]}``.

    ``episode`` and ``step`` count from 0 in the environment that is corrected; actions are in its units. Of two lines
    for the same agent step the later one counts.

    Raises:
        ConfigError: the file is missing, or a line is not such an object, or leaves the environment's bounds.
    """

    def __init__(self, path: str | Path, spec: EnvSpec) -> None:
        file = Path(path)
        if not file.is_file():
            raise ConfigError(
                f"intervene.source: there is no file {file}. Name a file of recorded corrections, 'keyboard' or 'none'"
            )
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"intervene.source: {file} cannot be read as text ({error})") from error
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        """Of the content: a run goes on with the same corrections alone."""
        self._actions: dict[tuple[int, int], Array] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    key, action = _entry(json.loads(line), spec.action)
                except (ValueError, KeyError, TypeError) as error:
                    raise ConfigError(
                        f"intervene.source: line {number} of {file} is no correction ({error}). Expected "
                        f'{{"episode": 0, "step": 0, "action": [{spec.action_dim} numbers]}}'
                    ) from error
                self._actions[key] = action

    def action(self, episode: int, step: int, proposed: Array) -> Array | None:
        """What was recorded for this agent step."""
        return self._actions.get((episode, step))

    def close(self) -> None:
        """Nothing to let go of."""


def _entry(line: Mapping[str, object], spec: ArraySpec) -> tuple[tuple[int, int], Array]:
    action = np.asarray(line["action"], np.float32)
    if action.shape != spec.shape:
        raise ValueError(f"its action has shape {list(action.shape)}, the environment's has {spec.shape[0]} dimensions")
    if not np.isfinite(action).all():
        raise ValueError("its action holds NaN or infinite values")
    low, high = np.asarray(spec.low, np.float32), np.asarray(spec.high, np.float32)
    slack = 1e-6 * np.maximum(1, np.maximum(np.abs(low), np.abs(high)))
    for dim in np.flatnonzero((action < low - slack) | (action > high + slack)).tolist():
        raise ValueError(f"dimension {dim} is {action[dim]:g}, outside the bounds {low[dim]:g} .. {high[dim]:g}")
    return (int(str(line["episode"])), int(str(line["step"]))), action


def corrections(episode: Episode, corrected: NDArray[np.bool_]) -> list[Episode]:
    """The stretches of ``corrected`` [T] agent steps of an episode, each an episode that imitation may copy.

    A stretch that ends before its episode does is truncated: the value continues behind it. Success and the terminal
    state belong to the stretch that reaches the end.
    """
    flags = np.concatenate([[False], corrected, [False]]).astype(np.int8)
    firsts, ends = np.flatnonzero(np.diff(flags) == 1), np.flatnonzero(np.diff(flags) == -1)
    found = []
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        last = end == len(episode)
        found.append(
            Episode(
                observations={name: array[first : end + 1] for name, array in episode.observations.items()},
                actions=episode.actions[first:end],
                rewards=episode.rewards[first:end],
                terminated=last and episode.terminated,
                truncated=not (last and episode.terminated),
                success=last and episode.success,
                is_demo=True,
                seed=-1,  # it begins in the middle of an episode: no reset leads there
                meta={"policy": "correction", "episode_seed": episode.seed, "first_step": first},
            )
        )
    return found
