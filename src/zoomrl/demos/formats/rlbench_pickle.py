"""RLBench's ``low_dim_obs.pkl`` without RLBench, and without running what else a pickle may ask for.

A pickle is a program: it names functions and calls them. The six names that a demonstration needs stand for containers
of our own here, and every other name is refused before anything of it is looked up. Array contents are taken from bytes
in Python, since numpy does not check the states that it unpickles.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.assemble import reason


def read_frames(path: Path) -> list[Mapping[str, Any]]:
    """The entries of each observation in ``path``, by name. Arrays among them need ``numpy.asarray``.

    Raises:
        ValueError: when the file is damaged, is not a demonstration, or names something else than one needs.
    """
    # Made for one file: a pickle can write to the classes that it names.
    demo_class, frame_class = type("Demo", (), {}), type("Observation", (), {})

    def array(*_: object) -> _Array:
        return _Array()

    allowed = {
        ("rlbench.demo", "Demo"): demo_class,
        ("rlbench.backend.observation", "Observation"): frame_class,
        ("numpy", "ndarray"): type("ndarray", (), {}),
        ("numpy", "dtype"): _Number,
        ("numpy.core.multiarray", "_reconstruct"): array,
        ("numpy._core.multiarray", "_reconstruct"): array,
    }
    try:
        with path.open("rb") as file:
            demo = _Reader(file, allowed).load()
    except Exception as error:  # a damaged pickle fails in any way
        raise ValueError(f"{path.name} cannot be read ({reason(error)})") from error
    frames = vars(demo).get("_observations") if type(demo) is demo_class else None
    if not isinstance(frames, list) or not all(type(frame) is frame_class for frame in frames):
        raise ValueError(f"{path.name} does not hold a Demo of Observations")
    return [vars(frame) for frame in frames]


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

    def __init__(self) -> None:
        self._value: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, number, fortran, content = state
        # Copied: bytes cannot be written to.
        flat = np.frombuffer(content, number.dtype).copy()
        self._value = flat.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._value if dtype is None else self._value.astype(dtype)
