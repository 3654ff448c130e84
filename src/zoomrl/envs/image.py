"""What a renderer returns, as an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.runtime import levels

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
