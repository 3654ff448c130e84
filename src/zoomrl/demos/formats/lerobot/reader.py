"""Reading a LeRobot v3 data set: tables of pyarrow, images in them or in videos."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import MAX_HZ, Imported, ImportOptions
from zoomrl.demos.formats.images import Frames, decode, one_by_one
from zoomrl.demos.formats.lerobot import layout
from zoomrl.demos.formats.lerobot.files import Tables, filled
from zoomrl.demos.formats.lerobot.video import read_frames
from zoomrl.demos.formats.output import Provenance, read_provenance
from zoomrl.demos.outcome import truth
from zoomrl.demos.store.limits import IMAGES, NUMBERS, VIDEO, Budget, regular
from zoomrl.errors import DemonstrationError
from zoomrl.files import parse_json, read_json

_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_EPISODE_COLUMNS = ("episode_index", "length", "tasks", "data/", "videos/")
_COPIES = 3
"""Copies of an episode's rows besides those kept: as they are read, in order, and as arrays."""
_OUTCOME = ("next.reward", "next.success", "next.done")


def read(path: Path, options: ImportOptions) -> Imported:
    """Read a data set in the order of its episodes.

    ``state`` joins ``observation.state`` and ``observation.environment_state``, or without these all floating-point
    vectors ``observation.*`` in alphabetical order; unless ``options.state`` names some or the environment's entries
    are there by name. Where ``info.json`` names the dimensions of a column, its entries are those. Cameras may be named
    with or without ``observation.images.``.

    Success is ``next.success``, or a ``next.reward`` of 1 among 0 and 1. ``next.done`` flags the ends of recordings
    too: it makes no success, and a terminal state only with a success at that step.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
        MissingDependencyError: without pyarrow, or for videos without av.
    """
    layout.parquet()
    info = _info(path)
    features: dict[str, Any] = info["features"]
    own, rows, faults = _own(path)
    rate = float(info["fps"])
    if not 0 < rate < MAX_HZ:
        raise DemonstrationError(f"{path / layout.INFO} must give frames per second in fps, got {info['fps']!r:.40}")
    assembly = Assembly(
        "lerobot", path, options, own=own.spec if own else None, own_state=layout.STATE, control_hz=rate
    )
    assembly.faults.extend(faults)
    if own:
        assembly.meta["recorded"] = own.meta
    cameras = {k.removeprefix(layout.IMAGES): k for k, f in features.items() if f["dtype"] in ("image", "video")}
    vectors = [k for k, f in features.items() if f["dtype"] in _NUMBERS and len(f["shape"]) == 1]
    observed = sorted(k for k in vectors if k.startswith("observation."))
    floating = [k for k in observed if features[k]["dtype"].startswith("float")]
    usual = [k for k in (layout.STATE, layout.ENVIRONMENT) if k in floating]
    views = assembly.choose_cameras(cameras)
    state = assembly.choose_state(vectors, usual or floating, observed)
    source = _Source(path, info, views, state, own, assembly)
    listed, damaged = _episodes(path)
    assembly.faults.extend(damaged)
    if len(listed) < int(info["total_episodes"]):
        missing = int(info["total_episodes"]) - len(listed)
        assembly.faults.append(f"{missing} of {info['total_episodes']} episodes are not in the table of episodes")
    for entry in listed:
        number = entry["episode_index"]
        assembly.add(f"{source.file(entry)}: episode {number}", partial(source.episode, entry, rows.get(number)))
    return assembly.result()


