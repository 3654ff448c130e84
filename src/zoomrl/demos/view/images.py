"""Images of an episode on a few sheets: small to keep, quick to move through, and readable without a script.

A sheet is one JPEG with many images in rows. It carries one header instead of one per image, is decoded once, and every
browser can show any image of it at once, which it cannot do with a video.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoomrl.demos.view.markup import Html

MAX_SIDE = 320
"""Height and width up to which an image is shown as it is; larger ones are shrunk to it."""
_SHEET_SIDE = 2048
_BLOCK = 8
"""Images begin at whole blocks of JPEG, so that none takes the colours of its neighbour."""
_QUALITY = 85


@dataclass(frozen=True)
class Sheets:
    """The images of one camera.

    Attributes:
        width, height: of an image.
        pitch: pixels from one image on a sheet to the next, to the right and down.
        columns, rows: of images on a full sheet.
        data: the sheets as data URIs.
    """

    width: int
    height: int
    pitch: tuple[int, int]
    columns: int
    rows: int
    data: tuple[Html, ...]


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that an image is shown at."""
    factor = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def make_sheets(images: NDArray[np.uint8], chosen: Sequence[int]) -> Sheets:
    """Sheets of ``images`` [T, H, W, 3], of the rows ``chosen`` alone."""
    height, width = shown_size(*images.shape[1:3])
    pitch = math.ceil(width / _BLOCK) * _BLOCK, math.ceil(height / _BLOCK) * _BLOCK
    columns = min(len(chosen), max(1, _SHEET_SIDE // pitch[0]))
    rows = min(math.ceil(len(chosen) / columns), max(1, _SHEET_SIDE // pitch[1]))
    data = [
        _sheet(images, chosen[first : first + columns * rows], (height, width), pitch, columns)
        for first in range(0, len(chosen), columns * rows)
    ]
    return Sheets(width, height, pitch, columns, rows, tuple(data))


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """An image [H, W, 3] as JPEG."""
    buffer = io.BytesIO()
    # Without optimize=True: Pillow fails with it where noise takes more than a byte per pixel.
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def _sheet(
    images: NDArray[np.uint8], chosen: Sequence[int], size: tuple[int, int], pitch: tuple[int, int], columns: int
) -> Html:
    (height, width), (right, down) = size, pitch
    sheet = np.zeros((math.ceil(len(chosen) / columns) * down, min(columns, len(chosen)) * right, 3), np.uint8)
    for place, index in enumerate(chosen):
        image = np.ascontiguousarray(images[index])
        if image.shape[:2] != size:
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        top, left = place // columns * down, place % columns * right
        # The edge goes on up to the next block: a black one would show as a seam.
        padded = np.pad(image, ((0, down - height), (0, right - width), (0, 0)), "edge")
        sheet[top : top + down, left : left + right] = padded
    return Html("data:image/jpeg;base64," + base64.b64encode(jpeg(sheet)).decode())
