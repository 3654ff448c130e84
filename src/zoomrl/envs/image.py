"""What a renderer returns, as an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHANNELS = (1, 3, 4)


def as_image(rendered: Any) -> NDArray[np.uint8]:
    """``rendered`` as uint8 [H, W, 3].

    Taken are [H, W], [H, W, C] and [C, H, W] with 1, 3 or 4 channels: grey is repeated and an alpha channel left out.
    Floating-point numbers are read as 0 to 1 where none exceeds 1, else as 0 to 255; truth values as black and white;
    integers as 0 to 255.

    Raises:
        ValueError: for anything else; says what came.
    """
    array = np.asarray(rendered)
    came = f"{array.dtype}{list(array.shape)}" if array.ndim else type(rendered).__name__
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and array.shape[-1] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in _CHANNELS or not array.size or array.dtype.kind not in "buif":
        raise ValueError(f"the renderer returned {came}, and an image is uint8 [H, W, 3]")
    if array.dtype != np.uint8:
        array = levels(array, f"the renderer returned {came}")
    # A copy: a renderer may write its next image into the same memory.
    return np.array(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)), order="C")


def levels(array: NDArray[Any], came: str, most: int = 255, *, fraction: bool = True) -> NDArray[np.uint8]:
    """Grey levels 0 to 255 of an image's values: of floating-point numbers up to 1, truth values or integers.

    Without ``fraction``, floating-point numbers up to 1 are levels themselves, nearly black ones.

    Raises:
        ValueError: for values below 0 or above ``most``; ``came`` says what the image is.
    """
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= most):  # also NaN
        raise ValueError(f"{came} with values from {low:g} to {high:g}, not from 0 to {most}")
    unit = array.dtype.kind == "b" or (fraction and array.dtype.kind == "f" and high <= 1)
    return np.rint(array * np.float64(255 if unit else 1)).astype(np.uint8)
