"""Images of foreign sets: limits, a few at a time, and PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 4096 * 2160
"""Of one image that is read."""
MAX_VIDEO_PIXELS = 1920 * 1200
"""Of a frame of a video that is read: its decoder keeps up to 17 of them."""
Sized = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Makes images [N, H, W, C] of one camera those that are kept, [N, h, w, 3]."""
SizedOf = Callable[[str], Sized]
"""That of the camera with this key."""


def gathered(images: Iterable[tuple[str, NDArray[np.uint8]]], count: int, sized: Sized) -> NDArray[np.uint8]:
    """The ``count`` images [H, W, 3], each with its name, as ``sized`` makes them: one at a time has its full size.

    Raises:
        ValueError: they differ in size, or there is none.
    """
    made: NDArray[np.uint8] | None = None
    shape: tuple[int, ...] = ()
    for index, (name, image) in enumerate(images):
        small = sized(image[None])
        if made is None:
            made, shape = np.empty((count, *small.shape[1:]), np.uint8), image.shape
        if image.shape != shape:
            sizes = " and ".join("{} x {}".format(*one[:2]) for one in (shape, image.shape))
            raise ValueError(f"it holds images of {sizes} (first {name})")
        made[index] = small[0]
    if made is None:
        raise ValueError("it holds no images")
    return made


def encode(image: NDArray[np.uint8]) -> bytes:
    """``image`` [H, W, 3] as PNG, without loss."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The image [H, W, 3] in the bytes of a PNG or JPEG file.

    Raises:
        ValueError: it declares more than :data:`MAX_PIXELS`. Pillow's errors for anything else.
    """
    from PIL import Image

    # Pillow knows many more formats, some of which start other programs.
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"an image of {image.width} x {image.height} is too large: {MAX_PIXELS:,} pixels are read")
        return np.asarray(image.convert("RGB"))
