"""RLBench's ``low_dim_obs.pkl`` without RLBench, and without running what else a pickle may ask for.

A pickle is a program: it names functions and calls them. The six names that a demonstration needs stand for containers
of our own here, and every other name is refused before anything of it is looked up. Array contents are taken from bytes
in Python, since numpy does not check the states that it unpickles.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import reason
from zoomrl.demos.store.limits import regular

MAX_BYTES = 1 << 28
"""Largest file that is read; an episode has a few hundred kilobytes."""


def read_frames(path: Path) -> list[Mapping[str, Any]]:
    """The entries of each observation in ``path``, by name. Arrays among them need ``numpy.asarray``.

    Raises:
        ValueError: when the file is damaged, is not a demonstration, or names something else than one needs.
    """
    try:
        left = regular(path, path.parents[1]).stat().st_size
        if left > MAX_BYTES:
            raise ValueError(f"it has {left:,} bytes; {MAX_BYTES:,} are read at most")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error

    def array(*_: object) -> _Array:
        return _Array(claim)

    def claim(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise ValueError("its arrays share their content, and would take more memory than the file has bytes")

    # Made for one file: a pickle can write to the classes that it names.
    demo_class, frame_class = type("Demo", (), {}), type("Observation", (), {})

    allowed = {
        ("rlbench.demo", "Demo"): demo_class,
        ("rlbench.backend.observation", "Observation"): frame_class,
        ("numpy", "ndarray"): type("ndarray", (), {}),
        ("numpy", "dtype"): _Number,
        ("numpy.core.multiarray", "_reconstruct"): array,
        ("numpy._core.multiarray", "_reconstruct"): array,
    }
    try:
        _check_places(data)
        demo = _Reader(io.BytesIO(data), allowed).load()
    except Exception as error:  # a damaged pickle fails in any way
        raise ValueError(f"{path.name} cannot be read ({reason(error)})") from error
    frames = vars(demo).get("_observations") if type(demo) is demo_class else None
    if not isinstance(frames, list) or not all(type(frame) is frame_class for frame in frames):
        raise ValueError(f"{path.name} does not hold a Demo of Observations")
    if len({id(frame) for frame in frames}) < len(frames):
        raise ValueError(f"{path.name} holds the same Observation more than once")
    return [vars(frame) for frame in frames]


def _check_places(data: bytes) -> None:
    """ValueError where parts are numbered beyond reason: Python makes a table as long as the largest number."""
    for opcode, place, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(place or 0) > len(data):
            raise ValueError(f"it numbers a part {place}, in {len(data):,} bytes")


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, allowed: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which no demonstration needs; it was refused, and nothing of it was run"
            )
        return self._allowed[module, name]


class _Number:
    """A ``numpy.dtype`` of plain numbers."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code) if isinstance(code, str) else np.dtype(object)
        if self.dtype.kind not in "biuf":
            raise ValueError(f"it holds an array of {code!r}; only numbers are read")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A ``numpy.ndarray``; empty until its state is set."""

    def __init__(self, claim: Callable[[int], None]) -> None:
        self._claim = claim
        self._value: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, number, fortran, content = state
        self._claim(len(content))
        # Copied: bytes cannot be written to.
        flat = np.frombuffer(content, number.dtype).copy()
        self._value = flat.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._value if dtype is None else self._value.astype(dtype)
