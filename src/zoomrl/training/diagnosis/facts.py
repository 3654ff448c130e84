"""What is known of a run: its config, its rows, and a few facts of its demonstrations."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode, discounted_returns
from zoomrl.files import read_json
from zoomrl.spec import EnvSpec, is_of_play
from zoomrl.training.config import TrainConfig
from zoomrl.training.rows import METRICS, read_rows
from zoomrl.training.run_files import DEMONSTRATIONS, HINT, POLICY, read_config, read_policy_file

Row = Mapping[str, Any]
_TESTED = ("updates", "success_rate", "episodes", "value_predicted", "value_auc", "value_rank")
SMALL = 0.2
"""Magnitude that commands of some size reach somewhere: a fifth of the range of actions."""
RECENT = 50
"""Training episodes that are looked at, the newest."""
LATELY, FEWEST = 8, 5
"""Rows of learning that say how it has been lately: the newest of them, and how many there must be at least."""


@dataclass
class Course:
    """How one number went over the rows of learning. A run may have any number of rows: they are not kept."""

    first: float
    newest: float
    lowest: float
    highest: float
    count: int = 1
    _lately: deque[float] = field(default_factory=lambda: deque(maxlen=LATELY))

    def add(self, value: float) -> None:
        """Take the number of another row."""
        self.newest, self.count = value, self.count + 1
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)
        self._lately.append(value)

    @property
    def lasting(self) -> float | None:
        """The lowest of the newest :data:`LATELY` rows; None where there are fewer than :data:`FEWEST`."""
        return min(self._lately) if len(self._lately) >= FEWEST else None

    @property
    def former(self) -> float | None:
        """That of the row before the newest."""
        return self._lately[-2] if len(self._lately) > 1 else None

    @property
    def is_constant(self) -> bool:
        """Whether it has not moved over three rows, but for rounding."""
        return self.count >= 3 and self.highest - self.lowest <= 1e-6 * abs(self.highest)


@dataclass
class Facts:
    """Evidence, from the directory of a run alone: what is told live is told by `zoomrl diagnose` later.

    Attributes:
        config: of the run.
        demos: of :func:`demo_facts`; empty without demonstrations.
        spec: of the environment; None of a run that has not kept it.
        updates: gradient steps so far.
        courses: of the numbers of the rows of learning, by name.
        tested: the newest evaluation that reports success, and the values that it found.
        tested_before: the one before.
        evaluations: how many there were, the one at the end included.
        episodes: the newest training episodes.
    """

    config: TrainConfig
    demos: Mapping[str, float] = field(default_factory=dict)
    spec: EnvSpec | None = None
    updates: int = 0
    courses: dict[str, Course] = field(default_factory=dict)
    tested: dict[str, Any] | None = None
    tested_before: dict[str, Any] | None = None
    evaluations: int = 0
    episodes: deque[Row] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, row: Row) -> None:
        """Take a row, of any kind."""
        self.updates = max(self.updates, int(row.get("updates", 0)))
        if row["kind"] == "episode":
            self.episodes.append(row)
        elif row["kind"] == "train":
            for name, value in row.items():
                # What is not finite stands for nothing in rows on disk: live and later are to tell the same.
                if isinstance(value, int | float) and math.isfinite(value):
                    self._note(name, float(value))
        else:
            self.evaluations += row.get("episodes") != 0
            if row.get("success_rate") is not None:
                self.tested_before = self.tested
                self.tested = {name: row[name] for name in _TESTED if row.get(name) is not None}
                if row.get("returns"):
                    self.tested |= {"return_least": min(row["returns"]), "return_most": max(row["returns"])}

    def _note(self, name: str, value: float) -> None:
        if name in self.courses:
            self.courses[name].add(value)
        else:
            self.courses[name] = Course(value, value, value, value, 0)
            self.courses[name].add(value)

    def add_all(self, rows: Iterable[Row]) -> None:
        """Take several."""
        for row in rows:
            self.add(row)

    @property
    def is_play(self) -> bool:
        """Whether the demonstrations are play, which leads nowhere and is imitated on purpose.

        That is OGBench's, or of an environment that tells no success.
        """
        silent = self.spec is not None and not self.spec.reports_success
        return bool(self.demos.get("failed", 0)) and (is_of_play(self.config.env.id) or silent)

    def newest(self, name: str) -> float | None:
        """A number of the newest row of learning that has it."""
        return self.courses[name].newest if name in self.courses else None


def known_before(directory: Path) -> Facts:
    """What is known of the run in ``directory`` before its rows are.

    Raises:
        CheckpointError: it is no run directory, or a file of it is damaged.
    """
    path = directory / DEMONSTRATIONS
    demos = dict(read_json(path, hint=HINT)) if path.exists() else {}
    policy = directory / POLICY
    spec = read_policy_file(directory).env_spec(policy) if policy.exists() else None
    return Facts(read_config(directory), demos, spec)


def read_facts(directory: Path) -> Facts:
    """What is known of the run in ``directory``, also of one that goes on.

    Raises:
        CheckpointError: as of :func:`known_before`.
    """
    facts = known_before(directory)
    facts.add_all(read_rows(directory / METRICS))
    return facts


def demo_facts(
    episodes: Sequence[Episode], discount: float, to_unit: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> dict[str, float]:
    """Numbers of demonstrations, and of the failed attempts among them.

    ``demonstrations`` that are to be imitated, their ``demonstrated_steps``, ``duplicates`` among them (of equal
    actions), the 90 % quantile of their lengths, how many of them have ``failed``, how many succeeded and are
    ``unrewarded`` or ``punished`` (nothing in their first half, and less than nothing in all), how many are
    ``rewarded``, and their :func:`action_persistence`. ``lowest_value`` and ``highest_value`` of any state are the
    returns from there at this ``discount``; of those that succeeded also the 10 % quantile of ``first_value``, the
    magnitude of the return from the first state. ``small_actions`` is the fraction of the dimensions that move in
    which no command, in [-1, 1] units (``to_unit``), is larger than :data:`SMALL`.
    """
    demos = [episode for episode in episodes if episode.is_demo]
    if not demos:
        return {}
    hashes = [hashlib.sha256(episode.actions.tobytes()).digest() for episode in demos]
    values = [discounted_returns(one.rewards, discount) for one in demos]
    first = [abs(float(found[0])) for found, one in zip(values, demos, strict=True) if one.success]
    known = {"first_value": float(np.quantile(first, 0.1))} if first else {}
    commands = to_unit(np.concatenate([one.actions for one in demos]))
    largest = np.abs(commands).max(0)[np.ptp(commands, 0) > 0]
    return known | {
        "demonstrations": len(demos),
        "demonstrated_steps": sum(len(episode) for episode in demos),
        "duplicates": len(hashes) - len(set(hashes)),
        "length_90": float(np.quantile([len(episode) for episode in demos], 0.9)),
        "failed": sum(not episode.success for episode in demos),
        "unrewarded": sum(episode.success and not episode.rewards.any() for episode in demos),
        "punished": sum(episode.success and _punished(episode.rewards) for episode in demos),
        "rewarded": sum(bool(episode.rewards.any()) for episode in demos),
        "lowest_value": float(min(found.min() for found in values)),
        "highest_value": float(max(found.max() for found in values)),
        "small_actions": float((largest < SMALL).mean()) if len(largest) else 0.0,
        "action_persistence": action_persistence([episode.actions for episode in demos]),
    }


def _punished(rewards: NDArray[np.float32]) -> bool:
    """Whether a reward below 0 came for the success, and not for the time that it took."""
    return not rewards[: len(rewards) // 2].any() and float(rewards.sum()) < 0


def action_persistence(actions: Sequence[NDArray[np.float32]]) -> float:
    """How much an action tells of the next one: 1 where it stays the same, 0 where the next is any of the others.

    ``1 - E[(a_{t+1} - a_t)^2] / (2 Var a)``, mean over the dimensions that move. Where nothing moves, or no episode has
    two actions, it is 1. Scripted experts with noise 0.3 have 0.66 to 0.74, OGBench's play 0.78, both in another order
    0.1 and less.

    Args:
        actions: [T, A] of each episode.
    """
    every = np.concatenate(actions).astype(np.float64)
    jumps = np.concatenate([np.diff(one.astype(np.float64), axis=0) for one in actions])
    spread = every.var(0)
    moving = spread > 1e-8
    if not len(jumps) or not moving.any():
        return 1.0
    return float((1 - (jumps**2).mean(0)[moving] / (2 * spread[moving])).mean())
