"""What the layout of each version answers: which episodes a data set lists, and where each one's parts lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

MAX_NUMBER = 10**9
"""Numbers of episodes and their lengths lie below it."""


@dataclass(frozen=True)
class Listed:
    """An episode as its data set lists it.

    Attributes:
        number: its index.
        length: frames.
        tasks: their texts; () where the list does not say.
        place: what else the layout finds it by.
    """

    number: int
    length: int
    tasks: tuple[str, ...] = ()
    place: Mapping[str, Any] = field(default_factory=dict)


class Video(NamedTuple):
    """Where the images of an episode begin."""

    path: str
    """File, below the root."""
    start: float
    """Of the episode in the file, in seconds."""


class Layout(Protocol):
    """The layout of one version."""

    def episodes(self) -> tuple[list[Listed], list[str]]:
        """The episodes in any order, and a line for each part of their list that cannot be read."""
        ...

    def tasks(self) -> tuple[dict[int, str], list[str]]:
        """``task_index`` -> text, and a line where the table cannot be read."""
        ...

    def table(self, episode: Listed) -> str:
        """The file of the table that holds ``episode``, below the root."""
        ...

    def video(self, episode: Listed, key: str) -> Video:
        """Where the images of the camera ``key`` lie; ValueError or KeyError where the data set does not say."""
        ...


def listed(row: Mapping[str, Any], place: Mapping[str, Any] | None = None) -> Listed:
    """The episode of a ``row`` of the list, with the ``place`` that it is found by.

    Raises:
        KeyError: it has no ``episode_index`` or ``length``.
        ValueError: they are no numbers that there can be.
        TypeError: the same.
    """
    number, length, tasks = int(row["episode_index"]), int(row["length"]), row.get("tasks")
    if not (0 <= number < MAX_NUMBER and 0 <= length < MAX_NUMBER):
        raise ValueError(f"an episode {number!s:.20} of {length!s:.20} frames")
    texts = (tasks,) if isinstance(tasks, str) else tuple(str(text) for text in tasks or ())
    return Listed(number, length, texts, place or {})
