"""Minari's JSON of Gymnasium spaces, to and from our array specs. Neither package is imported."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.files import MAX_JSON_DEPTH, depth
from zoomrl.spec import ArraySpec


def dict_space_json(observations: Mapping[str, ArraySpec]) -> str:
    """A ``Dict`` of ``Box`` spaces as Minari writes it."""
    return json.dumps({"type": "Dict", "subspaces": {name: _box(spec) for name, spec in observations.items()}})


def box_space_json(spec: ArraySpec) -> str:
    """One ``Box`` space as Minari writes it."""
    return json.dumps(_box(spec))


def parse_observations(text: str) -> tuple[dict[str, ArraySpec], list[str]]:
    """Observation specs of a serialised space, in its order, and the names of entries that are no ``Box``.

    A lone ``Box`` is called ``state``; names of nested ``Dict`` spaces are joined by "/".

    Raises:
        ValueError: for a space that is neither a ``Box`` nor a ``Dict`` with any.
    """
    space = _parsed(text)
    if space["type"] != "Dict":
        return {"state": _array_spec(space, "the observation")}, []
    leaves = dict(_leaves(space))
    boxes = {name: _array_spec(leaf, f"observation {name!r}") for name, leaf in leaves.items() if leaf["type"] == "Box"}
    others = [name for name in leaves if name not in boxes]
    if not boxes:
        raise ValueError(f"no observation is a Box space: {', '.join(others) or 'there is none'}")
    return boxes, others


def _leaves(space: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, part in space["subspaces"].items():
        if part["type"] == "Dict":
            yield from _leaves(part, (*path, key))
        else:
            yield "/".join((*path, key)), part


def parse_action(text: str) -> ArraySpec:
    """The action spec of a serialised space.

    Raises:
        ValueError: unless it is a one-dimensional ``Box`` with finite bounds.
    """
    spec = _array_spec(_parsed(text), "the action")
    if len(spec.shape) != 1 or spec.low is None or spec.high is None:
        raise ValueError(f"the action must be a bounded Box of shape [A], got shape {list(spec.shape)} or no bounds")
    return spec


def _parsed(text: str) -> Any:
    try:
        space = json.loads(text)  # bounds may be infinite, which is no JSON for parse_json
    except RecursionError:
        space = None
    if space is None or depth(space, MAX_JSON_DEPTH) > MAX_JSON_DEPTH:
        raise ValueError(f"the space is no object of at most {MAX_JSON_DEPTH} levels")
    return space


def _box(spec: ArraySpec) -> dict[str, Any]:
    dtype = np.dtype(spec.dtype)
    if np.issubdtype(dtype, np.integer):
        lowest, highest = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    else:
        lowest, highest = -math.inf, math.inf
    return {
        "type": "Box",
        "dtype": str(dtype),
        "shape": list(spec.shape),
        "low": _filled(spec.low, lowest, spec.shape, dtype).tolist(),
        "high": _filled(spec.high, highest, spec.shape, dtype).tolist(),
    }


def _filled(
    bound: tuple[float, ...] | None, default: float, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    if bound is None:
        return np.full(shape, default, dtype)
    return np.asarray(bound, dtype).reshape(shape)


def _array_spec(space: Mapping[str, Any], what: str) -> ArraySpec:
    if space["type"] != "Box":
        raise ValueError(f"{what} must be a Box space, got {space['type']}")
    shape, dtype = tuple(space["shape"]), np.dtype(space["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold numbers, got {space['dtype']!r:.40}")
    # Everything above the file works in float32; integers (images) stay as they are.
    name = "float32" if np.issubdtype(dtype, np.floating) else str(dtype)
    low, high = np.ravel(space["low"]), np.ravel(space["high"])
    if np.issubdtype(dtype, np.integer):
        bounded = bool((low > np.iinfo(dtype).min).any() or (high < np.iinfo(dtype).max).any())
    else:
        bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
    if not bounded:
        return ArraySpec(shape, name)
    return ArraySpec(shape, name, tuple(low.astype(float).tolist()), tuple(high.astype(float).tolist()))
