"""A set as pages, made one at a time, so that no more than one episode is in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoomrl.control.config import ControlConfig
from zoomrl.control.scaling import ActionScaler, make_scaler
from zoomrl.data.episode import Episode
from zoomrl.demos.store.reader import open_set
from zoomrl.demos.view.grid import Grid
from zoomrl.demos.view.page import INDEX, Link, Place, Row, episode_file, episode_page, index_page, row_of
from zoomrl.errors import ConfigError, DemonstrationError
from zoomrl.files import write_atomically

Range = Literal["env", "demos"]


class SetPages:
    """The pages of an open set.

    Attributes:
        spec, meta: of the set.
        grid: that actions are shown on.
        rows: of all episodes that the file holds.
        shown: numbers of the episodes that have a page.
        faults: what could not be read, one line each.
    """

    def __init__(self, source: Any, levels: int, bins: int, scale: Range, episodes: Sequence[int]) -> None:
        self._source = source
        self.spec, self.meta = source.spec, source.meta
        bounds = self.spec.action
        if bounds.low is None or bounds.high is None:
            raise DemonstrationError(f"the set recorded in {self.spec.id} declares no action bounds")
        # What the metadata promise may be any number; what the file holds is there.
        known = source.numbers
        if unknown := [str(index) for index in episodes if index not in known]:
            raise ConfigError(f"the set holds the episodes {known[0]} to {known[-1]}; there is no {', '.join(unknown)}")
        # Refused before the set is read.
        Grid(levels, bins, ActionScaler(np.asarray(bounds.low), np.asarray(bounds.high), bounds))
        self.rows, extremes = _survey(source)
        self.faults = [*source.faults, *(row.fault for row in self.rows if row.fault)]
        if lacking := max(0, source.total_episodes - len(known)):
            self.faults.append(f"{source.file_path}: {lacking:,} of {source.total_episodes:,} episodes are missing")
        if scale == "demos" and not extremes:
            raise ConfigError("the range of the demonstrations was asked for, and there are none: leave out --range")
        scaler = make_scaler(ControlConfig(action_range=scale), bounds, extremes, self.spec.action_meaning)
        over = "the action bounds" if scale == "env" else "the range of the demonstrations"
        self.grid = Grid(levels, bins, scaler, over)
        wanted = set(episodes or known)
        self.shown = [row.index for row in self.rows if row.index in wanted and not row.fault]

    def index(self, link: Link) -> str:
        """The index, which lists the episodes shown and those that cannot be read."""
        listed = [*self.shown, *(row.index for row in self.rows if row.fault)]
        return index_page(self.spec, self.meta, self.rows, listed, link)

    def episode(self, index: int) -> Episode:
        """One of the episodes shown; DemonstrationError where it cannot be read."""
        found: Episode = self._source.episode(index)
        return found

    def page(self, index: int, link: Link) -> str:
        """The page of one of the episodes shown; DemonstrationError where it cannot be read."""
        at = self.shown.index(index)
        before = self.shown[at - 1] if at else None
        after = self.shown[at + 1] if at + 1 < len(self.shown) else None
        place = Place(index, before, after, len(self.rows), link)
        return episode_page(self.episode(index), self.spec, self.grid, place, self.meta)


@contextmanager
def open_pages(
    path: str | Path, *, levels: int = 3, bins: int = 5, scale: Range = "env", episodes: Sequence[int] = ()
) -> Iterator[SetPages]:
    """The pages of the set at ``path``, while it is open. Of a damaged set, what can be read is shown.

    Args:
        path: folder of the set.
        levels: zoom levels of the grid.
        bins: bins per level.
        scale: what the grid covers, the environment's action bounds or the demonstrations' range.
        episodes: those that have a page; empty for all.

    Raises:
        DemonstrationError: the set cannot be read, or declares no action bounds.
        ConfigError: an episode does not exist, or the grid is none that can be shown.
    """
    with open_set(path, partial=True) as source:
        yield SetPages(source, levels, bins, scale, episodes)


def write_pages(
    pages: SetPages, out: Path, *, overwrite: bool = False, on_page: Callable[[int], None] | None = None
) -> int:
    """Write the index and a page of each episode shown into the folder ``out``; the bytes written.

    Args:
        pages: of a set.
        out: made where it is missing.
        overwrite: replace the pages of another time.
        on_page: called with each episode once its page is written.

    Raises:
        DemonstrationError: there are pages already, or an episode cannot be read.
        OSError: a page cannot be written.
    """
    old = [file for file in out.glob("*.html") if re.fullmatch(r"index\.html|episode_\d+\.html", file.name)]
    if old and not overwrite:
        raise DemonstrationError(f"{out} already holds pages ({old[0].name}); pass --overwrite or another --out")
    out.mkdir(parents=True, exist_ok=True)
    for file in old:
        file.unlink()
    written = 0
    for index in pages.shown:
        written += _write(out / episode_file(index), pages.page(index, str))
        if on_page is not None:
            on_page(index)
    return written + _write(out / INDEX, pages.index(str))


def _write(path: Path, text: str) -> int:
    data = text.encode()
    write_atomically(path, lambda file: file.write(data))
    return len(data)


def _survey(source: Any) -> tuple[list[Row], list[Episode]]:
    """A row for each episode; and the least and the greatest actions of each demonstration."""
    rows: list[Row] = []
    extremes: list[Episode] = []
    for index in source.numbers:
        try:
            episode: Episode = source.episode(index, observed=False)
        except DemonstrationError as error:
            rows.append(Row(index, fault=str(error)))
            continue
        rows.append(row_of(index, episode))
        if episode.is_demo:
            ends = np.stack([episode.actions.min(0), episode.actions.max(0)])
            extremes.append(Episode({}, ends, np.zeros(2, np.float32), True, False, True, is_demo=True))
    return rows, extremes