class _Source:
    """The files of a data set, of which the last one stays open."""

    def __init__(
        self,
        root: Path,
        info: dict[str, Any],
        cameras: list[str],
        state: list[str],
        own: Provenance | None,
        assembly: Assembly,
    ) -> None:
        self._root, self._info = root.resolve(), info
        self._own = own is not None
        self._sized, self._image_bytes = assembly.sized, 3 * math.prod(assembly.image_size)
        self._budget = Budget(_COPIES)
        self._tables = Tables(self._root, self._budget, IMAGES if cameras else NUMBERS)
        self._own_cameras = [layout.IMAGES + name for name in own.spec.cameras] if own else []
        self._cameras, self._state = cameras, state
        self._open: tuple[Path, Any] | None = None

    def file(self, entry: dict[str, Any]) -> str:
        """The table that holds an episode, below the root."""
        indices = {name: int(entry[f"data/{name}"]) for name in ("chunk_index", "file_index")}
        return filled(self._info["data_path"], **indices)

    def episode(self, entry: dict[str, Any], own: dict[str, Any] | None) -> Raw:
        table = self._rows(entry)
        rewards, solved, done = (
            np.ravel(self._numbers(table, name)) if name in table.column_names else None for name in _OUTCOME
        )
        parts = [self._parts(table, key) for key in self._state]
        raw = Raw(
            actions=self._numbers(table, layout.ACTION),
            state={name: part for column in parts for name, part in column.items()},
            views=self._views(table, entry, own),
            rewards=rewards,
            success=None if solved is None else truth(solved, "next.success"),
            meta={"episode": int(entry["episode_index"]), "tasks": list(entry.get("tasks") or [])},
            done=None if done is None else bool(done[-1]),
            solved_last=None if solved is None else bool(solved[-1]),
        )
        return raw if own is None else self._with_own(raw, own)

    def _inside(self, part: str) -> Path:
        """A file that the data set names, which must lie within it."""
        path = (self._root / part).resolve()
        if not path.is_relative_to(self._root):
            raise ValueError(f"it names {part}, outside the data set")
        return regular(path)

    def _rows(self, entry: dict[str, Any]) -> Any:
        """The rows of one episode, in order. Only the row groups that may hold it are read."""
        path, number = self._inside(self.file(entry)), int(entry["episode_index"])
        if self._open is None or self._open[0] != path:
            self._open = path, self._tables.open(path)
        file = self._open[1]
        present = set(file.schema_arrow.names)
        wanted = {layout.ACTION, "episode_index", "frame_index", *self._state, *(set(self._cameras) & present)}
        wanted |= set(_OUTCOME) & present
        groups = [g for g in range(file.num_row_groups) if _may_hold(file.metadata.row_group(g), number)]
        table = self._tables.read(file, sorted(wanted), groups, number).sort_by("frame_index")
        order = np.ravel(self._numbers(table, "frame_index"))
        if len(order) != int(entry["length"]) or not np.array_equal(order, np.arange(len(order))):
            raise ValueError(f"it holds {len(order)} frames of the {entry['length']} promised")
        return table

    def _numbers(self, table: Any, key: str) -> NDArray[Any]:
        """A column of numbers or of vectors as [T, D]."""
        import pyarrow as pa

        column = table[key].combine_chunks()
        if column.null_count:
            raise ValueError(f"{key} lacks {column.null_count} entries")
        flat = column if not pa.types.is_nested(column.type) else column.flatten()
        length = int(self._info["features"][key]["shape"][0])
        if len(flat) != len(column) * length:
            raise ValueError(f"{key} must have {length} numbers per frame, got {len(flat)} in {len(column)} frames")
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(column), length)

    def _parts(self, table: Any, key: str) -> dict[str, NDArray[Any]]:
        """A column by the names of its dimensions; whole where it has none, or where our own spec names them."""
        column = self._numbers(table, key)
        names = None if self._own else self._info["features"][key].get("names")
        groups = layout.dimension_groups(names, column.shape[1])
        return {f"{key}[{name}]": column[:, part] for name, part in groups.items()} or {key: column}

    def _views(self, table: Any, entry: dict[str, Any], own: dict[str, Any] | None) -> list[Frames]:
        views = [self._images(table, key, entry) for key in self._cameras]
        if own is None or not set(self._cameras) <= set(self._own_cameras):
            return views
        lasts = [self._sized(key)(decode(own["rgb"][self._own_cameras.index(key)])[None]) for key in self._cameras]
        return [view.followed_by(last) for view, last in zip(views, lasts, strict=True)]

    def _images(self, table: Any, key: str, entry: dict[str, Any]) -> Frames:
        count = len(table)
        self._budget.add("its images", count * self._image_bytes, 0, part=str(entry["episode_index"]))
        if key in table.column_names:
            self._budget.check()
            cells = (cell.as_py() for chunk in table[key].chunks for cell in chunk)
            named = ((f"frame {n}", self._image(cell)) for n, cell in enumerate(cells))
            return one_by_one(named, count, self._sized(key))
        place = {name: entry[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index", "from_timestamp")}
        indices = {name: int(place[name]) for name in ("chunk_index", "file_index")}
        path = self._inside(filled(self._info["video_path"], video_key=key, **indices))
        self._budget.file(path, VIDEO)
        self._budget.check()

        def read_into(out: NDArray[np.uint8]) -> None:
            try:
                read_frames(path, float(place["from_timestamp"]), float(self._info["fps"]), self._sized(key), out)
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


def _info(path: Path) -> dict[str, Any]:
    file = path / layout.INFO
    try:
        info = read_json(regular(file, path), error=DemonstrationError)
        version = str(info["codebase_version"])
        if not version.startswith("v3."):
            raise ValueError(f"its version is {version}; v3 is read. LeRobot has a script that converts older sets")
        for feature in (*info["features"].values(), info["features"][layout.ACTION]):
            str(feature["dtype"]), len(feature["shape"])
        float(info["fps"]), int(info["total_episodes"]), filled(info["data_path"], chunk_index=0, file_index=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DemonstrationError(f"{file} cannot be read as that of a LeRobot data set ({reason(error)})") from error
    return info


def _episodes(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The table of episodes, in order, and the files of it that cannot be read."""
    listed: list[dict[str, Any]] = []
    faults = []
    tables = Tables(path, Budget())
    for file in sorted(path.glob("meta/episodes/*/*.parquet")):
        try:
            table = tables.open(file)
            names = [name for name in table.schema_arrow.names if name.startswith(_EPISODE_COLUMNS)]
            rows = tables.read(table, names).to_pylist()
            for row, name in product(rows, ("episode_index", "length", "data/chunk_index", "data/file_index")):
                int(row[name])
            listed += rows
        except Exception as error:  # a damaged file makes its parser fail in any way
            faults.append(f"{file.relative_to(path)}: {reason(error)}")
    return sorted(listed, key=lambda entry: int(entry["episode_index"])), faults


def _own(path: Path) -> tuple[Provenance | None, dict[int, dict[str, Any]], list[str]]:
    """Spec and rows that zoomrl added, as far as they are there and can be read."""
    own, rows, faults = None, {}, []
    if not (path / layout.OWN_SPEC).is_file():
        return None, {}, []
    try:
        own = read_provenance(path / layout.OWN_SPEC, path)
    except (DemonstrationError, OSError, ValueError) as error:
        faults.append(f"{layout.OWN_SPEC}: {reason(error)}; bounds and rates are derived instead")
    try:
        tables = Tables(path, Budget())
        table = tables.open(path / layout.OWN_ROWS)
        table = tables.read(table, table.schema_arrow.names)
        rows = {int(row["episode_index"]): row for row in table.to_pylist()}
    except Exception as error:  # a damaged file makes its parser fail in any way
        faults.append(f"{layout.OWN_ROWS}: {reason(error)}; the last observations are lost")
    return own, rows, faults
