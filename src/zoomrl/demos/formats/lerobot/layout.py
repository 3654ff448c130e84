"""Where the parts of a LeRobot v3 data set lie, and what we add.

The layout is that of LeRobot's documentation, version 3.0. Ours are ``meta/zoomrl.json`` (spec and provenance) and
``meta/zoomrl.parquet`` (one row per episode: the last observation, how it ended, seed); other readers do not look
there.
"""

from __future__ import annotations

import re
from typing import Any

from zoomrl.errors import import_optional
from zoomrl.spec import StateEntry

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000

OWN_SPEC = "meta/zoomrl.json"
OWN_ROWS = "meta/zoomrl.parquet"

STATE = "observation.state"
ENVIRONMENT = "observation.environment_state"
IMAGES = "observation.images."
ACTION = "action"


def dimension_names(entries: tuple[StateEntry, ...]) -> list[str] | None:
    """What ``names`` of a column says that is joined of ``entries``: ``goal_0``, ``goal_1`` ...; None without any."""
    return [f"{entry.name}_{index}" for entry in entries for index in range(entry.size)] or None


def dimension_groups(names: Any, length: int) -> dict[str, slice]:
    """Entry -> its dimensions, by the ``names`` of a column of ``length``: a list, or lists by axis.

    Dimensions that are counted from 0 under one name, such as ``goal_0`` and ``goal_1``, are one entry. Empty where
    there are no names for all dimensions, two are alike, or there is one count and nothing more.
    """
    axes = names.values() if isinstance(names, dict) else [names]
    listed = [name for axis in axes if isinstance(axis, list) for name in axis]
    if len(listed) != length or not all(isinstance(name, str) for name in listed):
        return {}
    groups: dict[str, slice] = {}
    first = 0
    while first < length:
        name, end = listed[first], first + 1
        if counted := re.fullmatch(r"(.+?)([_.]?)0", name):
            name, joint = counted.groups()
            while end < length and listed[end] == f"{name}{joint}{end - first}":
                end += 1
        if name in groups:
            return {}
        groups[name] = slice(first, end)
        first = end
    return groups if len(groups) > 1 else {}


def parquet() -> Any:
    """The module ``pyarrow.parquet``; MissingDependencyError when it is not installed."""
    return import_optional("pyarrow.parquet", "lerobot")


def av() -> Any:
    """The module ``av``, which reads and writes videos; MissingDependencyError when it is not installed."""
    return import_optional("av", "lerobot")
