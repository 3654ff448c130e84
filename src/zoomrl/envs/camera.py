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
from zoomrl.runtime import Size, as_rgb, channel_axis, fit_image, middle, within
from zoomrl.spec import EnvSpec

METHOD = "by area where they shrink, linearly where they grow"
"""How images are resampled."""


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
            parts.append(f"its middle {_by(middle(source, self.size))}")
        if self.fit == "letterbox":
            inner = within(source, self.size)
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


def _by(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
