"""From what a camera shows to an image of the run: colours, crop, size.

One function for environments, imported recordings and trained policies, so that a policy sees what it learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.config import crops_of
from zoomrl.envs.image import levels
from zoomrl.errors import MissingDependencyError
from zoomrl.spec import EnvSpec

METHOD = "by area where they shrink, linearly where they grow"
"""How images are resampled."""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Fitting:
    """What is done to the images of one camera.

    Attributes:
        size: of the result.
        fit: ``none``, ``stretch``, ``letterbox`` or ``crop``, as ``image_fit`` of
            :class:`~zoomrl.envs.config.EnvConfig` says.
        crop: (top, left, height, width) of the part that is kept before; () for the whole.
        source: size that the images must have before; None for any.
    """

    size: Size
    fit: str = "none"
    crop: tuple[int, ...] = ()
    source: Size | None = None

    def __call__(self, shown: Any) -> NDArray[np.uint8]:
        """:func:`fit_image` of what the camera shows; ValueError also for another size than ``source``."""
        image = as_rgb(shown)
        if self.source is not None and image.shape[:2] != self.source:
            raise ValueError(
                f"its images must be {_by(self.source)} pixels, as they were before, got {_by(image.shape)}: crop "
                "and fit are for that size. Let the camera show it, or resize its images before"
            )
        return fit_image(image, self.size, self.fit, self.crop)

    def describe(self, source: Size) -> str:
        """In words, what becomes of an image of the size ``source``."""
        parts = [f"{_by(source)}"]
        if self.crop:
            top, left, height, width = self.crop
            source = height, width
            parts.append(f"cropped to {_by(source)} from row {top}, column {left}")
        if source == self.size:
            return ", ".join(parts) + (" as it comes" if len(parts) == 1 else "")
        if self.fit == "crop":
            parts.append(f"its middle {_by(_middle(source, self.size))}")
        if self.fit == "letterbox":
            inner = _within(source, self.size)
            bars = "above and below" if inner[0] < self.size[0] else "at the sides"
            parts.append(f"resized to {_by(inner)}")
            parts += [f"with black bars {bars} to {_by(self.size)}"] if inner != self.size else []
        else:
            parts.append(f"{'stretched' if self.fit == 'stretch' else 'resized'} to {_by(self.size)}")
        return ", ".join(parts)


def fittings(spec: EnvSpec) -> tuple[Fitting, ...]:
    """What is done to the images of each camera of ``spec``, in the order of the views; none without images."""
    if "rgb" not in spec.observations:
        return ()
    views, height, width, _ = spec.observations["rgb"].shape
    sources = spec.camera_sizes or (None,) * views
    crops = crops_of(spec.image_crop, views)
    return tuple(
        Fitting((height, width), spec.image_fit, crop, source) for crop, source in zip(crops, sources, strict=True)
    )


def described(spec: EnvSpec) -> dict[str, str]:
    """Camera -> what becomes of its images, in words; empty where nothing is cropped or fitted, or no size is known."""
    if not spec.camera_sizes:
        return {}
    parts = zip(spec.cameras, fittings(spec), spec.camera_sizes, strict=True)
    return {camera: fitting.describe(source) for camera, fitting, source in parts}


def fit_image(shown: Any, size: Size, fit: str = "none", crop: Sequence[int] = ()) -> NDArray[np.uint8]:
    """What a camera shows, as an image of the run: its colours (:func:`as_rgb`), then the crop, then the size.

    Args:
        shown: an image in any form that :func:`as_rgb` reads.
        size: height and width wanted.
        fit: ``stretch`` resizes to ``size``. ``letterbox`` resizes to the largest image of the same aspect ratio that
            ``size`` holds, in the middle of black. ``crop`` cuts the largest part with the aspect ratio of ``size`` out
            of the middle, and resizes that. ``none`` takes images that have ``size`` alone.
        crop: (top, left, height, width) of the part that is kept before; () for the whole.

    Returns:
        uint8 [H, W, 3]; may be a view of ``shown``. Sizes are rounded to whole pixels, halves up; where an odd number
        of rows or columns is added or cut off, the larger part is at the bottom or on the right.

    Raises:
        ValueError: it is no image, the crop reaches beyond it, or its size is another and ``fit`` is ``none``.
    """
    image = as_rgb(shown)
    if crop:
        image = _cropped(image, crop)
    if image.shape[:2] == size:
        return image
    if fit == "stretch":
        return resized(image, size)
    if fit == "crop":
        height, width = _middle(image.shape[:2], size)
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return resized(image[top : top + height, left : left + width], size)
    if fit == "letterbox":
        height, width = _within(image.shape[:2], size)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        framed = np.zeros((*size, 3), np.uint8)
        framed[top : top + height, left : left + width] = resized(image, (height, width))
        return framed
    raise ValueError(
        f"an image of {_by(image.shape)} pixels came where {_by(size)} are expected, and no image_fit says how it "
        "becomes one: choose stretch, letterbox or crop, or show images of that size"
    )


def as_rgb(shown: Any) -> NDArray[np.uint8]:
    """What a camera shows as uint8 [H, W, 3]; may be a view of it.

    Taken are [H, W], [H, W, C] and [C, H, W] with 1, 3 or 4 channels: grey is repeated and an alpha channel left out.
    Of shapes that could be both, such as [3, 3, 3], the last axis holds the channels (:func:`channel_axis`). Bytes and
    other integers are levels from 0 to 255, floating-point numbers from 0 to 1, truth values black and white.

    Raises:
        ValueError: for anything else; says what came.
    """
    array = np.asarray(shown)
    came = f"{array.dtype}{list(array.shape)}" if array.ndim else type(shown).__name__
    axis = channel_axis(array.shape)
    if array.ndim == 2:
        array, axis = array[..., None], -1
    if axis is None or not array.size or array.dtype.kind not in "buif":
        raise ValueError(
            f"an image is [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels and at least one pixel, got {came}"
        )
    if axis == 0:
        array = np.moveaxis(array, 0, -1)
    if array.dtype != np.uint8:
        array = levels(array, f"an image came as {came}", 1 if array.dtype.kind == "f" else 255)
    return np.broadcast_to(array[..., :3], (*array.shape[:2], 3))


def channel_axis(shape: Sequence[int]) -> int | None:
    """The axis of the channels of an image of three axes: -1 or 0, or None where there are none.

    1 and 3 channels are looked for before 4, each first in the last axis: [3, 480, 4] is an image of 480 x 4 pixels.
    """
    if len(shape) != 3:
        return None
    for channels in ((1, 3), (4,)):
        for axis in (-1, 0):
            if shape[axis] in channels:
                return axis
    return None


SMALLEST_SIDE = 16
"""An array with two sides as long as this is meant to be looked at."""


def is_image_array(shape: Sequence[int], dtype: np.dtype[Any] | str) -> bool:
    """Whether an array of this shape and dtype is an image: uint8 [H, W, C] or [C, H, W] with 1 or 3 channels.

    Where both sides have :data:`SMALLEST_SIDE` pixels or more, also one with 4 channels (colours and alpha) or without
    their axis (grey). Smaller arrays of these forms are vectors.
    """
    if np.dtype(dtype) != np.uint8:
        return False
    axis = channel_axis(shape)
    if axis is not None and shape[axis] in (1, 3):
        return True
    sides = shape if len(shape) == 2 else () if axis is None else shape[:2] if axis == -1 else shape[1:]
    return len(sides) == 2 and min(sides) >= SMALLEST_SIDE


def resized(image: NDArray[np.uint8], size: Size, *, repeat: bool = False) -> NDArray[np.uint8]:
    """``image`` [H, W, 3] at ``size``: each pixel the mean of those it covers where neither side grows.

    Otherwise pixels are interpolated linearly (where a side shrinks, over all that a pixel covers); with ``repeat``
    they are repeated.

    Raises:
        MissingDependencyError: when Pillow is not installed, as it may be in a simulator's own interpreter.
    """
    if image.shape[:2] == size:
        return image
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            f"images are resized from {_by(image.shape)} to {_by(size)} with Pillow, which this Python cannot import "
            f"({error}). Install it there: pip install pillow"
        ) from error
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    method = Image.Resampling.BOX if shrinks or repeat else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], method))


def cropped_size(source: Size, crop: Sequence[int]) -> Size:
    """The size of an image after its crop; ValueError where that reaches beyond ``source``, or there are no pixels."""
    if min(source) < 1:
        raise ValueError(f"an image has at least one pixel, got {_by(source)}")
    if not crop:
        return source
    top, left, height, width = crop
    if min(top, left) < 0 or min(height, width) < 1 or top + height > source[0] or left + width > source[1]:
        raise ValueError(
            f"the crop of {_by((height, width))} pixels from row {top}, column {left} must lie within the image, which "
            f"has {_by(source)} (height x width). image_crop is top, left, height and width"
        )
    return height, width


def _cropped(image: NDArray[np.uint8], crop: Sequence[int]) -> NDArray[np.uint8]:
    top, left = crop[:2]
    height, width = cropped_size((image.shape[0], image.shape[1]), crop)
    return image[top : top + height, left : left + width]


def _middle(source: Sequence[int], size: Size) -> Size:
    """The largest part of ``source`` that has the aspect ratio of ``size``."""
    height, width = source[:2]
    if width * size[0] > height * size[1]:
        return height, min(width, max(1, _rounded(height * size[1], size[0])))
    return min(height, max(1, _rounded(width * size[0], size[1]))), width


def _within(source: Sequence[int], size: Size) -> Size:
    """The largest size with the aspect ratio of ``source`` that ``size`` holds."""
    height, width = source[:2]
    if width * size[0] > height * size[1]:
        return max(1, _rounded(height * size[1], width)), size[1]
    return size[0], max(1, _rounded(width * size[0], height))


def _rounded(numerator: int, denominator: int) -> int:
    """The quotient, rounded, halves up: whole numbers alone, the same everywhere."""
    return (2 * numerator + denominator) // (2 * denominator)


def _by(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
