"""Images of foreign sets: their size, and PNG."""

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
"""Makes images [N, H, W, 3] those of the size that is kept."""
METHOD = "by area where they shrink, linearly where they grow"


def resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``images`` [T, H, W, 3] at ``size`` (height, width); unchanged when they have it."""
    if images.shape[1:3] == size:
        return images
    from PIL import Image

    shrinks = images.shape[1] >= size[0] and images.shape[2] >= size[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(one).resize(size[::-1], method)) for one in images])


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
