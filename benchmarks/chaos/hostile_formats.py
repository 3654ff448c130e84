"""Hostile sets of the formats that are imported: ALOHA, ManiSkill, D4RL, OGBench, zarr, Minari's Arrow."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .hostile import _FULL, _SPOILT_HDF5, _STEPS, Case, _header, _member, _packed, _Touch, _write_zeros

_READ = {
    "aloha": ("action", "observations/qpos", "observations/images/top"),
    "maniskill": ("traj_0/actions", "traj_0/obs/state", "traj_0/obs/sensor_data/top/rgb"),
    "d4rl": ("actions", "observations", "infos/top"),
}
"""Format -> names of its actions, its state and a camera in one HDF5 file."""


def format_cases() -> Iterator[Case]:
    """All of them."""
    for format, (actions, state, camera) in _READ.items():
        command = ("demos", "import", format, "a.hdf5", "--out", "out")
        for kind, spoil in _SPOILT_HDF5.items():
            yield Case(f"{format}: {kind}", partial(_hdf5, actions, state, spoil), command)
        for kind, size in _FULL.items():
            images = kind == "images"
            asked = ("--cameras", "infos/top" if format == "d4rl" else "top") if images else ()
            build = partial(_full, actions, camera if images else state, *size)
            yield Case(f"{format}: {kind}", build, (*command, *asked))
    packed = ("demos", "import", "aloha", "a.hdf5", "--out", "out", "--cameras", "top")
    yield Case("aloha: JPEG that declares much", partial(_jpeg, 30_000), packed)
    yield Case("aloha: a thousand small JPEG of large images", partial(_jpeg, 2_000), packed)
    for kind, change in _SPOILT_ZARR.items():
        yield Case(f"zarr {kind}", partial(_zarr, change), ("demos", "import", "zarr", "set.zarr", "--out", "out"))
    for kind, spoil in _SPOILT_ARCHIVES.items():
        command = ("demos", "import", "zarr", "set.zarr.zip", "--out", "out")
        yield Case(f"zarr archive {kind}", partial(_in_place, "set.zarr.zip", spoil), command)
    for kind, spoil in _SPOILT_OGBENCH.items():
        command = ("demos", "import", "ogbench", "a.npz", "--out", "out")
        yield Case(f"ogbench {kind}", partial(_in_place, "a.npz", spoil), command)
    for kind, spoil in _SPOILT_ARROW.items():
        yield Case(f"arrow {kind}", partial(_arrow, spoil), ("demos", "import", "minari", "set", "--out", "out"))
    for kind in ("a pipe", "a link to a secret", "a folder with a link"):
        yield Case(f"auto {kind}", partial(_odd_place, kind), ("demos", "import", "auto", "odd", "--out", "out"))


# ---- HDF5 ------------------------------------------------------------------------------------------------------


def _honest(actions: str, state: str, file: h5py.File) -> None:
    rows = _STEPS + (actions != "action" and actions != "actions")
    file[actions] = np.zeros((_STEPS, 1), np.float32)
    file[state] = np.zeros((rows, 3), np.float32)
    if actions == "actions":
        file["terminals"] = np.arange(_STEPS) == _STEPS - 1


def _hdf5(actions: str, state: str, spoil: Callable[[h5py.Group, str, Path], None], place: Path) -> None:
    with h5py.File(place / "a.hdf5", "w") as file:
        _honest(actions, state, file)
        spoil(file[actions].parent, actions.rpartition("/")[2], place)


def _full(actions: str, seen: str, episodes: int, steps: int, shape: tuple[int, ...], dtype: str, place: Path) -> None:
    del episodes
    with h5py.File(place / "a.hdf5", "w") as file:
        _packed(file, actions, (steps, 1), "f4")
        _packed(file, seen, (steps, *shape), dtype)
        if actions == "actions":
            _packed(file, "terminals", (steps,), "?")


def _jpeg(side: int, place: Path) -> None:
    """A thousand times the same small file of a black image."""
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (min(side, 4000), min(side, 2000))).save(out, "JPEG", quality=1)
    content = bytearray(out.getvalue())
    if side > 4000:
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    row = np.frombuffer(bytes(content), np.uint8)
    with h5py.File(place / "a.hdf5", "w") as file:
        file["action"] = np.zeros((1000, 1), np.float32)
        file["observations/qpos"] = np.zeros((1000, 1), np.float32)
        file.create_dataset(
            "observations/images/top", data=np.tile(row, (1000, 1)), chunks=(1, len(row)), compression="gzip"
        )


# ---- zarr ------------------------------------------------------------------------------------------------------


def _store(place: Path, meta: dict[str, Any], content: bytes | None = None) -> Path:
    root = place / "set.zarr"
    ends = np.array([_STEPS], np.int64)
    arrays = {
        "data/action": np.zeros((_STEPS, 1), np.float32),
        "data/state": np.zeros((_STEPS, 3), np.float32),
        "meta/episode_ends": ends,
    }
    for name, array in arrays.items():
        folder = root / name
        folder.mkdir(parents=True)
        told = {"zarr_format": 2, "shape": list(array.shape), "chunks": list(array.shape), "dtype": array.dtype.str}
        told |= {"compressor": None, "filters": None, "fill_value": 0, "order": "C"}
        place_of = ".".join("0" for _ in array.shape)
        (folder / place_of).write_bytes(array.tobytes())
        if name == "data/state":
            told |= meta
            if content is not None:
                (folder / place_of).write_bytes(content)
        (folder / ".zarray").write_text(json.dumps(told))
    return root


def _zarr(change: Callable[[Path], None], place: Path) -> None:
    change(place)


def _meta(content: bytes | None = None, **meta: Any) -> Callable[[Path], None]:
    return lambda place: _store(place, meta, content) and None


def _then(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        change(_store(place, {}))

    return spoil


def _link(name: str, target: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).unlink()
        (root / name).symlink_to(target)

    return _then(change)


def _pipe(root: Path) -> None:
    (root / "data/state/0.0").unlink()
    os.mkfifo(root / "data/state/0.0")


def _folder_link(root: Path) -> None:
    (root / "data/state/.zarray").unlink()
    (root / "data/state/0.0").unlink()
    (root / "data/state").rmdir()
    (root / "data/state").symlink_to("/proc/self", target_is_directory=True)


def _zeros_packed(count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(count >> 20)) + packer.flush()


_BLOSC_HEAD = struct.pack("<BBBBIII", 2, 1, 0x12, 4, (1 << 31) - 100, 1 << 20, 64) + bytes(48)
_ZSTD_HEAD = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 33) + bytes(32)
_CODECS = ({"id": "blosc"}, {"id": "zstd"}, {"id": "lz4"})
_LONG_ROWS = 1_000_000
_SPOILT_ZARR: dict[str, Callable[[Path], None]] = {
    "chunk is a link to a secret": _link("data/state/0.0", "../../../../secret.bin"),
    "metadata is a link to a secret": _link("data/state/.zarray", "../../../../secret.json"),
    "chunk is a pipe": _then(_pipe),
    "folder is a link": _then(_folder_link),
    "holds objects": _meta(dtype="|O", filters=[{"id": "pickle"}]),
    "codec is pickle": _meta(compressor={"id": "pickle"}),
    "declares terabytes": _meta(shape=[10**13, 3], chunks=[1000, 3]),
    "declares a huge width": _meta(shape=[_STEPS, 10**10], chunks=[_STEPS, 10]),
    "declares a huge chunk": _meta(chunks=[10**12, 3]),
    "declares a chunk of 300 MB": _meta(chunks=[25_000_000, 3]),
    "declares digits": _meta(shape=[10**400, 3]),
    "never written": _meta(b"", shape=[_LONG_ROWS, 64], chunks=[1000, 64]),
    "separator leads out": _meta(dimension_separator="/../"),
    "bomb by zlib": _meta(_zeros_packed(1 << 29), compressor={"id": "zlib"}),
    "bomb by zlib that is declared": _meta(
        _zeros_packed(1 << 29), compressor={"id": "zlib"}, shape=[1 << 25, 4], chunks=[1 << 25, 4]
    ),
    "bomb by zlib in a chunk larger than the array": _meta(
        _zeros_packed(1 << 29), compressor={"id": "zlib"}, chunks=[(1 << 29) // 12, 3]
    ),
    "blosc declares 2 GB": _meta(_BLOSC_HEAD, compressor={"id": "blosc"}),
    "zstd declares 8 GB": _meta(_ZSTD_HEAD, compressor={"id": "zstd"}),
    "lz4 declares 2 GB": _meta(struct.pack("<I", (1 << 31) - 1) + bytes(64), compressor={"id": "lz4"}),
    **{f"{codec['id']} of noise": _meta(bytes(range(60)), compressor=codec) for codec in _CODECS},
    "metadata nested deeply": _then(lambda root: (root / "data/state/.zarray").write_text("[" * 100_000) and None),
    "metadata of others": _then(lambda root: (root / "data/state/.zarray").write_text('{"shape": {}}') and None),
    "as large as is believed": _meta(b"", shape=[_LONG_ROWS, 4], chunks=[_LONG_ROWS, 4]),
}


def _in_place(name: str, spoil: Callable[[Path], None], place: Path) -> None:
    spoil(place / name)


def _archive_of(path: Path, *, method: int = zipfile.ZIP_STORED) -> None:
    root = _store(path.parent, {})
    with zipfile.ZipFile(path, "w", method) as file:
        for one in sorted(root.rglob("*")):
            if one.is_file():
                file.write(one, one.relative_to(root).as_posix())


def _archive_bomb(path: Path) -> None:
    _archive_of(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        _write_zeros(file, "data/big/0.0", 3 << 27)
        told = {"zarr_format": 2, "shape": [_STEPS, 1], "chunks": [_STEPS, 1], "dtype": "<f4", "compressor": None}
        file.writestr("data/big/.zarray", json.dumps(told))


def _archive_outside(path: Path) -> None:
    _archive_of(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("data/../../../secret/.zarray", "{}")
        file.writestr("/data/x/.zarray", "{}")


_SPOILT_ARCHIVES: dict[str, Callable[[Path], None]] = {
    "that is honest": _archive_of,
    "by LZMA": partial(_archive_of, method=zipfile.ZIP_LZMA),
    "with a chunk that unpacks to 400 MB": _archive_bomb,
    "with names that lead out": _archive_outside,
    "that is a link": lambda path: path.symlink_to("../secret.bin"),
    "that is a pipe": lambda path: os.mkfifo(path),
}


# ---- OGBench ---------------------------------------------------------------------------------------------------


def _ogbench(path: Path, **more: Any) -> None:
    arrays = {"observations": np.zeros((_STEPS, 3), np.float32), "actions": np.zeros((_STEPS, 1), np.float32)}
    terminals = np.arange(_STEPS) == _STEPS - 1
    np.savez_compressed(path, **{**arrays, "terminals": terminals, **more})


def _long_ogbench(rows: int, path: Path) -> None:
    observations, actions = np.zeros((rows, 4), np.float32), np.zeros((rows, 1), np.float32)
    _ogbench(path, observations=observations, actions=actions, terminals=np.arange(rows) == rows - 1)


def _with_member(name: str, head: bytes, zeros: int) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for one, array in (("actions", np.zeros((_STEPS, 1))), ("terminals", np.zeros(_STEPS))):
                with file.open(f"{one}.npy", "w") as part:
                    np.lib.format.write_array(part, array)
        _member(name, head, zeros)(path)

    return spoil


_SPOILT_OGBENCH: dict[str, Callable[[Path], None]] = {
    "holds objects": lambda path: _ogbench(path, qpos=np.array([_Touch()] * _STEPS, object)),
    "declares a terabyte": _with_member("observations.npy", _header((_STEPS, 1 << 38)), 0),
    "bomb": _with_member("observations.npy", _header((_STEPS, (3 << 25) // _STEPS)), 3 << 27),
    "as large as is believed": partial(_long_ogbench, 1_500_000),
    "more than is believed": partial(_long_ogbench, 20_000_000),
}


# ---- Arrow -----------------------------------------------------------------------------------------------------


def _arrow(spoil: Callable[[Path], None], place: Path) -> None:
    import pyarrow as pa
    import pyarrow.ipc as ipc

    folder = place / "set/data/0"
    folder.mkdir(parents=True)

    def box(length: int) -> str:
        return json.dumps(
            {"type": "Box", "dtype": "float32", "shape": [length], "low": [-9.0] * length, "high": [9.0] * length}
        )

    metadata = {"data_format": "arrow", "total_episodes": 1, "observation_space": box(3), "action_space": box(1)}
    (place / "set/data/metadata.json").write_text(json.dumps(metadata))
    batch = _batch(pa, _STEPS + 1)
    with ipc.new_file(str(folder / "part-0.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    spoil(folder / "part-0.arrow")


def _batch(pa: Any, rows: int) -> Any:
    def lists(length: int) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * length, np.float32)), length)

    flags = pa.array(np.zeros(rows, bool))
    columns = {"observations": lists(3), "actions": lists(1), "rewards": pa.array(np.zeros(rows))}
    return pa.RecordBatch.from_pydict({**columns, "terminations": flags, "truncations": flags})


def _packed_arrow(codec: str, rows: int) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.ipc as ipc

        batch = _batch(pa, rows)
        with ipc.new_file(str(path), batch.schema, options=ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_batch(batch)

    return spoil


def _many_batches(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.ipc as ipc

    batch = _batch(pa, 2)
    with ipc.new_file(str(path), batch.schema) as writer:
        for _ in range(2000):
            writer.write_batch(batch)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(16, 600, 7):
        content[place] ^= 0xFF
    path.write_bytes(content)


_SPOILT_ARROW: dict[str, Callable[[Path], None]] = {
    "that is honest": lambda path: None,
    "packed by zstd": _packed_arrow("zstd", 20_000_000),
    "packed by lz4": _packed_arrow("lz4", 20_000_000),
    "of many batches": _many_batches,
    "with damaged messages": _flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:300]) and None,
    "that is a link to a secret": lambda path: path.unlink() or path.symlink_to("../../../../secret.bin"),
    "that is a pipe": lambda path: path.unlink() or os.mkfifo(path),
    "of noise": lambda path: path.write_bytes(bytes(range(256)) * 40) and None,
}


def _odd_place(kind: str, place: Path) -> None:
    if kind == "a pipe":
        os.mkfifo(place / "odd")
    elif kind == "a link to a secret":
        (place / "odd").symlink_to("../secret.json")
    else:
        (place / "odd").mkdir()
        (place / "odd/a.hdf5").symlink_to("../../secret.bin")
