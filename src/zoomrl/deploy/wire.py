"""What goes over the wire: msgpack with arrays, as openpi's clients send it. Nothing is unpickled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zoomrl.errors import ConfigError, import_optional

MAX_PARTS = 1000
"""Entries of one map or list."""
MAX_AXES = 8
_ARRAY, _NUMBER = b"__ndarray__", b"__npgeneric__"


class WireError(ConfigError):
    """A message that is not one. Says what was wrong with it."""


def pack(message: dict[str, Any]) -> bytes:
    """``message``, whose values are plain or arrays, as bytes."""
    packed: bytes = _msgpack().packb(message, default=_plain)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The message in ``data``.

    Raises:
        WireError: it is damaged, no map, or declares more than it holds.
    """
    size = len(data)
    try:
        message = _msgpack().unpackb(
            data,
            object_hook=_array,
            max_str_len=min(size, 1 << 16),
            max_bin_len=size,
            max_array_len=MAX_PARTS,
            max_map_len=MAX_PARTS,
            max_ext_len=0,
        )
    except Exception as error:  # of msgpack, of what the bytes stand for
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise WireError(f"the message cannot be unpacked: {why}"[:300]) from error
    if not isinstance(message, dict):
        raise WireError(f"a message is a map of names to arrays, got {type(message).__name__}")
    if wrong := [key for key in message if not isinstance(key, str)]:
        raise WireError(f"names in a message are texts, got {str(wrong[0])[:40]}")
    return message


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {_NUMBER: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _array(found: dict[Any, Any]) -> Any:
    if _ARRAY in found:
        dtype, data = _dtype(found.get(b"dtype")), found.get(b"data")
        shape = found.get(b"shape")
        if not isinstance(shape, list | tuple) or len(shape) > MAX_AXES:
            raise WireError(f"the shape of an array is a list of at most {MAX_AXES} numbers")
        if not all(isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in shape):
            raise WireError("the shape of an array is made of whole numbers of 0 or more")
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
            held = len(data) if isinstance(data, bytes) else 0
            raise WireError(f"an array of {dtype} and shape {list(shape)} does not fill {held} bytes")
        return np.frombuffer(data, dtype).reshape(shape)
    if _NUMBER in found:
        value = found.get(b"data")
        if not isinstance(value, bool | int | float):
            raise WireError(f"a number came as {type(value).__name__}")
        return _dtype(found.get(b"dtype")).type(value)
    return found


def _dtype(name: Any) -> np.dtype[Any]:
    """Plain numbers alone: an array of objects would be a program."""
    if not isinstance(name, str | bytes) or len(name) > 8:
        raise WireError(f"an array's dtype is a short text, got {name!r:.40}")
    dtype = np.dtype(name.decode("ascii") if isinstance(name, bytes) else name)
    if dtype.kind not in "biuf":
        raise WireError(f"arrays hold numbers, got {dtype}")
    return dtype


def _msgpack() -> Any:
    return import_optional("msgpack", "serve")
