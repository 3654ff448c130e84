"""ALOHA's and ACT's HDF5: a folder of ``episode_<k>.hdf5``, each with ``observations/qpos``, ``observations/qvel``,
``observations/images/<camera>`` and ``action``. Images are [T, H, W, 3], or JPEG files padded to one length, [T, N].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.hdf5.groups import (
    BROKEN,
    arrays_of,
    choose,
    files_at,
    images,
    optional,
    stated_success,
)
from zoomrl.demos.formats.images import Frames, Sized, decode, one_by_one
from zoomrl.demos.formats.kinds import Array, kinds
from zoomrl.demos.recorded import gaps, known_seed
from zoomrl.demos.store.hdf5 import count, examined, load, open_hdf5
from zoomrl.demos.store.limits import Budget, regular
from zoomrl.errors import DemonstrationError, ZoomrlError, unknown_name

STATE = "qpos"
"""What the state is by default: angles of all joints."""
ACTION = "action"
_IMAGES = "images/"
_PACKED = (b"\xff\xd8\xff", b"\x89PNG")
_SLICE_BYTES = 16 << 20


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file, or all of a folder in the order of their numbers.

    ``state`` is ``qpos``, or without it all floating-point vectors of ``observations``; unless ``options.state`` names
    some or the environment's entries are there by name. Cameras are the entries of ``observations/images``. Images in
    JPEG have the order of colours in which OpenCV reads them, which ACT writes and reads them with.

    Actions are ``action``, or the arrays that ``options.action`` names, joined: ``action`` and ``base_action``.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera, entry or action that is not there.
    """
    actions = options.action or (ACTION,)
    files = sorted(files_at(path), key=_number)
    assembly = Assembly("aloha", path, options)
    assembly.faults.extend(gaps([name.stem for name in files], ""))
    budget = Budget()
    chosen: tuple[list[str], list[str]] | None = None
    for name in files:
        if assembly.full:
            break
        try:
            if path.is_dir():
                regular(name, path)
            file, there, cut = open_hdf5(name, counted=False)
        except (DemonstrationError, OSError, ValueError, RuntimeError) as error:
            assembly.faults.append(f"{name.name}: {reason(error)}")
            continue
        with file:
            assembly.faults.extend(cut)
            try:
                chosen = _choices(file, actions, assembly) if chosen is None else chosen
            except ZoomrlError:
                raise
            except BROKEN as error:
                assembly.faults.append(f"{name.name}: {reason(error)}")
                continue
            assembly.add(name.name, partial(_episode, file, name, there, actions, *chosen, assembly, budget))
    return assembly.result()


def _number(file: Path) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", file.stem)
    return (int(digits[1]) if digits else -1), file.name


def _choices(file: Any, actions: Sequence[str], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Keys of the cameras and of the state."""
    arrays = arrays_of(file["observations"])
    shown = {key.removeprefix(_IMAGES): key for key in arrays if key.startswith(_IMAGES)}
    found = kinds({key: array for key, array in arrays.items() if not key.startswith(_IMAGES)})
    cameras = shown | {key: key for key in found.cameras}
    if "sim" in file.attrs:
        assembly.meta["simulated"] = bool(file.attrs["sim"])
    there = [key for key, part in file.items() if ACTION in key and hasattr(part, "dtype")]
    for name in actions:
        if name not in there:
            raise unknown_name("action", name, there)
    if others := [name for name in there if name not in actions]:
        assembly.meta["actions_left_out"] = f"{', '.join(others)} (--action names what to take)"
    return choose(assembly, cameras, found.numbers, [STATE] if STATE in found.floating else found.floating)


def _episode(
    file: Any,
    path: Path,
    there: int,
    actions: Sequence[str],
    cameras: list[str],
    state: list[str],
    assembly: Assembly,
    budget: Budget,
) -> Raw:
    seen, height_width = file["observations"], assembly.image_size
    for part in (*(file[name] for name in actions), *(seen[key] for key in state)):
        count(budget, part, there, path.name)
    for key in cameras:
        kept = len(seen[key]) * height_width[0] * height_width[1] * 3 if _is_packed(seen[key]) else None
        count(budget, seen[key], there, path.name, kept)
    budget.check()
    return Raw(
        actions=np.concatenate([load(file[name], there) for name in actions], 1),
        state={key: load(seen[key], there) for key in state},
        views=[_frames(seen, key, there, assembly) for key in cameras],
        rewards=optional(file, "rewards", there),
        success=stated_success(file, there),
        seed=known_seed(file.attrs.get("seed", -1)),
        meta={"file": path.name},
    )


def _is_packed(array: Any) -> bool:
    """Whether an array [T, N] or [T] holds files of images."""
    kind = Array(array.dtype, array.shape)
    return (kind.dtype == np.uint8 and len(kind.shape) == 2) or (kind.dtype.kind == "S" and len(kind.shape) == 1)


def _frames(group: Any, key: str, there: int, assembly: Assembly) -> Frames:
    if not _is_packed(group[key]):
        return images(group, key, there, assembly.sized(key))
    assembly.meta["colours"] = "images in JPEG as OpenCV, and so ACT, reads them: blue and red are not exchanged"
    return _unpacked(examined(group[key], there), key, assembly.sized(key))


def _unpacked(array: Any, key: str, sized: Sized) -> Frames:
    """The images in files of images, [T, N] padded with zeros."""

    def files() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        rows = max(1, _SLICE_BYTES // max(1, array.nbytes // max(1, len(array))))
        for first in range(0, len(array), rows):
            for index, row in enumerate(array[first : first + rows], start=first):
                yield f"{key}, frame {index}", _decoded(row.tobytes() if isinstance(row, np.ndarray) else bytes(row))

    return one_by_one(files(), len(array), sized)


def _decoded(content: bytes) -> NDArray[np.uint8]:
    if not content.startswith(_PACKED):
        raise ValueError("an image of a row of bytes must be a JPEG or PNG file")
    return decode(content)[..., ::-1]  # OpenCV, which wrote it, has blue first
