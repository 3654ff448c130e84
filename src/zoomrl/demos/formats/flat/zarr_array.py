"""Arrays in a zarr store, version 2 or 3: a folder or a ZIP file. What a store declares is examined before it is read.

Chunks are read one by one, and none may unpack to more than its size. Objects and plug-in codecs are not read.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.store.limits import regular
from zoomrl.errors import DemonstrationError, import_optional
from zoomrl.files import parse_json

_META = (".zarray", "zarr.json")
_META_BYTES = 1 << 20
_MAX_FILES = 5_000_000
_ZSTD = b"\x28\xb5\x2f\xfd"


class Store:
    """The files of a zarr store, by their path below its root.

    Args:
        path: a folder, or a ZIP file.

    Raises:
        DemonstrationError: it is neither, or its parts overlap.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self.sizes = self._listed(path)
            return
        try:
            self._zip = zipfile.ZipFile(regular(path))
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DemonstrationError(f"{path} cannot be read as a zarr store ({error})") from error
        members = self._zip.infolist()
        if sum(one.compress_size for one in members) > path.stat().st_size:
            raise DemonstrationError(f"{path} holds parts that overlap")
        self.sizes = {one.filename: one.compress_size for one in members if not one.is_dir()}

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip:
            self._zip.close()

    def read(self, key: str, limit: int) -> bytes | None:
        """Content of a file, None where it is not there.

        Raises:
            ValueError: for more than ``limit`` bytes, a link out, or a part of a ZIP file that is damaged.
        """
        if key not in self.sizes:
            return None
        if self._zip is None:
            file = regular(self.path / key, self.path)
            if file.stat().st_size > limit:
                raise ValueError(f"{key} holds more than {limit:,} bytes")
            return file.read_bytes()
        member = self._zip.getinfo(key)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.file_size > limit:
            raise ValueError(
                f"{key} holds more than {limit:,} bytes, or is packed in another way than stored, deflated"
            )
        try:
            with self._zip.open(member) as part:
                return part.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{key} is damaged ({error})") from error

    @staticmethod
    def _listed(path: Path) -> dict[str, int]:
        found: dict[str, int] = {}
        for file in path.rglob("*"):
            if file.is_symlink() and file.is_dir():
                raise DemonstrationError(f"{file} is a link to a folder, which is not followed: copy the set whole")
            if file.is_symlink() or not file.is_dir():
                found[file.relative_to(path).as_posix()] = file.lstat().st_size
            if len(found) > _MAX_FILES:
                raise DemonstrationError(f"{path} holds more than {_MAX_FILES:,} files")
        return found


