"""Long arrays that hold all episodes one after the other, and where each ends: what D4RL, OGBench and zarr share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.kinds import Array
from zoomrl.demos.store.limits import FREE, IMAGES, NUMBERS, Budget, array_size
from zoomrl.errors import DemonstrationError


class Long(Protocol):
    """An array [N, ...] in a file, of which slices of the first axis are read."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an entry."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""
        ...

    @property
    def stored(self) -> int:
        """Bytes that it takes of the file."""
        ...

    @property
    def piece(self) -> int:
        """Rows that are unpacked together, at least 1."""
        ...

    def __getitem__(self, rows: slice) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Rows:
    """The rows ``first`` to ``end`` of a long array, which are read when they are sliced."""

    array: Long
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an entry."""
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        """Of all rows."""
        return len(self) * row_bytes(self.array)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, end, _ = rows.indices(len(self))
        return self.array[self.first + first : self.first + end]

    def load(self) -> NDArray[Any]:
        """All of them."""
        return self[:]


def row_bytes(array: Long) -> int:
    """Bytes of one row."""
    return int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize


def declared(arrays: Mapping[str, Long]) -> dict[str, Array]:
    """What each array declares."""
    return {name: Array(array.dtype, array.shape) for name, array in arrays.items()}


def of_length(arrays: Mapping[str, Long], count: int) -> dict[str, Long]:
    """Those of ``arrays`` that have ``count`` rows."""
    return {name: array for name, array in arrays.items() if array.shape and array.shape[0] == count}


def check_piece(name: str, array: Long) -> None:
    """ValueError where unpacking one piece of ``array`` takes more memory than what it stores makes likely."""
    size = array.piece * row_bytes(array)
    if size > max(FREE, IMAGES * array.stored, NUMBERS * array.shape[0] * row_bytes(array)):
        raise ValueError(f"{name} unpacks {size:,} bytes at once, of which the file stores {array.stored:,}")


@contextmanager
def within(budget: Budget, path: Path) -> Iterator[None]:
    """What is counted inside must be believed: DemonstrationError, which names ``path``, where it is not."""
    try:
        yield
        budget.check()
    except ValueError as error:
        raise DemonstrationError(f"{path}: {error}") from error


def count_whole(budget: Budget, arrays: Mapping[str, Long]) -> None:
    """Count arrays that are read as a whole, and kept; ValueError as :func:`check_piece`."""
    for name, array in arrays.items():
        check_piece(name, array)
        size = array_size(array.shape, array.dtype)
        budget.add(name, size.kept, array.stored, size.ratio, read=max(size.read, array.piece * row_bytes(array)))


def count_sliced(
    budget: Budget, vectors: Mapping[str, Long], images: Mapping[str, Long], longest: int, size: tuple[int, int]
) -> None:
    """Count arrays of which one episode is read at a time; ValueError as :func:`check_piece`.

    Args:
        budget: of the set.
        vectors: kept as they are.
        images: kept at ``size``.
        longest: rows of the longest episode.
        size: height and width of the images that are kept.
    """
    for name, array in (*vectors.items(), *images.items()):
        check_piece(name, array)
    for name, array in vectors.items():
        whole = array_size(array.shape, array.dtype)
        one = array_size((longest, *array.shape[1:]), array.dtype)
        read = one.read + array.piece * row_bytes(array)
        budget.add(name, whole.kept, array.stored, whole.ratio, read=read)
    for name, array in images.items():
        image = size[0] * size[1] * 3
        read = longest * image + array.piece * row_bytes(array)
        budget.add(name, array.shape[0] * image, array.stored, IMAGES, read=read)


def ranges(ends: NDArray[np.bool_]) -> tuple[list[tuple[int, int]], int]:
    """First row and end of each episode, where ``ends`` [N] marks the last rows; and how many rows come after them.

    The rows after the last mark are an episode of their own.
    """
    stops = (np.flatnonzero(ends) + 1).tolist()
    rest = len(ends) - (stops[-1] if stops else 0)
    if rest:
        stops.append(len(ends))
    return list(zip([0, *stops[:-1]], stops, strict=True)), rest


def checked_ends(ends: NDArray[Any], count: int, what: str) -> list[tuple[int, int]]:
    """First row and end of each episode, of which ``ends`` [K] lists the ends in ``count`` rows.

    Raises:
        DemonstrationError: it is no list of whole numbers that never fall, up to ``count``.
    """
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or not len(ends):
        raise DemonstrationError(f"{what} must be a list of whole numbers, got {ends.dtype}{list(ends.shape)}")
    stops: Sequence[int] = [0, *(int(end) for end in ends)]
    if any(end < first for first, end in itertools.pairwise(stops)) or stops[-1] > count:
        raise DemonstrationError(
            f"{what} must never fall, and reach the {count:,} rows at most, got {list(stops[1:6])} ..."
        )
    return list(itertools.pairwise(stops))
