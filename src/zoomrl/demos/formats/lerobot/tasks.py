"""The tasks of episodes, as LeRobot keeps them: texts, and the index of one for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Runs = list[list[int]]
"""Which task each frame has: (index into the episode's tasks, frames) of each stretch, one after another."""


def runs_of(indices: NDArray[Any]) -> Runs:
    """Run lengths of ``indices`` [T]: ``[[0, 12], [1, 30]]`` of twelve 0 and thirty 1."""
    if not len(indices):
        return []
    starts = np.flatnonzero(np.diff(indices, prepend=indices[0] - 1))
    lengths = np.diff(starts, append=len(indices))
    return [[int(indices[start]), int(length)] for start, length in zip(starts, lengths, strict=True)]


def frames_of(runs: Any, frames: int, tasks: int) -> NDArray[np.int64] | None:
    """Undoes :func:`runs_of`, [T]; None unless ``runs`` are some of that many ``frames`` and ``tasks``."""
    if not isinstance(runs, Sequence) or isinstance(runs, str):
        return None
    for run in runs:
        if not isinstance(run, Sequence) or len(run) != 2 or not all(type(part) is int for part in run):
            return None
        if not (0 <= run[0] < tasks and 0 < run[1] <= frames):
            return None
    if sum(run[1] for run in runs) != frames:
        return None
    return np.repeat(np.array([run[0] for run in runs], np.int64), [run[1] for run in runs])


def read_tasks(
    said: Sequence[str], indices: NDArray[Any] | None, texts: Mapping[int, str]
) -> tuple[list[str], Runs, list[int]]:
    """The texts of an episode's tasks, the runs of them where there are several, and the indices that have no text.

    Args:
        said: texts by the list of episodes; empty where it is silent.
        indices: ``task_index`` of each frame [T]; None without this column.
        texts: ``task_index`` -> text.
    """
    tasks = list(dict.fromkeys(said))
    found = [] if indices is None else list(dict.fromkeys(indices.tolist()))
    lost = [index for index in found if index not in texts]
    tasks += [text for text in dict.fromkeys(texts[index] for index in found if index in texts) if text not in tasks]
    if lost or indices is None or len(tasks) < 2:
        return tasks, [], lost
    place = {index: tasks.index(texts[index]) for index in found}
    return tasks, runs_of(np.array([place[index] for index in indices.tolist()])), []


@dataclass
class TaskTable:
    """The tasks of a set that is written, numbered as they come."""

    numbers: dict[str, int] = field(default_factory=dict)

    def add(self, meta: Mapping[str, Any], frames: int, default: str) -> tuple[list[str], NDArray[np.int64], bool]:
        """The texts of an episode, the ``task_index`` of each frame [T], and whether its own runs could be kept.

        Args:
            meta: of the episode, with ``tasks`` and ``task_index`` as the reader leaves them, or without.
            frames: T.
            default: the task of an episode that has none.
        """
        tasks = meta.get("tasks")
        if not isinstance(tasks, Sequence) or isinstance(tasks, str) or not all(isinstance(one, str) for one in tasks):
            tasks = []
        texts = list(tasks) or [default]
        numbers = np.array([self.numbers.setdefault(text, len(self.numbers)) for text in texts], np.int64)
        runs = meta.get("task_index")
        each = frames_of(runs, frames, len(texts))
        kept = each is not None or runs is None
        return list(dict.fromkeys(texts)), numbers[np.zeros(frames, np.int64) if each is None else each], kept
