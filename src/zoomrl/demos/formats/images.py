"""Images of foreign sets: limits, a few at a time, and PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 4096 * 2160
"""Of one image that is read."""
MAX_VIDEO_PIXELS = 1920 * 1200
"""Of a frame of a video that is read: its decoder keeps up to 17 of them."""
_SLICE_BYTES = 16 << 20
"""Images that are read at once: large ones are made smaller before the next are read."""
Sized = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Makes images [N, H, W, C] of one camera those that are kept, [N, h, w, 3]."""
SizedOf = Callable[[str], Sized]
"""That of the camera with this key."""


@dataclass(frozen=True)
class Frames:
    """Images of one camera that are not read yet: they are read into their place, few at a time in their full size.

    Attributes:
        count: how many there are, T or T + 1.
        read_into: fills uint8 [count, h, w, 3] with them, in the size that is kept.
    """

    count: int
    read_into: Callable[[NDArray[np.uint8]], None]

    def followed_by(self, last: NDArray[np.uint8]) -> Frames:
        """These and ``last`` [1, h, w, 3] after them."""

        def read_into(out: NDArray[np.uint8]) -> None:
            self.read_into(out[:-1])
            out[-1:] = last

        return Frames(self.count + 1, read_into)


def one_by_one(images: Iterable[tuple[str, NDArray[np.uint8]]], count: int, sized: Sized) -> Frames:
    """The ``count`` images [H, W, 3], each with its name, as ``sized`` makes them. Reading raises a ValueError where
    they differ in size."""

    def read_into(out: NDArray[np.uint8]) -> None:
        shape: tuple[int, ...] = ()
        for index, (name, image) in enumerate(images):
            shape = shape or image.shape
            if image.shape != shape:
                sizes = " and ".join("{} x {}".format(*one[:2]) for one in (shape, image.shape))
                raise ValueError(f"it holds images of {sizes} (first {name})")
            out[index : index + 1] = sized(image[None])

    return Frames(count, read_into)


def in_slices(array: Any, sized: Sized, whole: int = 1) -> Frames:
    """The images of ``array`` [T, ...], which is in memory or in a file, as ``sized`` makes them.

    Floating-point numbers are levels from 0 to 255 in all images where any of them lies above 1, else from 0 to 1: one
    image alone could be a dark one.

    Args:
        array: with ``nbytes`` and slices, as of NumPy, HDF5 or zarr.
        sized: makes them those that are kept.
        whole: how many are unpacked together, whatever is asked for.
    """

    def read_into(out: NDArray[np.uint8]) -> None:
        count = max(1, _SLICE_BYTES // max(1, array.nbytes // max(1, len(array))))
        count = max(whole, count // whole * whole)
        starts = range(0, len(array), count)
        bytewise = array.dtype.kind == "f" and any(np.max(array[n : n + count], initial=0) > 1 for n in starts)
        for first in starts:
            found = array[first : first + count]
            part = sized(_levels(found) if bytewise else found)
            out[first : first + len(part)] = part

    return Frames(len(array), read_into)


def as_levels(images: NDArray[Any]) -> NDArray[Any]:
    """``images``; as bytes where they are floating-point numbers of which any lies above 1."""
    return _levels(images) if images.dtype.kind == "f" and np.max(images, initial=0) > 1 else images


def _levels(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Levels from 0 to 255 that are stored as floating-point numbers, to the nearest; ValueError for others."""
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 255):  # also NaN
        raise ValueError(f"images came as {images.dtype} with values from {low:g} to {high:g}, not from 0 to 255")
    return np.rint(images).astype(np.uint8)


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
