"""Plain NumPy files: a folder with one ``episode_<k>.npz`` per episode, and ``spec.json`` where zoomrl wrote it.

Arrays of an episode: ``actions`` [T, A]; ``state`` [T + 1, S] or [T, S]; any camera uint8 [T + 1 or T, H, W, C] or [..,
C, H, W]; and, where known, ``rewards`` [T] and the scalars ``terminated``, ``truncated``, ``success``, ``is_demo``,
``seed``; flags may come one per step, too. Nothing is unpickled.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.npz.file import FLAGS, declared_arrays, open_arrays, write_episode
from zoomrl.demos.formats.output import Provenance, check_exportable, exported, provenance_text, read_provenance
from zoomrl.demos.recorded import gaps, known_seed, truth
from zoomrl.demos.store.limits import Budget, regular
from zoomrl.demos.store.reader import DemoSet
from zoomrl.envs.camera import is_image_array
from zoomrl.errors import DemonstrationError
from zoomrl.files import parse_json

SPEC_FILE = "spec.json"
_KNOWN = {"actions", "rewards", "seed", "meta", *FLAGS}


def read(path: Path, options: ImportOptions) -> Imported:
    """Read a folder of episodes, in the order of their numbers.

    Arrays other than those above may be asked for by name: ``options.cameras`` and ``options.state``. By default
    ``state`` alone is taken, or the environment's entries where all are there by name, and the cameras of the
    environment. One array ``state`` is a vector without names.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
    """
    files = sorted(path.glob("episode_*.npz"), key=lambda file: (_number(file), file.name))
    if not files:
        raise DemonstrationError(f"{path} holds no episode_0.npz, episode_1.npz ...")
    own, fault = _own(path)
    assembly = Assembly("npz", path, options, own=own.spec if own else None)
    if own:
        assembly.meta["recorded"] = own.meta
    assembly.faults.extend([*fault, *gaps([file.stem for file in files], "")])
    cameras, state = _choices(files, assembly)
    budget = Budget()
    for file in files:
        assembly.add(file.name, partial(_episode, file, cameras, state, budget))
    return assembly.result()


def write(path: Path, demos: DemoSet, overwrite: bool) -> None:
    """Write ``demos`` as such a folder: all of it, or nothing.

    Raises:
        DemonstrationError: when something lies at ``path`` that may not be replaced, or observations have other names
            than ``state`` and ``rgb``.
    """
    check_exportable(demos, _KNOWN | {"state", "file", "allow_pickle"})
    with exported(path, SPEC_FILE, overwrite) as folder:
        for index, episode in enumerate(demos.episodes):
            write_episode(folder / f"episode_{index}.npz", episode, demos.spec.cameras)
        (folder / SPEC_FILE).write_text(provenance_text(demos), encoding="utf-8")


def _number(file: Path) -> int:
    digits = re.search(r"(\d+)$", file.stem)
    return int(digits[1]) if digits else -1


def _own(path: Path) -> tuple[Provenance | None, list[str]]:
    file = path / SPEC_FILE
    if not file.is_file():
        return None, []
    try:
        return read_provenance(file, path), []
    except (DemonstrationError, OSError, ValueError) as error:
        return None, [f"{SPEC_FILE}: {reason(error)}; bounds and rates are derived instead"]


def _choices(files: list[Path], assembly: Assembly) -> tuple[list[str], list[str]]:
    """Names of the cameras and of the state, by the first file that can be read."""
    for file in files:
        try:
            arrays = declared_arrays(regular(file, file.parent))
        except Exception:  # named when it is read as an episode
            continue
        images = {name: name for name, (shape, dtype) in arrays.items() if _is_camera(shape, dtype)}
        vectors = [name for name, (shape, _) in arrays.items() if len(shape) in (1, 2) and name not in _KNOWN]
        state = [name for name in vectors if name == UNNAMED]
        return assembly.choose_cameras(images), assembly.choose_state(vectors, state, vectors)
    return [], []


def _is_camera(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array is one of images; one of four axes that cannot be fails by name where it is asked for."""
    return dtype == np.uint8 and (len(shape) == 4 or (len(shape) == 3 and is_image_array(shape[1:], dtype)))


def _episode(file: Path, cameras: list[str], state: list[str], budget: Budget) -> Raw:
    with open_arrays(regular(file, file.parent), budget) as arrays:
        flags = {name: _flag(arrays[name], name) if name in arrays else None for name in FLAGS}
        return Raw(
            actions=arrays["actions"],
            state={name: arrays[name] for name in state},
            views=[arrays[name] for name in cameras],
            rewards=arrays.get("rewards"),
            seed=known_seed(arrays.get("seed", -1)),
            meta=parse_json(str(arrays["meta"]), "meta") if "meta" in arrays else {},
            **flags,
        )


def _flag(value: NDArray[Any], name: str) -> bool:
    """One flag, or one per step: how the episode ended is said by the last, its outcome by any."""
    ends = name in ("terminated", "truncated") and value.ndim == 1 and value.size > 0
    return truth(value[-1] if ends else value, name)
