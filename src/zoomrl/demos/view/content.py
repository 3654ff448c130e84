"""What a page shows of an episode: which steps, which images, and the numbers as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.view.grid import Grid
from zoomrl.demos.view.images import Sheets, make_sheets, shown_size
from zoomrl.demos.view.markup import plain
from zoomrl.errors import plural
from zoomrl.spec import EnvSpec, StateEntry

MAX_STEPS = 1000
"""Steps of an episode that are shown; of a longer one, every k-th."""
MAX_IMAGES = 250
"""Images of a camera that are shown; of more, every k-th."""
MAX_PIXELS = 30_000_000
"""Pixels in all images of a page."""
MAX_CAMERAS = 8
MAX_NUMBERS = 256
"""Numbers of the observation that are plotted."""
MAX_ACTIONS = 64
"""Action dimensions that are plotted."""
LINES = 8
"""Lines in one plot."""


@dataclass(frozen=True)
class Camera:
    """The images of one view: its name, those shown as places in :attr:`Content.at`, and their sheets."""

    name: str
    frames: tuple[int, ...]
    sheets: Sheets


@dataclass(frozen=True)
class Plot:
    """Some numbers of the observation: the entry's name, which of them, and values [N, steps shown]."""

    name: str
    labels: tuple[str, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Content:
    """What is shown of an episode.

    Attributes:
        steps: agent steps T of the episode.
        at: steps shown, from 0 to T, where only an observation is left.
        cameras: of its images.
        plots: of its other observations.
        actions: [A, shown but the last], in the environment's units.
        cells: the same as cells of the grid's last level.
        unit: the same in [-1, 1].
        rewards: summed from each step shown to the next.
        beyond: steps whose action lies outside the range that the grid covers, per dimension.
        said: what is left out, and by which rule.
    """

    steps: int
    at: tuple[int, ...]
    cameras: tuple[Camera, ...]
    plots: tuple[Plot, ...]
    actions: NDArray[np.float32]
    cells: NDArray[np.int64]
    unit: NDArray[np.float32]
    rewards: NDArray[np.float64]
    beyond: tuple[int, ...]
    said: tuple[str, ...]


def make_content(episode: Episode, spec: EnvSpec, grid: Grid) -> Content:
    """What is shown of ``episode``, recorded under ``spec``."""
    steps, said = len(episode), []
    at = shown_steps(steps)
    if (stride := at[1]) > 1 and steps > MAX_STEPS:
        said.append(
            f"every {ordinal(stride)} of {plural(steps, 'step')} is shown, and the last; rewards are summed between"
        )
    taken = list(at[:-1])
    actions = episode.actions[taken][:, :MAX_ACTIONS]
    everything = episode.actions
    if everything.shape[1] > MAX_ACTIONS:
        said.append(f"the first {MAX_ACTIONS} of {everything.shape[1]:,} action dimensions are shown")
    low, high = grid.scaler.low, grid.scaler.high
    # What rounding adds at a bound is no excess.
    slack = 1e-6 * np.maximum(1.0, high - low)
    beyond = ((everything < low - slack) | (everything > high + slack)).sum(0)
    cameras = tuple(_cameras(episode, spec, at, said))
    plots = tuple(_plots(episode, at, said))
    return Content(
        steps=steps,
        at=at,
        cameras=cameras,
        plots=plots,
        actions=actions.T,
        cells=grid.to_cells(episode.actions[taken])[:, :MAX_ACTIONS].T,
        unit=grid.scaler.to_unit(episode.actions[taken])[:, :MAX_ACTIONS].T,
        rewards=np.add.reduceat(episode.rewards.astype(np.float64), taken),
        beyond=tuple(int(count) for count in beyond[:MAX_ACTIONS]),
        said=tuple(said),
    )


def shown_steps(steps: int) -> tuple[int, ...]:
    """All steps of an episode, or every k-th, so that at most :data:`MAX_STEPS` are left; and what follows the last."""
    return (*range(0, steps, math.ceil(steps / MAX_STEPS)), steps)


def page_data(content: Content, grid: Grid, hz: float) -> dict[str, Any]:
    """The part that a page's script reads, JSON-serialisable."""
    return {
        "steps": content.steps,
        "at": content.at,
        "hz": hz if 0 < hz < math.inf else 0,
        "cameras": [
            {
                "width": camera.sheets.width,
                "height": camera.sheets.height,
                "pitch": camera.sheets.pitch,
                "columns": camera.sheets.columns,
                "rows": camera.sheets.rows,
                "frames": camera.frames,
            }
            for camera in content.cameras
        ],
        "observations": [
            {"name": plain(plot.name), "values": [numbers(line) for line in plot.values]} for plot in content.plots
        ],
        "levels": grid.levels,
        "bins": grid.bins,
        "actions": [numbers(line) for line in content.actions],
        "cells": content.cells.tolist(),
        "rewards": numbers(content.rewards),
    }


def numbers(values: NDArray[Any]) -> list[float]:
    """Seven digits of each value: what float32 can tell apart, but for its last bit."""
    return [float(f"{value:.7g}") for value in values.tolist()]


def _cameras(episode: Episode, spec: EnvSpec, at: Sequence[int], said: list[str]) -> Iterator[Camera]:
    found = list(views(episode, spec))
    if len(found) > MAX_CAMERAS:
        said.append(f"the first {MAX_CAMERAS} of {len(found):,} views are shown")
        found = found[:MAX_CAMERAS]
    pixels = sum(math.prod(shown_size(*images.shape[1:3])) for _, images in found)
    if not pixels:
        return
    most = max(2, min(MAX_IMAGES, MAX_PIXELS // pixels))
    stride = math.ceil((len(at) - 1) / (most - 1))
    frames = (*range(0, len(at) - 1, stride), len(at) - 1)
    if stride > 1:
        said.append(f"every {ordinal(stride)} step shown has an image of its own; the others show the one before")
    large = [name for name, images in found if shown_size(*images.shape[1:3]) != images.shape[1:3]]
    if large:
        said.append(f"shrunk to be shown: the images of {', '.join(map(plain, large))}")
    for name, images in found:
        yield Camera(name, frames, make_sheets(images, [at[frame] for frame in frames]))


def views(episode: Episode, spec: EnvSpec) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and images [T + 1, H, W, 3] of each camera; a set that names none has them under that of the observation."""
    for name, array in episode.observations.items():
        if not is_image(array):
            continue
        if array.ndim == 4:
            yield name, array
            continue
        for view in range(array.shape[1]):
            named = name == "rgb" and view < len(spec.cameras)
            yield spec.cameras[view] if named else f"{name} {view}", array[:, view]


def is_image(array: NDArray[Any]) -> bool:
    """Whether an observation [T + 1, ...] holds images: uint8, [H, W, 3] or [V, H, W, 3] at each step."""
    return array.dtype == np.uint8 and array.ndim in (4, 5) and array.shape[-1] == 3 and 0 not in array.shape


def _plots(episode: Episode, at: Sequence[int], said: list[str]) -> Iterator[Plot]:
    left = MAX_NUMBERS
    total = 0
    for name, array in episode.observations.items():
        if is_image(array):
            continue
        if array.ndim > 2:
            said.append(f"not plotted: {plain(name)}, {array.dtype}{list(array.shape[1:])}")
            continue
        rows = array[list(at)].reshape(len(at), -1)
        width = rows.shape[1]
        total += width
        entries = episode.state_entries if name == "state" else ()
        first = 0
        for entry in entries or (StateEntry(UNNAMED if name == "state" else name, width),):
            kept = min(entry.size, left)
            for start in range(0, kept, LINES):
                chosen = range(start, min(start + LINES, kept))
                values = rows[:, [first + column for column in chosen]].astype(np.float64).T
                yield Plot(entry.name, tuple(map(str, chosen)) if entry.size > 1 else ("",), values)
            first, left = first + entry.size, left - kept
    if total > MAX_NUMBERS:
        said.append(f"the first {MAX_NUMBERS} of {total:,} observed numbers are plotted")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ..."""
    tens, ones = number // 10 % 10, number % 10
    return f"{number}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(ones, 'th')}"
