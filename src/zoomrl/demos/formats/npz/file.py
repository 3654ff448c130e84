"""One episode as a file of NumPy arrays (see :mod:`zoomrl.demos.formats.npz.reader`)."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import Episode
from zoomrl.demos.store.limits import Budget, array_size, regular
from zoomrl.errors import DemonstrationError
from zoomrl.files import finite_or_null, parse_json

FLAGS = ("terminated", "truncated", "success", "is_demo")


@contextmanager
def open_arrays(path: Path, budget: Budget | None = None) -> Iterator[Any]:
    """The arrays in ``path`` by name, as :func:`numpy.load` gives them, once what they declare has been examined.

    Args:
        path: a file of :func:`numpy.savez` or :func:`numpy.savez_compressed`.
        budget: of the set that it belongs to; by default one for this file.

    Raises:
        ValueError: it is no regular file of plain arrays, or declares more than it can hold. zipfile's and numpy's own
            errors for a damaged one.
    """
    budget = Budget() if budget is None else budget
    listed = declared_arrays(path)
    with zipfile.ZipFile(path) as file:
        for one in file.infolist():
            shape, dtype = listed[one.filename.removesuffix(".npy")]
            size = array_size(shape, dtype)
            what = f"{path.name}: {one.filename}"
            budget.add(what, size.kept, one.compress_size, size.ratio, path.name, read=size.read)
    budget.check()
    with np.load(path, allow_pickle=False) as arrays:
        yield arrays


def declared_arrays(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of each array in ``path`` by name, from their headers alone; errors as in :func:`open_arrays`."""
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    with zipfile.ZipFile(regular(path)) as file:
        members = file.infolist()
        if sum(one.compress_size for one in members) > path.stat().st_size:
            raise ValueError(f"{path.name} holds parts that overlap")
        for one in members:
            # zipfile reads the others without a limit: a few bytes become as many as they like.
            if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(
                    f"{path.name}: {one.filename} is packed by method {one.compress_type} of ZIP; stored and deflated "
                    "entries are read. Write it again with numpy.savez or savez_compressed"
                )
            name = one.filename.removesuffix(".npy")
            if name in found:
                raise ValueError(f"{path.name} holds {name} twice")
            with file.open(one) as part:
                found[name] = _header(part, one)
    return found


def _header(part: Any, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """What a member's header declares; ValueError unless it is plain numbers or text that its size has room for."""
    version = np.lib.format.read_magic(part)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(part)
    if dtype.kind not in "biufU" or min(shape, default=0) < 0:
        raise ValueError(f"{member.filename} holds {dtype}; only numbers and texts are read")
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename} declares the shape {list(shape)} in {member.file_size:,} bytes")
    return shape, dtype


def episode_arrays(episode: Episode, cameras: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Everything in ``episode`` by name; each view of ``rgb`` under its camera's."""
    arrays: dict[str, Any] = {"actions": episode.actions, "rewards": episode.rewards, "seed": episode.seed}
    arrays |= {name: getattr(episode, name) for name in FLAGS}
    arrays["meta"] = json.dumps(finite_or_null(episode.meta), allow_nan=False)
    if "state" in episode.observations:
        arrays["state"] = episode.observations["state"]
    for view, camera in enumerate(cameras):
        arrays[camera] = episode.observations["rgb"][:, view]
    return {name: np.asarray(array) for name, array in arrays.items()}


def write_episode(path: Path, episode: Episode, cameras: Sequence[str]) -> None:
    """Write ``episode`` to ``path``: all of it, or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **episode_arrays(episode, cameras))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_episode(path: Path, cameras: Sequence[str]) -> Episode:
    """Read what :func:`write_episode` wrote.

    Raises:
        DemonstrationError: the file is missing, damaged or of another kind.
    """
    try:
        with open_arrays(path) as arrays:
            observations = {"state": arrays["state"]} if "state" in arrays else {}
            if cameras:
                observations["rgb"] = np.stack([arrays[camera] for camera in cameras], 1)
            flags: dict[str, Any] = {name: bool(arrays[name]) for name in FLAGS}
            episode = Episode(
                observations,
                arrays["actions"],
                arrays["rewards"],
                seed=int(arrays["seed"]),
                meta=parse_json(str(arrays["meta"]), "meta", error=DemonstrationError),
                **flags,
            )
        episode.validate()
    except Exception as error:  # whatever the readers of a damaged file make of it
        raise DemonstrationError(f"{path} cannot be read as an episode ({type(error).__name__}: {error})") from error
    return episode
