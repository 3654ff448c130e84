"""Minari's sets in Arrow: ``data/<number>/part-0.arrow``, one record batch of T + 1 rows, next to its metadata.

Batches must not be packed (Minari packs none): how much memory a packed one takes is known only when it is there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.formats.images import Frames, Sized, decode, in_slices, one_by_one
from zoomrl.demos.formats.lists import check_even
from zoomrl.demos.recorded import SUCCESS_NAMES, known_seed, truth
from zoomrl.demos.store import layout
from zoomrl.demos.store.limits import IMAGES, NUMBERS, Budget, array_size, regular
from zoomrl.demos.store.reader import derive_spec
from zoomrl.errors import DemonstrationError, import_optional
from zoomrl.files import read_json

FORMAT = "arrow"
"""What the metadata call the format."""
_PREFIX = 8
"""Bytes of a file before its stream of messages: a name and padding."""
_COMPRESSION = 3
"""Place of that field in a RecordBatch (format/Message.fbs of Arrow)."""


def data_format(path: Path) -> str:
    """What the metadata of the set at ``path`` say; "hdf5" where they say nothing or are not there."""
    file = layout.data_dir(path) / layout.METADATA_FILE
    return str(read_json(file, error=DemonstrationError).get("data_format", "hdf5")) if file.is_file() else "hdf5"


class ArrowSet:
    """The set at a path.

    Attributes:
        spec: as :func:`~zoomrl.demos.store.reader.derive_spec` derives it.
        faults: one line for each part of it that has no place here.
        numbers: of the episodes that are there, in order.

    Raises:
        DemonstrationError: its metadata cannot be read, or no episode is there.
        MissingDependencyError: without pyarrow.
    """

    def __init__(self, path: Path) -> None:
        self._root = path
        self._arrow = import_optional("pyarrow", "lerobot")
        self._ipc = import_optional("pyarrow.ipc", "lerobot")
        self._data = layout.data_dir(path)
        file = self._data / layout.METADATA_FILE
        try:
            metadata = read_json(regular(file, path), error=DemonstrationError)
            self.spec, others = derive_spec(metadata)
        except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DemonstrationError(f"{file} cannot be read as that of a Minari data set: {error}") from error
        self.faults = [f"{file}: observation {', '.join(others)} must be a Box space"] if others else []
        found = [int(one.name) for one in self._data.iterdir() if one.name.isdecimal() and one.is_dir()]
        self.numbers = sorted(found)
        missing = int(metadata.get("total_episodes", len(found))) - len(found)
        if missing > 0:
            self.faults.append(f"{self._data}: {missing} episodes are missing")
        if not found:
            raise DemonstrationError(f"{self._data} holds no episode: 0/part-0.arrow and others are expected")
        self._budget = Budget()

    def episode(self, number: int, state: Sequence[str], cameras: Mapping[str, Sized], image_bytes: int) -> Any:
        """Arrays and facts of one episode, as keyword arguments of :class:`~zoomrl.demos.formats.assemble.Raw`.

        Args:
            number: of the episode.
            state: names of the observations that become the state.
            cameras: names of those that are images, and what makes each those that are kept.
            image_bytes: of one image that is kept.
        """
        folder = self._data / str(number)
        files = sorted(folder.glob("*.arrow"))
        if not files:
            raise ValueError(f"{folder.name} holds no part-0.arrow")
        table = self._table(files, NUMBERS if not cameras else IMAGES)
        steps = len(table) - 1
        told = self._told(folder)
        if told.get("total_steps", steps) != steps:
            raise ValueError(f"it has {steps} steps, and its metadata promise {told['total_steps']}")
        seen = {name: self._column(table, name) for name in (*cameras, *state)}
        for name in state:
            size = array_size((steps + 1, *self.spec.observations[name].shape), np.dtype(np.float32))
            self._budget.add(name, size.kept, 0, part=str(number))
        self._budget.add("its images", len(cameras) * (steps + 1) * image_bytes, 0, IMAGES, part=str(number))
        self._budget.check()
        terminated = bool(_flags(table, "terminations")[steps - 1])
        return {
            "actions": self._numbers(table.column("actions"), self.spec.action.shape)[:steps],
            "state": {name: self._numbers(seen[name], self.spec.observations[name].shape) for name in state},
            "views": [self._frames(seen[name], name, sized) for name, sized in cameras.items()],
            "rewards": self._numbers(table.column("rewards"), ())[:steps],
            "terminated": terminated,
            "truncated": bool(_flags(table, "truncations")[steps - 1]) or not terminated,
            "success": _success(table),
            "seed": known_seed(told.get("seed", -1)),
            "meta": {"episode": number},
        }

    def _told(self, folder: Path) -> dict[str, Any]:
        file = folder / layout.METADATA_FILE
        return read_json(regular(file, self._root), error=DemonstrationError) if file.is_file() else {}

    def _table(self, files: Sequence[Path], ratio: float) -> Any:
        """The record batches of ``files``, whose columns lie in the files, as a table of one chunk."""
        batches = []
        for file in files:
            content = self._arrow.memory_map(str(regular(file, self._root))).read_buffer()
            self._budget.file(file, ratio)
            stream = content.slice(_PREFIX)
            for message in self._ipc.MessageReader.open_stream(self._arrow.BufferReader(stream)):
                if message.type not in ("schema", "record batch"):
                    raise ValueError(f"{file.name} holds a {message.type}; record batches of numbers are read")
                if message.type == "record batch" and _is_packed(bytes(message.metadata)):
                    raise ValueError(f"{file.name} is packed: write it again without compression, as Minari does")
            batches += list(self._ipc.open_stream(self._arrow.BufferReader(stream)))
        table = self._arrow.Table.from_batches(batches)
        table.validate(full=True)
        if len(batches) != 1:
            size = sum(file.stat().st_size for file in files)
            if table.nbytes > size:
                raise ValueError(f"its batches hold {table.nbytes:,} bytes, more than the {size:,} of the files")
            table = table.combine_chunks()
        return table

    def _column(self, table: Any, name: str) -> Any:
        """The observation whose path in the space is ``name``."""
        column = table.column("observations").chunk(0)
        for part in () if name == UNNAMED and not _is_struct(column) else name.split("/"):
            column = column.field(part)
        return column

    def _numbers(self, column: Any, shape: Sequence[int]) -> NDArray[Any]:
        """A column as [rows, *shape]."""
        column = column.chunk(0) if hasattr(column, "chunk") else column
        rows = len(column)
        if column.null_count:
            raise ValueError(f"a column lacks {column.null_count} entries")
        flat = column.flatten() if shape and hasattr(column, "flatten") else column
        check_even(column)
        if len(flat) != rows * int(np.prod(shape)):
            raise ValueError(f"a column must have the shape {list(shape)} per row, got {len(flat)} numbers in {rows}")
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, *shape)

    def _frames(self, column: Any, name: str, sized: Sized) -> Frames:
        if not self._arrow.types.is_binary(column.type):
            return in_slices(self._numbers(column, self.spec.observations[name].shape), sized)

        def images() -> Iterator[tuple[str, NDArray[np.uint8]]]:
            for index in range(len(column)):
                yield f"{name}, frame {index}", decode(column[index].as_py() or b"")

        return one_by_one(images(), len(column), sized)


def _is_struct(column: Any) -> bool:
    return hasattr(column, "field") and column.type.num_fields > 0 and str(column.type).startswith("struct")


def _flags(table: Any, name: str) -> NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())


def _success(table: Any) -> bool | None:
    """What ``infos`` say of the outcome; None without."""
    if "infos" not in table.column_names or not _is_struct(infos := table.column("infos").chunk(0)):
        return None
    names = [infos.type.field(index).name for index in range(infos.type.num_fields)]
    told = [truth(infos.field(name).to_numpy(zero_copy_only=False), name) for name in SUCCESS_NAMES if name in names]
    return any(told) if told else None


def _is_packed(message: bytes) -> bool:
    """Whether the record batch that a message describes is packed: whether its field of that name is there.

    The message is a FlatBuffer: tables, each with the place of a list of where its fields lie.
    """
    try:
        root = struct.unpack_from("<I", message)[0]
        header = _field(message, root, 2)
        batch = header + struct.unpack_from("<I", message, header)[0]
        return bool(_field(message, batch, _COMPRESSION))
    except struct.error as error:
        raise ValueError(f"a message of the file is damaged: {error}") from error


def _field(message: bytes, table: int, index: int) -> int:
    """Where field ``index`` of the table at ``table`` lies; 0 where it is not there."""
    listed = table - struct.unpack_from("<i", message, table)[0]
    size = struct.unpack_from("<H", message, listed)[0]
    place = 4 + 2 * index
    offset = struct.unpack_from("<H", message, listed + place)[0] if place + 2 <= size else 0
    return table + offset if offset else 0
