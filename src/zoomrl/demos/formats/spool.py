"""Episodes that wait on the disk until all have been read: one at a time is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np

from zoomrl.data.episode import Episode


class Spool(Sequence[Episode]):
    """A sequence of episodes whose observations lie in files; each is read when it is asked for.

    Args:
        folder: for the files; it exists, and is removed by its owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: list[tuple[int, tuple[str, ...], Episode]] = []

    def append(self, episode: Episode) -> None:
        """Write the observations of ``episode``, and keep the rest."""
        number = len(self._kept)
        for name, array in episode.observations.items():
            np.save(self._path(number, name), array, allow_pickle=False)
        self._kept.append((number, tuple(episode.observations), replace(episode, observations={})))

    def only(self, indices: Iterable[int]) -> Spool:
        """Those at ``indices`` alone."""
        found = Spool(self._folder)
        found._kept = [self._kept[index] for index in indices]
        return found

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Episode]: ...
    def __getitem__(self, index: int | slice) -> Episode | Sequence[Episode]:
        if isinstance(index, slice):
            return self.only(range(len(self))[index])
        number, names, episode = self._kept[index]
        observations = {name: np.load(self._path(number, name), allow_pickle=False) for name in names}
        return replace(episode, observations=observations)

    def _path(self, number: int, name: str) -> Path:
        return self._folder / f"{number}-{name}.npy"