class ZarrArray:
    """One array of a store, of which slices of the first axis are read.

    Args:
        store: that holds it.
        name: of its folder.
        meta: what its metadata say.

    Raises:
        ValueError: for what is not read: objects, unknown codecs, shards.
    """

    def __init__(self, store: Store, name: str, meta: dict[str, Any]) -> None:
        self._store, self.name = store, name
        told = _version_3(meta) if meta.get("zarr_format") == 3 else _version_2(meta)
        self.shape: tuple[int, ...] = told["shape"]
        self._chunks: tuple[int, ...] = told["chunks"]
        self.dtype: np.dtype[Any] = told["dtype"]
        self._fill, self._order, self._key = told["fill"], told["order"], told["key"]
        self._unpack: list[Callable[[bytes, int], bytes]] = [_codec(one) for one in told["codecs"]]
        if len(self.shape) != len(self._chunks) or not self.shape or min(self._chunks) < 1 or min(self.shape) < 0:
            raise ValueError(f"{name}: shape {list(self.shape)} and chunks {list(self._chunks)} do not fit")
        if self.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {self.dtype}; numbers are read")
        prefix = f"{name}/"
        self.stored = sum(s for key, s in store.sizes.items() if key.startswith(prefix) and not key.endswith(_META))
        self._row_chunk = math.prod(self._chunks) * self.dtype.itemsize
        self._last: tuple[tuple[int, ...], NDArray[Any] | None] | None = None

    @property
    def piece(self) -> int:
        """Rows that are unpacked together; of chunks wider than the array, the rows that would take as much."""
        row = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        return max(self._chunks[0], -(-self._row_chunk // row))

    def lacking(self, first: int, end: int) -> str:
        """What of the rows ``first`` to ``end`` no chunk holds, in words; "" where all is stored.

        Writers may leave out what is the fill value all over, and a chunk that was lost looks the same.
        """
        places = list(self._places(first, end))
        lost = [key for key in map(self._file, places) if key not in self._store.sizes]
        return f"{len(lost)} of {len(places)} chunks of {self.name} ({lost[0]} ...)" if lost else ""

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, end, _ = rows.indices(self.shape[0])
        out = np.full((max(0, end - first), *self.shape[1:]), self._fill, self.dtype)
        for place in self._places(first, end):
            chunk = self._chunk(place)
            if chunk is None:
                continue
            begin = [index * size for index, size in zip(place, self._chunks, strict=True)]
            low, high = max(first, begin[0]), min(end, begin[0] + self._chunks[0])
            beside = (slice(start, start + size) for start, size in zip(begin[1:], self._chunks[1:], strict=True))
            part = out[(slice(low - first, high - first), *beside)]
            source = [slice(low - begin[0], high - begin[0]), *(slice(0, size) for size in part.shape[1:])]
            part[...] = chunk[tuple(source)]
        return out

    def _places(self, first: int, end: int) -> Iterator[tuple[int, ...]]:
        """Where in the grid the chunks of these rows are."""
        if end <= first:
            return iter(())
        grids = [range(first // self._chunks[0], (end - 1) // self._chunks[0] + 1)]
        grids += [range(-(-size // chunk)) for size, chunk in zip(self.shape[1:], self._chunks[1:], strict=True)]
        return product(*grids)

    def _file(self, place: tuple[int, ...]) -> str:
        return f"{self.name}/{self._key(place)}"

    def _chunk(self, place: tuple[int, ...]) -> NDArray[Any] | None:
        """One chunk, None where it is not stored. The last one is kept: the next rows often lie in it."""
        if self._last is None or self._last[0] != place:
            self._last = place, self._read(place)
        return self._last[1]

    def _read(self, place: tuple[int, ...]) -> NDArray[Any] | None:
        key = self._file(place)
        limit = self._row_chunk
        content = self._store.read(key, limit + limit // 8 + (1 << 16))
        if content is None:
            return None
        try:
            for unpack in reversed(self._unpack):
                content = unpack(content, limit)
        except (RuntimeError, zlib.error, struct.error) as error:
            raise ValueError(f"{key}: {error}") from error
        if len(content) != limit:
            raise ValueError(f"{key} unpacks to {len(content):,} bytes, not the {limit:,} of a chunk")
        return np.frombuffer(content, self.dtype).reshape(self._chunks, order=self._order)


def arrays_in(store: Store) -> tuple[dict[str, ZarrArray], list[str]]:
    """The arrays of a store by their path, and one line for each that cannot be read."""
    found: dict[str, ZarrArray] = {}
    faults: list[str] = []
    for key in sorted(store.sizes):
        name, _, last = key.rpartition("/")
        if last not in _META:
            continue
        try:
            meta = parse_json(store.read(key, _META_BYTES) or b"", key, error=DemonstrationError)
            if last == ".zarray" or meta.get("node_type") == "array":
                found[name] = ZarrArray(store, name, meta)
        except (DemonstrationError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            faults.append(f"{name or key}: {' '.join(str(error).split()) or type(error).__name__}")
    return found, faults


# ---- metadata ------------------------------------------------------------------------------------------------


def _version_2(meta: dict[str, Any]) -> dict[str, Any]:
    if meta.get("filters"):
        raise ValueError(f"it is filtered by {json.dumps(meta['filters']):.80}; write it again without filters")
    if not isinstance(meta["dtype"], str) or meta["dtype"].startswith("|O"):
        raise ValueError(f"it holds {meta['dtype']!r:.40}; numbers are read")
    separator = meta.get("dimension_separator", ".")
    packed = meta.get("compressor")
    dtype = np.dtype(meta["dtype"])
    return {
        "shape": _sizes(meta["shape"]),
        "chunks": _sizes(meta["chunks"]),
        "dtype": dtype,
        "fill": _fill(meta.get("fill_value"), dtype),
        "order": "F" if meta.get("order") == "F" else "C",
        "key": lambda place: str(separator).join(map(str, place)),
        "codecs": [str(packed["id"])] if packed else [],
    }


def _version_3(meta: dict[str, Any]) -> dict[str, Any]:
    grid, encoding = meta["chunk_grid"], meta.get("chunk_key_encoding", {"name": "default"})
    if grid["name"] != "regular":
        raise ValueError(f"its chunks are a grid called {grid['name']!r:.40}; regular ones are read")
    kind = meta["data_type"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"it holds {kind!r:.40}; numbers are read")
    first, *rest = meta["codecs"]
    if first["name"] != "bytes":
        raise ValueError(f"it is packed by {first['name']!r:.40}, which is not read: write it again without shards")
    endian = (first.get("configuration") or {}).get("endian", "little")
    dtype = np.dtype(kind).newbyteorder("<" if endian == "little" else ">")
    plain = encoding["name"] == "v2"
    separator = (encoding.get("configuration") or {}).get("separator", "." if plain else "/")
    prefix = () if plain else ("c",)
    return {
        "shape": _sizes(meta["shape"]),
        "chunks": _sizes(grid["configuration"]["chunk_shape"]),
        "dtype": dtype,
        "fill": _fill(meta.get("fill_value"), dtype),
        "order": "C",
        "key": lambda place: str(separator).join([*prefix, *map(str, place)]),
        "codecs": [str(one["name"]) for one in rest],
    }


_TYPES = ("bool", "float16", "float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(size) is int for size in value):
        raise ValueError(f"sizes must be whole numbers, got {value!r:.40}")
    return tuple(value)


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    return np.array(0 if value is None else float(value) if isinstance(value, str) else value).astype(dtype)


# ---- codecs --------------------------------------------------------------------------------------------------


def _codec(name: str) -> Callable[[bytes, int], bytes]:
    """What unpacks bytes of the codec ``name`` to at most so many."""
    known = {"blosc": _blosc, "zstd": _zstd, "lz4": _lz4, "zlib": _zlib, "gzip": _zlib}
    name = name.removeprefix("numcodecs.")
    if name not in known:
        raise ValueError(
            f"it is packed by {name!r:.40}; {', '.join(known)} are read. Write it again with one of these, or unpacked"
        )
    return known[name]


def _zlib(content: bytes, size: int) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(content, size + 1)


def _blosc(content: bytes, size: int) -> bytes:
    declared, packed = struct.unpack_from("<I4xI", content, 4)
    if declared != size or packed != len(content):
        raise ValueError(f"a chunk declares {declared:,} bytes, not {size:,}")
    return bytes(_numcodecs("blosc").decompress(content))


def _lz4(content: bytes, size: int) -> bytes:
    (declared,) = struct.unpack_from("<I", content)
    if declared != size:
        raise ValueError(f"a chunk declares {declared:,} bytes, not {size:,}")
    return bytes(_numcodecs("lz4").decompress(content))


def _zstd(content: bytes, size: int) -> bytes:
    if (declared := _zstd_size(content)) != size:
        raise ValueError(f"a chunk declares {'no' if declared is None else declared} bytes, not {size:,}")
    return bytes(_numcodecs("zstd").decompress(content))


def _zstd_size(content: bytes) -> int | None:
    """Unpacked size that the header of a zstd frame declares (RFC 8878, 3.1.1.1); None where it says none."""
    if content[:4] != _ZSTD or len(content) < 18:
        content = content + bytes(18)
    if content[:4] != _ZSTD:
        return None
    flags = content[4]
    single, kind = flags >> 5 & 1, flags >> 6
    width = (1 if single else 0, 2, 4, 8)[kind]
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    if not width:
        return None
    return int.from_bytes(content[at : at + width], "little") + (256 if width == 2 else 0)


def _numcodecs(name: str) -> Any:
    import_optional("numcodecs", "zarr")
    return import_optional(f"numcodecs.{name}", "zarr")
