"""Arrays in a file of :func:`numpy.savez`, read in slices: each can be larger than the memory."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.npz.file import declared_arrays

_STEP = 1 << 20


class NpzRows:
    """One array of an open file. Rows are read forwards; going back begins anew.

    Args:
        file: the open archive, once :func:`~zoomrl.demos.formats.npz.file.declared_arrays` has examined it.
        name: of the array.
        shape, dtype: as its header declares.
    """

    piece = 1

    def __init__(self, file: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file, self._name = file, name
        self.shape, self.dtype = shape, dtype
        self.stored = file.getinfo(f"{name}.npy").compress_size
        self._row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        self._part: Any = None
        self._at = 0

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, end, _ = rows.indices(self.shape[0])
        end = max(first, end)
        part, at = self._part, self._at
        # After an error it is not known where the next byte comes from.
        self._part = None
        if part is None or first < at:
            part, at = self._begin(), 0
        self._skip(part, (first - at) * self._row)
        content = part.read((end - first) * self._row)
        if len(content) != (end - first) * self._row:
            raise ValueError(f"{self._name} ends before row {end}")
        self._part, self._at = part, end
        return np.frombuffer(content, self.dtype).reshape(end - first, *self.shape[1:])

    def finish(self) -> None:
        """Read to the end, where the archive compares its checksum; zipfile.BadZipFile where it differs.

        Rows that were read before are as they should be only then.
        """
        part, self._part = self._part or self._begin(), None
        while part.read(_STEP):
            pass

    def _begin(self) -> Any:
        part = self._file.open(f"{self._name}.npy")
        version = np.lib.format.read_magic(part)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, fortran, _ = read(part)
        if fortran and len(self.shape) > 1:
            raise ValueError(f"{self._name} is stored column by column; write it with numpy.ascontiguousarray")
        return part

    def _skip(self, part: Any, count: int) -> None:
        while count > 0:
            if not (found := len(part.read(min(count, _STEP)))):
                raise ValueError(f"{self._name} ends before its rows")
            count -= found


def open_rows(file: zipfile.ZipFile, path: Path) -> dict[str, NpzRows]:
    """The arrays of the open archive at ``path``; ValueError for what is no plain array."""
    listed = declared_arrays(path)
    return {name: NpzRows(file, name, shape, dtype) for name, (shape, dtype) in listed.items() if shape}
