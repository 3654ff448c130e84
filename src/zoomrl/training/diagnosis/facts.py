"""What is known of a run: its config, its rows, and a few facts of its demonstrations."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zoomrl.data.episode import Episode
from zoomrl.files import read_json
from zoomrl.training.config import TrainConfig
from zoomrl.training.rows import METRICS, read_rows
from zoomrl.training.run_files import DEMONSTRATIONS, HINT, read_config

Row = Mapping[str, Any]
RECENT = 50
"""Training episodes that are looked at, the newest."""


@dataclass
class Facts:
    """Evidence, from the directory of a run alone: what is told live is told by `zoomrl diagnose` later.

    Attributes:
        config: of the run.
        demos: of :func:`demo_facts`; empty without demonstrations.
        train: rows of learning, oldest first.
        evals: evaluations during training, and the one at the end.
        episodes: the newest training episodes.
    """

    config: TrainConfig
    demos: Mapping[str, float] = field(default_factory=dict)
    train: list[Row] = field(default_factory=list)
    evals: list[Row] = field(default_factory=list)
    episodes: deque[Row] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, row: Row) -> None:
        """Take a row, of any kind."""
        place: Any = {"train": self.train, "eval": self.evals, "final": self.evals, "episode": self.episodes}
        place[row["kind"]].append(row)

    def add_all(self, rows: Iterable[Row]) -> None:
        """Take several."""
        for row in rows:
            self.add(row)

    def column(self, name: str) -> list[float]:
        """A number of the rows of learning, oldest first, where it is known."""
        return [float(row[name]) for row in self.train if row.get(name) is not None]

    def newest(self, name: str) -> float | None:
        """The newest of :meth:`column`."""
        found = self.column(name)
        return found[-1] if found else None

    @property
    def updates(self) -> int:
        """Gradient steps so far."""
        return max((int(row.get("updates", 0)) for row in (*self.train[-1:], *self.evals[-1:])), default=0)

    @property
    def success(self) -> float | None:
        """Success of the newest evaluation that reports it."""
        found = [row["success_rate"] for row in self.evals if row.get("success_rate") is not None]
        return float(found[-1]) if found else None


def read_facts(directory: Path) -> Facts:
    """What is known of the run in ``directory``, also of one that goes on.

    Raises:
        CheckpointError: it is no run directory, or a file of it is damaged.
    """
    path = directory / DEMONSTRATIONS
    facts = Facts(read_config(directory), dict(read_json(path, hint=HINT)) if path.exists() else {})
    facts.add_all(read_rows(directory / METRICS))
    return facts


def demo_facts(episodes: Sequence[Episode]) -> dict[str, float]:
    """Numbers of demonstrations, and of the failed attempts among them.

    ``demonstrations`` that are to be imitated, their ``demonstrated_steps``, ``duplicates`` among them (of equal
    actions), the 90 % quantile of their lengths, how many of them have ``failed``, and how many succeeded and are
    ``unrewarded``.
    """
    demos = [episode for episode in episodes if episode.is_demo]
    if not demos:
        return {}
    hashes = [hashlib.sha256(episode.actions.tobytes()).digest() for episode in demos]
    return {
        "demonstrations": len(demos),
        "demonstrated_steps": sum(len(episode) for episode in demos),
        "duplicates": len(hashes) - len(set(hashes)),
        "length_90": float(np.quantile([len(episode) for episode in demos], 0.9)),
        "failed": sum(not episode.success for episode in demos),
        "unrewarded": sum(episode.success and not episode.rewards.any() for episode in demos),
    }
