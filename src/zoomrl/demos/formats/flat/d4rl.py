"""D4RL's HDF5: ``observations``, ``actions``, ``rewards``, ``terminals`` and ``timeouts`` [N, ...] of all episodes, one
after the other; perhaps ``next_observations`` and ``infos/<name>``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.entries import UNNAMED
from zoomrl.demos.formats.assemble import Assembly, Raw, reason
from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.flat.arrays import Long, Rows, count_sliced, count_whole, declared, of_length, ranges, within
from zoomrl.demos.formats.hdf5.groups import BROKEN, arrays_of, opened
from zoomrl.demos.formats.images import in_slices
from zoomrl.demos.formats.kinds import kinds
from zoomrl.demos.recorded import SUCCESS_NAMES, truth
from zoomrl.demos.store.hdf5 import examined, stored_bytes
from zoomrl.demos.store.limits import Budget
from zoomrl.errors import DemonstrationError, plural

OBSERVED = "observations"
_NEXT = "next_observations"
_ENDS = ("terminals", "timeouts")
_FLAT = ("actions", "rewards", *_ENDS)
_NOT_SEEN = (*_FLAT, _NEXT, "next_actions", *(f"infos/{name}" for name in SUCCESS_NAMES))


class Stored:
    """An array of an HDF5 file, examined once."""

    def __init__(self, array: Any, there: int) -> None:
        self._array = examined(array, there)
        self.dtype: np.dtype[Any] = self._array.dtype
        self.shape: tuple[int, ...] = self._array.shape
        self.stored = stored_bytes(array, there)
        self.piece: int = self._array.chunks[0] if self._array.chunks else 1

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return np.asarray(self._array[rows])


def read(path: Path, options: ImportOptions) -> Imported:
    """Read one file. An episode ends where ``terminals`` or ``timeouts`` is set; ``terminals`` ends its task.

    ``state`` is ``observations``, one vector without names, unless ``options.state`` names others (``infos/qpos``). The
    observation after the last action comes from ``next_observations`` where it is there. Success is ``infos/success``,
    or a reward of 1 among rewards of 0 and 1.

    Raises:
        DemonstrationError: when no episode can be read; lists every fault.
        ConfigError: for a camera or entry that is not there.
    """
    with opened(path, None, "one of D4RL") as (file, there, cut):
        return _read(path, file, there, cut, options)


def _read(path: Path, file: Any, there: int, cut: list[str], options: ImportOptions) -> Imported:
    assembly = Assembly("d4rl", path, options)
    assembly.faults.extend(cut)
    found: dict[str, Long] = {}
    for name in arrays_of(file):
        try:
            found[name] = Stored(file[name], there)
        except BROKEN as error:
            assembly.faults.append(f"{path.name}: {name}: {reason(error)}")
    lacking = [name for name in (OBSERVED, "actions", "terminals") if name not in found]
    if lacking:
        lines = "".join(f"\n  - {fault}" for fault in assembly.faults)
        raise DemonstrationError(f"{path} lacks {', '.join(lacking)}: it is none of D4RL, or damaged{lines}")
    count = found["actions"].shape[0]
    arrays = of_length(found, count)
    if wrong := [name for name in (OBSERVED, *_FLAT, _NEXT) if name in found and name not in arrays]:
        raise DemonstrationError(f"{path}: {', '.join(wrong)} must have {count:,} rows, as actions has")
    seen = {name: a for name, a in arrays.items() if name not in _NOT_SEEN and not name.startswith("metadata/")}
    sorts = kinds(declared(seen))
    cameras = assembly.choose_cameras({name: name for name in sorts.cameras})
    default = [OBSERVED] if OBSERVED in sorts.numbers else []
    state = assembly.choose_state(sorts.numbers, default, sorts.numbers)
    budget = Budget()
    with within(budget, path):
        count_whole(budget, {name: arrays[name] for name in _ENDS if name in arrays})
    flags = {name: arrays[name][:].astype(bool).ravel() for name in _ENDS if name in arrays}
    episodes, rest = ranges(np.logical_or.reduce(list(flags.values())))
    if rest:
        assembly.meta["without_end"] = f"the last {plural(rest, 'row')}: kept as an interrupted episode"
    vectors = {name: arrays[name] for name in ("actions", "rewards", *state, _NEXT) if name in arrays}
    images = {name: arrays[name] for name in cameras}
    with within(budget, path):
        count_sliced(budget, vectors, images, max(end - first for first, end in episodes), assembly.image_size)
    source = _Source(arrays, flags, cameras, state, assembly)
    for number, (first, end) in enumerate(episodes):
        assembly.add(f"{path.name}: episode {number} (row {first})", partial(source.episode, number, first, end))
    return assembly.result()


class _Source:
    """The arrays of one file."""

    def __init__(
        self,
        arrays: dict[str, Long],
        flags: dict[str, NDArray[np.bool_]],
        cameras: list[str],
        state: list[str],
        assembly: Assembly,
    ) -> None:
        self._arrays, self._flags = arrays, flags
        self._cameras, self._state, self._assembly = cameras, state, assembly

    def episode(self, number: int, first: int, end: int) -> Raw:
        solved = [
            truth(self._arrays[f"infos/{name}"][first:end], name)
            for name in SUCCESS_NAMES
            if f"infos/{name}" in self._arrays
        ]
        terminated, truncated = (bool(self._flags[n][end - 1]) if n in self._flags else False for n in _ENDS)
        views = [self._view(name, first, end) for name in self._cameras]
        return Raw(
            actions=self._arrays["actions"][first:end],
            state={UNNAMED if self._state == [OBSERVED] else n: self._with_next(n, first, end) for n in self._state},
            views=views,
            rewards=self._arrays["rewards"][first:end].ravel() if "rewards" in self._arrays else None,
            terminated=terminated,
            truncated=truncated or not terminated,
            success=any(solved) if solved else None,
            meta={"episode": number, "first_row": first},
        )

    def _next(self, name: str, end: int) -> NDArray[Any] | None:
        """The observation [1, ...] after the last action, where it is there."""
        return self._arrays[_NEXT][end - 1 : end] if name == OBSERVED and _NEXT in self._arrays else None

    def _with_next(self, name: str, first: int, end: int) -> NDArray[Any]:
        found, last = self._arrays[name][first:end], self._next(name, end)
        return found if last is None else np.concatenate([found, last])

    def _view(self, name: str, first: int, end: int) -> Any:
        sized = self._assembly.sized(name)
        frames = in_slices(Rows(self._arrays[name], first, end), sized)
        last = self._next(name, end)
        return frames if last is None else frames.followed_by(sized(last))
