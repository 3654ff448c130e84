"""Arrays through a file in memory that two processes share. Reading and writing copy, so that neither can crash."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.errors import WorkerError

Places = dict[str, tuple[str, tuple[int, ...], int]]
"""Name -> type, shape and first byte."""
_AT_ONCE = 1 << 30


def write_arrays(descriptor: int, arrays: Mapping[str, NDArray[Any]]) -> Places:
    """Write arrays over what the file holds, and where they are.

    Raises:
        WorkerError: there is no memory for them.
    """
    try:
        return _write(descriptor, arrays)
    except OSError as error:
        size = sum(array.nbytes for array in arrays.values())
        raise WorkerError(
            f"{size / 1e6:,.1f} MB of weights or episodes could not be put into shared memory (/dev/shm): "
            f"{error.strerror or error}. Give a container more of it (--shm-size), or use fewer collect.actors"
        ) from error


def _write(descriptor: int, arrays: Mapping[str, NDArray[Any]]) -> Places:
    places: Places = {}
    at = 0
    for name, array in arrays.items():
        places[name] = (array.dtype.str, array.shape, at)
        left = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        while left:
            done = os.pwrite(descriptor, left[:_AT_ONCE], at)
            left, at = left[done:], at + done
    return places


def read_arrays(descriptor: int, places: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays of :func:`write_arrays`, as copies.

    Raises:
        OSError: the file is shorter than that.
    """
    arrays = {}
    for name, (kind, shape, first) in places.items():
        array = np.empty(shape, np.dtype(kind))
        left, at = memoryview(array.reshape(-1).view(np.uint8).data), first
        while left:
            done = os.preadv(descriptor, [left[:_AT_ONCE]], at)
            if not done:
                raise OSError(f"{name!r} ends after {at - first} bytes of {array.nbytes}")
            left, at = left[done:], at + done
        arrays[name] = array
    return arrays
