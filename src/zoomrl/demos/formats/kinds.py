"""Of the arrays that a file holds, which are cameras, which are vectors, and how they are listed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from zoomrl.envs.camera import SMALLEST_SIDE, is_image_array

_LISTED = 40


class Array(NamedTuple):
    """What an array declares: [T, ...]."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Kinds:
    """Names by what their arrays are.

    Attributes:
        cameras: images, [T, H, W, C], [T, C, H, W] or [T, H, W].
        vectors: numbers and truth values, [T] or [T, D].
        larger: arrays of more axes that are no images, such as poses [T, 4, 4].
        floating: those of the vectors that hold floating-point numbers.
    """

    cameras: list[str]
    vectors: list[str]
    larger: list[str]
    floating: list[str]

    @property
    def numbers(self) -> list[str]:
        """What may be joined into a state: vectors, and larger arrays, which become vectors."""
        return [*self.vectors, *self.larger]


def kinds(arrays: Mapping[str, Array], cameras: Collection[str] = ()) -> Kinds:
    """Sort ``arrays``, in their order; those called ``cameras`` are images whatever they declare."""
    images = [name for name, array in arrays.items() if name in cameras or is_camera(array)]
    others = {name: a for name, a in arrays.items() if name not in images and a.dtype.kind in "biuf" and a.shape}
    vectors = [name for name, array in others.items() if len(array.shape) <= 2]
    larger = [name for name in others if name not in vectors]
    return Kinds(images, vectors, larger, [name for name in vectors if others[name].dtype.kind == "f"])


def is_camera(array: Array) -> bool:
    """Whether an array [T, ...] is one of images: bytes, or colours in floating-point numbers, with the channels in the
    last axis or the first."""
    shape = array.shape[1:]
    if len(array.shape) not in (3, 4):
        return False
    if array.dtype.kind == "f" and len(shape) == 3:
        sides = shape[:2] if shape[-1] == 3 else shape[1:] if shape[0] == 3 else (0,)
        return min(sides) >= SMALLEST_SIDE
    return is_image_array(shape, array.dtype)


def listing(arrays: Mapping[str, Array]) -> str:
    """``arrays`` in words: cameras, vectors and the rest, each with its name, type and shape."""
    found = kinds(arrays)
    rest = [name for name in arrays if name not in found.cameras and name not in found.numbers]
    parts = [
        f"{title} {_listed(names, arrays)}"
        for title, names in (
            ("the cameras", found.cameras),
            ("the vectors", found.vectors),
            ("the arrays", [*found.larger, *rest]),
        )
        if names
    ]
    return "; ".join(parts) or "no arrays"


def _listed(names: list[str], arrays: Mapping[str, Array]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(f"{name} {arrays[name]}" for name in names[:_LISTED]) + more
