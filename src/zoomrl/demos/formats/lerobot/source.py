"""The episodes of a LeRobot data set of any version: rows of tables of pyarrow, images in them or in videos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.images import Frames, decode, one_by_one
from zoomrl.demos.formats.lerobot import layout
from zoomrl.demos.formats.lerobot.columns import OUTCOME
from zoomrl.demos.formats.lerobot.files import Tables
from zoomrl.demos.formats.lerobot.info import Info
from zoomrl.demos.formats.lerobot.listed import Layout, Listed
from zoomrl.demos.formats.lerobot.tasks import read_tasks
from zoomrl.demos.formats.lerobot.video import read_frames
from zoomrl.demos.formats.lists import check_even
from zoomrl.demos.formats.output import Provenance
from zoomrl.demos.recorded import truth
from zoomrl.demos.store.limits import IMAGES, NUMBERS, VIDEO, Budget, regular
from zoomrl.files import parse_json

_COPIES = 3
"""Copies of an episode's rows besides those kept: as they are read, in order, and as arrays."""
_TASK = "task_index"


@dataclass(frozen=True)
class Columns:
    """The columns that are taken, in the order of joining."""

    actions: list[str]
    state: list[str]
    cameras: list[str]


class Source:
    """The files of a data set, of which the last table stays open.

    Args:
        root: of the data set.
        info: its ``info.json``.
        places: where its episodes lie.
        columns: what is taken of them.
        texts: ``task_index`` -> text.
        own: what zoomrl wrote besides.
        assembly: what becomes of them.
    """

    def __init__(
        self,
        root: Path,
        info: Info,
        places: Layout,
        columns: Columns,
        texts: Mapping[int, str],
        own: Provenance | None,
        assembly: Assembly,
    ) -> None:
        self._root, self._info, self._places, self._columns = root.resolve(), info, places, columns
        self._texts, self._own, self._faults = texts, own is not None, assembly.faults
        self._sized, self._image_bytes = assembly.sized, 3 * math.prod(assembly.image_size)
        self._budget = Budget(_COPIES)
        self._tables = Tables(self._root, self._budget, IMAGES if columns.cameras else NUMBERS)
        self._own_cameras = [layout.IMAGES + name for name in own.spec.cameras] if own else []
        self._open: tuple[Path, Any] | None = None

    def where(self, episode: Listed) -> str:
        """What ``episode`` is called in messages."""
        return f"{self._places.table(episode)}: episode {episode.number}"

    def episode(self, episode: Listed, own: dict[str, Any] | None) -> Raw:
        """``episode``, with what zoomrl wrote of it where it did.

        Raises:
            ValueError: something is missing or too large. Any error of pyarrow or PyAV for a damaged file.
        """
        file = self._table(episode)
        present = set(file.schema_arrow.names)
        wanted = {*self._columns.actions, *self._columns.state, *(set(self._columns.cameras) & present)}
        table = self._rows(file, episode, {*wanted, *({*OUTCOME, _TASK} & present)})
        rewards, solved, done = (
            np.ravel(self._numbers(table, name)) if name in table.column_names else None for name in OUTCOME
        )
        actions = [self._numbers(table, name) for name in self._columns.actions]
        parts = [self._parts(table, key) for key in self._columns.state]
        raw = Raw(
            actions=actions[0] if len(actions) == 1 else np.concatenate(actions, axis=1),
            state={name: part for column in parts for name, part in column.items()},
            views=self._views(table, episode, own),
            rewards=rewards,
            success=None if solved is None else truth(solved, "next.success"),
            meta={"episode": episode.number, **self._tasks(table, episode)},
            done=None if done is None else bool(done[-1]),
            solved_last=None if solved is None else bool(solved[-1]),
        )
        return raw if own is None else self._with_own(raw, own)

    def tasks(self, episode: Listed) -> list[str]:
        """The texts of the tasks of ``episode``: of the list of episodes, or else of its table."""
        if episode.tasks:
            return list(episode.tasks)
        file = self._table(episode)
        if _TASK not in file.schema_arrow.names:
            return []
        return list(self._tasks(self._rows(file, episode, {_TASK}), episode)["tasks"])

    def _tasks(self, table: Any, episode: Listed) -> dict[str, Any]:
        indices = np.ravel(self._numbers(table, _TASK)) if _TASK in table.column_names else None
        tasks, runs, lost = read_tasks(episode.tasks, indices, self._texts)
        if lost and self._texts:
            numbers = ", ".join(map(str, lost[:5]))
            self._faults.append(f"{self.where(episode)}: kept, but no text is given for its task_index {numbers}")
        return {"tasks": tasks, **({_TASK: runs} if runs else {})}

    def _inside(self, part: str) -> Path:
        """A file that the data set names, which must lie within it."""
        path = (self._root / part).resolve()
        if not path.is_relative_to(self._root):
            raise ValueError(f"it names {part}, outside the data set")
        return regular(path, self._root)

    def _table(self, episode: Listed) -> Any:
        path = self._inside(self._places.table(episode))
        if self._open is None or self._open[0] != path:
            self._open = path, self._tables.open(path)
        return self._open[1]

    def _rows(self, file: Any, episode: Listed, names: set[str]) -> Any:
        """The rows of one episode, in order. Only the row groups that may hold it are read."""
        number = episode.number
        groups = [g for g in range(file.num_row_groups) if _may_hold(file.metadata.row_group(g), number)]
        wanted = sorted({*names, "episode_index", "frame_index"})
        table = self._tables.read(file, wanted, groups, number).sort_by("frame_index")
        order = np.ravel(self._numbers(table, "frame_index"))
        if len(order) != episode.length or not np.array_equal(order, np.arange(len(order))):
            raise ValueError(f"it holds {len(order)} frames of the {episode.length} promised")
        return table

    def _numbers(self, table: Any, key: str) -> NDArray[Any]:
        """A column of numbers or of arrays of them as [T, D]."""
        import pyarrow as pa

        column = table[key].combine_chunks()
        flat = column.storage if isinstance(column.type, pa.ExtensionType) else column
        if flat.null_count:
            raise ValueError(f"{key} lacks {flat.null_count} entries")
        while pa.types.is_nested(flat.type):
            check_even(flat)
            flat = flat.flatten()
        length = math.prod(self._info.features[key].shape) if key in self._info.features else 1
        if len(flat) != len(column) * length:
            raise ValueError(f"{key} must have {length} numbers per frame, got {len(flat)} in {len(column)} frames")
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), length)

    def _parts(self, table: Any, key: str) -> dict[str, NDArray[Any]]:
        """A column by the names of its dimensions; whole where it has none, or where our own spec names them."""
        column = self._numbers(table, key)
        names = None if self._own else self._info.features[key].names
        groups = layout.dimension_groups(names, column.shape[1])
        return {f"{key}[{name}]": column[:, part] for name, part in groups.items()} or {key: column}

    def _views(self, table: Any, episode: Listed, own: dict[str, Any] | None) -> list[Frames]:
        cameras = self._columns.cameras
        views = [self._images(table, key, episode) for key in cameras]
        if own is None or not set(cameras) <= set(self._own_cameras):
            return views
        lasts = [self._sized(key)(decode(own["rgb"][self._own_cameras.index(key)])[None]) for key in cameras]
        return [view.followed_by(last) for view, last in zip(views, lasts, strict=True)]

    def _images(self, table: Any, key: str, episode: Listed) -> Frames:
        count = len(table)
        self._budget.add("its images", count * self._image_bytes, 0, part=str(episode.number))
        if key in table.column_names:
            self._budget.check()
            cells = (cell.as_py() for chunk in table[key].chunks for cell in chunk)
            named = ((f"frame {n}", self._image(cell)) for n, cell in enumerate(cells))
            return one_by_one(named, count, self._sized(key))
        video = self._places.video(episode, key)
        path = self._inside(video.path)
        self._budget.file(path, VIDEO)
        self._budget.check()

        def read_into(out: NDArray[np.uint8]) -> None:
            try:
                read_frames(path, video.start, self._info.fps, self._sized(key), out)
            except (OSError, ValueError, IndexError, RuntimeError) as error:
                raise ValueError(f"{path.relative_to(self._root)}: {reason(error)}") from error

        return Frames(count, read_into)

    def _with_own(self, raw: Raw, own: dict[str, Any]) -> Raw:
        """``raw`` with its last observation and everything else that LeRobot has no place for."""
        if list(raw.state) == [layout.STATE]:
            last = np.asarray([own["state"]], np.float32)
            raw.state = {layout.STATE: np.concatenate([raw.state[layout.STATE], last])}
        for name in ("terminated", "truncated", "success", "is_demo"):
            setattr(raw, name, bool(own[name]))
        raw.seed, raw.meta = int(own["seed"]), parse_json(own["meta"], "meta")
        return raw

    def _image(self, cell: dict[str, Any]) -> NDArray[np.uint8]:
        if cell["bytes"]:
            return decode(cell["bytes"])
        path = self._inside(cell["path"])
        self._budget.file(path, IMAGES)
        return decode(path.read_bytes())


def _may_hold(group: Any, episode: int) -> bool:
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == "episode_index" and column.statistics is not None:
            return bool(column.statistics.min <= episode <= column.statistics.max)
    return True
