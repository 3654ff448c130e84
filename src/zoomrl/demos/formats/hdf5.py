"""HDF5 files of others, also those that were cut short.

HDF5 refuses a file that is shorter than its header says. Much of it may be whole all the same, so here the missing end
reads as zeros, and every array that reaches into it is refused by name.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_AT = {0: 40, 1: 44, 2: 28, 3: 28}
"""Version of the header -> where it keeps the length of the file."""


class Padded(io.RawIOBase):
    """A file that goes on with zeros up to ``size`` bytes."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb")
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(0, self._size - self._at))
        self._file.seek(self._at)
        found = self._file.read(count)
        view[:count] = found + bytes(count - len(found))
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def open_hdf5(path: Path) -> tuple[Any, int, list[str]]:
    """The open file, which is to be closed; how many of its bytes exist; and a line that says so when it was cut short.

    Raises:
        OSError: when it is no HDF5 file, or not enough of one.
    """
    import h5py

    there = path.stat().st_size
    size = _declared_size(path)
    if size <= there:
        return h5py.File(path, "r"), there, []
    fault = f"{path.name}: the file was cut: {there} of {size} bytes are there"
    return h5py.File(Padded(path, size), "r"), there, [fault]


def load(dataset: Any, there: int) -> NDArray[Any]:
    """The array in ``dataset``, of a file of which ``there`` bytes exist.

    Raises:
        ValueError: for a group, or an array that is not all there.
    """
    if not hasattr(dataset, "dtype"):
        raise ValueError(f"{dataset.name} must be an array, got a group")
    check_whole(dataset, there)
    return np.asarray(dataset[()])


def check_whole(dataset: Any, there: int) -> None:
    """ValueError when ``dataset`` reaches beyond the first ``there`` bytes of its file."""
    if _end(dataset) > there:
        raise ValueError(f"{dataset.name} lies beyond the end of the file, which was cut after {there} bytes")


def _end(dataset: Any) -> int:
    stored = dataset.id
    if dataset.chunks is None:
        offset = stored.get_offset()  # None for arrays in the header, and for empty ones
        return 0 if offset is None else offset + stored.get_storage_size()
    chunks = [stored.get_chunk_info(index) for index in range(stored.get_num_chunks())]
    return max((chunk.byte_offset + chunk.size for chunk in chunks), default=0)


def _declared_size(path: Path) -> int:
    with path.open("rb") as file:
        head = file.read(64)
    at = _END_AT.get(head[8]) if head.startswith(_SIGNATURE) and len(head) == 64 else None
    return 0 if at is None else int.from_bytes(head[at : at + 8], "little")
