"""HDF5 files of others: opened without following what leads out of them, also those that were cut short.

An HDF5 file can take its arrays from any other file of the computer (external storage, external and soft links, virtual
data sets), and say that it holds more than it does. :func:`open_hdf5` refuses both by name before anything is read, and
what is opened later is examined again on its way out.

HDF5 refuses a file that is shorter than its header says. Much of it may be whole all the same, so here the missing end
reads as zeros, and every array that reaches into it is refused by name.
"""

from __future__ import annotations

import io
import math
import os
import re
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.store.limits import IMAGES, Budget, Size, array_size, regular
from zoomrl.errors import DemonstrationError

MAX_DEPTH = 16
"""Groups within groups that are entered."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_AT = {0: 40, 1: 44, 2: 28, 3: 28}
"""Version of the header -> where it keeps the length of the file."""
_GZIP, _SHUFFLE, _FLETCHER, _LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, 32000
_FILTERS = {_GZIP: "gzip", _SHUFFLE: "shuffle", _FLETCHER: "fletcher32", _LZF: "lzf"}
_GZIP_RATIO, _LZF_RATIO = 1100, 90
"""No packed byte becomes more bytes than that."""
_OUTSIDE = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link into another file"}
_ATTRIBUTE_BYTES = 1 << 20
_SMALL_BYTES = 32 << 20
"""What a chunk may unpack to beyond its size without being looked at."""
_EPISODE = re.compile(r"/(?:demo|episode|traj)_\d+")
_BROKEN = (KeyError, OSError, RuntimeError, ValueError)
"""What h5py makes of a damaged file."""


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


class _Checked:
    """What :class:`CheckedFile` and :class:`CheckedGroup` share: everything that they give out is examined first."""

    def __getitem__(self: Any, name: str) -> Any:
        if not isinstance(name, str):
            raise DemonstrationError(f"{self.name}: a reference is not followed; name what you want")
        place: Any = CheckedGroup(h5py.h5g.open(self.id, b"/")) if name.startswith("/") else self
        for part in [part for part in name.split("/") if part not in ("", ".")]:
            if not isinstance(place, h5py.Group):
                raise KeyError(f"{place.name} is an array and holds no {part!r}")
            found = _open(place.id, part.encode())
            place = CheckedGroup(found) if isinstance(found, h5py.h5g.GroupID) else CheckedArray(found)
        return place

    def __contains__(self: Any, name: str) -> bool:
        above, _, last = name.rstrip("/").rpartition("/")
        place = self.get(above) if above else self
        return isinstance(place, h5py.Group) and bool(place.id.links.exists(last.encode()))

    def get(self: Any, name: str, default: Any = None) -> Any:
        """What is called ``name``; ``default`` where nothing is. Something broken raises."""
        if name not in self:
            return default
        return self[name]

    @property
    def attrs(self: Any) -> _CheckedAttributes:
        return _CheckedAttributes(self)


class CheckedGroup(_Checked, h5py.Group):
    """A group that gives out checked groups and arrays alone."""


class CheckedFile(_Checked, h5py.File):
    """A file that gives out checked groups and arrays alone."""

    there: int
    """Bytes of it that exist."""


class CheckedArray(h5py.Dataset):
    """An array of the file itself. Reading one of another kind, or that unpacks beyond its size, raises ValueError."""

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        self._check()
        return super().__getitem__(args, new_dtype)

    def read_direct(self, *args: Any, **options: Any) -> None:
        """As in h5py."""
        self._check()
        super().read_direct(*args, **options)

    @property
    def attrs(self) -> _CheckedAttributes:
        return _CheckedAttributes(self)

    def _check(self) -> None:
        if not _is_plain(self.dtype, self.shape):
            raise ValueError(f"{self.name} holds {_kind(self.dtype)}; numbers and texts of fixed length are read")
        _check_unpacked(self.id, self.name)


class _CheckedAttributes(h5py.AttributeManager):
    """Attributes of a moderate size."""

    def __getitem__(self, name: str) -> Any:
        found = self.get_id(name)
        size = math.prod(found.shape or ()) * found.get_type().get_size()
        if not _is_plain(found.dtype, found.shape) or size > _ATTRIBUTE_BYTES:
            raise ValueError(f"attribute {name!r} holds {size:,} bytes of {_kind(found.dtype)}; it is not read")
        return super().__getitem__(name)


def open_hdf5(path: Path, counted: bool = True) -> tuple[CheckedFile, int, list[str]]:
    """The open file, which is to be closed; how many of its bytes exist; and a line that says so when it was cut short.

    Args:
        path: of the file.
        counted: hold all that it declares against its size. A reader that takes a part counts that by :func:`count`.

    Raises:
        OSError: when it is no HDF5 file, or not enough of one.
        DemonstrationError: when something in it lies in another file, is reached by two ways, is packed in an unknown
            way, or declares more than the file can hold. Names it.
    """
    try:
        there = regular(path).stat().st_size
    except ValueError as error:
        raise DemonstrationError(str(error)) from error
    size = _declared_size(path)
    cut = size > there
    file = CheckedFile(Padded(path, size) if cut else path, "r")
    file.there = there
    try:
        _survey(file, Budget() if counted else None)
    except (DemonstrationError, ValueError, RuntimeError) as error:
        file.close()
        raise DemonstrationError(f"{path}: {error}") from error
    return file, there, [f"{path.name}: the file was cut: {there} of {size} bytes are there"] if cut else []


def _survey(file: CheckedFile, budget: Budget | None) -> None:
    """Enter every group once. What is broken is passed over: it breaks again when it is asked for.

    h5py's identifiers are used here instead of its objects, which take several times as long.
    """
    seen, stored = {h5py.h5o.get_info(file.id).addr}, 0
    waiting: list[tuple[Any, int]] = [(h5py.h5g.open(file.id, b"/"), 0)]
    while waiting:
        group, depth = waiting.pop()
        try:
            keys = list(group)
        except _BROKEN:
            continue
        for key in keys:
            try:
                part = _open(group, key)
                address = h5py.h5o.get_info(part).addr
                again = address in seen
                seen.add(address)
                if isinstance(part, h5py.h5g.GroupID):
                    if again or depth == MAX_DEPTH:
                        why = "is reached by two names" if again else f"lies deeper than {MAX_DEPTH} groups"
                        raise DemonstrationError(f"{_name(part)} {why}; it is not entered")
                    waiting.append((part, depth + 1))
                    continue
                # Under a second name an array takes memory again, and no room in the file.
                size, declared = 0 if again else _stored(part, file.there), _declared(part)
            except _BROKEN:
                continue
            stored += size
            if stored > file.there:
                raise DemonstrationError(f"the arrays up to {_name(part)} hold more than the file: they overlap")
            if budget:
                name = _name(part)
                episode = _EPISODE.search(name)
                where = name[: episode.end()] if episode else ""
                budget.add(name, declared.kept, size, declared.ratio, where, read=declared.read)
    if budget:
        budget.check()


def _open(group: Any, key: bytes) -> Any:
    """Identifier of the group or array ``key`` directly below ``group``.

    Raises:
        KeyError: there is none, or it is something else.
        DemonstrationError: it leads out of the file, or is packed in a way that is not read.
    """
    if not group.links.exists(key):
        raise KeyError(f"{_name(group)} holds no {key.decode(errors='replace')}")
    kind = group.links.get_info(key).type
    if kind != h5py.h5l.TYPE_HARD:
        raise DemonstrationError(
            f"{_name(group).rstrip('/')}/{key.decode(errors='replace')} is {_OUTSIDE.get(kind, 'an unknown link')}, "
            "which is not followed: it could lead to any file of this computer. Copy the set with its data in one file"
        )
    found = h5py.h5o.open(group, key)
    if isinstance(found, h5py.h5d.DatasetID):
        _check_layout(found)
    elif not isinstance(found, h5py.h5g.GroupID):
        raise KeyError(f"{_name(found)} is neither a group nor an array")
    return found


def _check_layout(found: Any) -> None:
    """DemonstrationError unless the array lies in the file itself, packed in a way that h5py brings along."""
    made = found.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise DemonstrationError(f"{_name(found)} is a virtual data set, made of other files, which are not read")
    if made.get_external_count():
        raise DemonstrationError(f"{_name(found)} keeps its data in another file (external storage), which is not read")
    used = _filters(made)
    packed = [code for code in used if code in (_GZIP, _LZF)]
    after = set(used[used.index(packed[0]) + 1 :]) if packed else set()
    # Other filters are plug-ins: libraries that HDF5 would load and run.
    if not set(used) <= set(_FILTERS) or len(packed) > 1 or not after <= {_FLETCHER}:
        names = ", ".join(_FILTERS.get(code, f"number {code}") for code in used)
        raise DemonstrationError(
            f"{_name(found)} is packed by the filters {names}; gzip or lzf with shuffle before and fletcher32 after "
            "are read. Pack it anew with: h5repack -f GZIP=1"
        )


def _filters(made: Any) -> list[int]:
    return [made.get_filter(index)[0] for index in range(made.get_nfilters())]


def _name(found: Any) -> str:
    return (h5py.h5i.get_name(found) or b"an object without a name").decode(errors="replace")


def _is_plain(dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> bool:
    """Whether its memory is known: numbers, texts of fixed length, or one of free length, which many could share."""
    return dtype.kind in "biufS" or (h5py.check_string_dtype(dtype) is not None and shape == ())


def _kind(dtype: np.dtype[Any]) -> str:
    return "objects" if dtype.kind == "O" else str(dtype)


# ---- what is declared, and what is there -------------------------------------------------------------------


def load(dataset: Any, there: int) -> NDArray[Any]:
    """The array in ``dataset``, of a file of which ``there`` bytes exist.

    Raises:
        ValueError: for a group, or an array that is not all there.
    """
    return np.asarray(checked(dataset, there)[()])


def checked(dataset: Any, there: int) -> Any:
    """``dataset`` itself, to be read part by part; errors as in :func:`load`."""
    if not hasattr(dataset, "dtype"):
        raise ValueError(f"{dataset.name} must be an array, got a group")
    check_whole(dataset, there)
    return dataset


def examined(dataset: Any, there: int) -> Any:
    """``dataset`` itself, whose slices are read without looking at the whole again; errors as in :func:`load`."""
    checked(dataset, there)._check()
    return h5py.Dataset(dataset.id)


def count(budget: Budget, dataset: Any, there: int, part: str, kept: int | None = None) -> None:
    """Count an array of a file, of which ``there`` bytes exist, for the episode ``part``.

    Args:
        budget: of the set.
        dataset: the array.
        there: bytes of its file.
        part: the episode.
        kept: bytes that are kept of it, where they are not its own.
    """
    size = _declared(dataset.id)
    budget.add(
        dataset.name,
        size.kept if kept is None else kept,
        _stored(dataset.id, there),
        size.ratio if kept is None else IMAGES,
        part,
        read=size.read,
    )


def stored_bytes(dataset: Any, there: int) -> int:
    """Bytes of ``dataset`` among the first ``there`` of its file."""
    return _stored(dataset.id, there)


def check_whole(dataset: Any, there: int) -> None:
    """ValueError when ``dataset`` reaches beyond the first ``there`` bytes of its file, or was written in part."""
    pieces = _pieces(dataset.id)
    if max((end for _, end, _ in pieces), default=0) > there:
        raise ValueError(f"{dataset.name} lies beyond the end of the file, which was cut after {there} bytes")
    # HDF5 reads what was never written as zeros.
    if dataset.chunks and dataset.size:
        whole = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        if len(pieces) < whole:
            raise ValueError(f"{dataset.name} was never written in full: it has {len(pieces)} of {whole} chunks")


def _pieces(array: Any) -> list[tuple[tuple[int, ...], int, int]]:
    """Of each stored piece where it begins in the array and ends in the file, and its size there."""
    found: list[tuple[tuple[int, ...], int, int]] = []
    if array.get_create_plist().get_layout() == h5py.h5d.CHUNKED:
        array.chunk_iter(lambda chunk: found.append((chunk.chunk_offset, chunk.byte_offset + chunk.size, chunk.size)))
    elif (offset := array.get_offset()) is not None:  # None for arrays in the header, and for empty ones
        size = int(array.get_storage_size())
        found.append(((), offset + size, size))
    return found


def _stored(array: Any, there: int) -> int:
    """Bytes of the array among the first ``there`` of the file."""
    if array.get_create_plist().get_layout() == h5py.h5d.COMPACT:
        return int(array.get_storage_size())
    return sum(size for _, end, size in _pieces(array) if end <= there)


def _declared(array: Any) -> Size:
    """What reading the array takes: all of it, or one chunk where that is larger."""
    made, kind = array.get_create_plist(), array.get_type()
    shape = array.get_space().get_simple_extent_dims()
    chunk = made.get_chunk() if made.get_layout() == h5py.h5d.CHUNKED else ()
    byte = kind.get_class() == h5py.h5t.INTEGER and kind.get_size() == 1 and kind.get_sign() == h5py.h5t.SGN_NONE
    # Of other kinds (texts, compounds) only the length of an entry matters here.
    dtype = np.dtype(np.uint8 if byte else f"V{kind.get_size()}")
    return max(array_size(shape, dtype), array_size(chunk, dtype) if chunk else array_size(shape, dtype))


def _check_unpacked(array: Any, name: str) -> None:
    """ValueError where a chunk unpacks to more than a chunk: HDF5 would give it all the memory that it asks for."""
    made = array.get_create_plist()
    used = _filters(made)
    if not {_GZIP, _LZF} & set(used):
        return
    whole = math.prod(made.get_chunk()) * array.get_type().get_size()
    for offset, _, size in _pieces(array):
        # Most chunks are too small for harm, and need not be unpacked twice.
        if size * (_LZF_RATIO if _LZF in used else _GZIP_RATIO) <= whole + _SMALL_BYTES:
            continue
        if _LZF in used or _unpacks_beyond(array, offset, used.index(_GZIP), whole):
            raise ValueError(f"{name}: a chunk of {size:,} bytes unpacks to more than the {whole:,} declared")


def _unpacks_beyond(array: Any, offset: tuple[int, ...], place: int, limit: int) -> bool:
    """Whether the gzip stream of a chunk, filter number ``place`` of it, goes on after ``limit`` bytes."""
    left_out, packed = array.read_direct_chunk(offset)
    if left_out >> place & 1:
        return False
    reader = zlib.decompressobj()
    try:
        # A checksum may have been packed with the content.
        reader.decompress(packed, limit + 4)
        return len(reader.decompress(reader.unconsumed_tail, 1)) > 0
    except zlib.error:
        return False  # said when it is read


def _declared_size(path: Path) -> int:
    with path.open("rb") as file:
        head = file.read(64)
    at = _END_AT.get(head[8]) if head.startswith(_SIGNATURE) and len(head) == 64 else None
    return 0 if at is None else int.from_bytes(head[at : at + 8], "little")
