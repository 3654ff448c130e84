"""Observations that a run has stored, as a policy would see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from zoomrl.demos.store.reader import read_demos
from zoomrl.errors import DemonstrationError
from zoomrl.runtime import FrameStack
from zoomrl.spec import EnvSpec
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluate import Acting
from zoomrl.training.scripted import scripted_path
from zoomrl.training.segments import stored_episodes

Arrays = dict[str, NDArray[Any]]


def stored(config: TrainConfig, spec: EnvSpec, run: Path) -> Iterator[Arrays]:
    """Observations of the run's own episodes and of its demonstrations, name -> [T + 1, ...] of each episode."""
    yield from stored_episodes(run / "replay")
    source = config.demos.source
    path = scripted_path(config.demos, config.env) if source == "scripted" else Path(source)
    if source == "none":
        return
    try:
        demos = read_demos(path)
    except DemonstrationError as error:
        Console(stderr=True, soft_wrap=True, emoji=False).print(
            f"the demonstrations are not compared: {error}", highlight=False
        )
        return
    for episode in demos.episodes:
        fits = all(
            name in episode.observations and episode.observations[name].shape[1:] == array.shape
            for name, array in spec.observations.items()
        )
        if fits:
            yield dict(episode.observations)


def stacked(episodes: Iterable[Mapping[str, NDArray[Any]]], frames: int, names: Iterable[str]) -> Iterator[Arrays]:
    """The observations of ``episodes`` one by one, stacked: ``state`` [F * S], ``rgb`` [F, V, H, W, 3]."""
    chosen = list(names)
    for episode in episodes:
        stack = FrameStack(frames)
        for row in range(len(episode[chosen[0]])):
            yield stack.push({name: np.asarray(episode[name][row]) for name in chosen})


class Recorder:
    """A controller of one environment that keeps what it is shown.

    Args:
        controller: acts.
    """

    def __init__(self, controller: Acting) -> None:
        self._controller = controller
        self._seen: list[list[Arrays]] = []
        self.predicted: NDArray[np.float32] | None = None

    def reset(self, which: NDArray[np.bool_]) -> None:
        """Begin an episode."""
        if which.any():
            self._seen.append([])
        self._controller.reset(which)

    def act(self, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The controller's action."""
        self._seen[-1].append({name: np.array(array[0]) for name, array in observation.items()})
        action = self._controller.act(observation)
        self.predicted = self._controller.predicted
        return action

    def episodes(self) -> list[Arrays]:
        """Name -> [T, ...] of each episode."""
        return [{name: np.stack([row[name] for row in rows]) for name in rows[0]} for rows in self._seen if rows]
