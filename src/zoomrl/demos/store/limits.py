"""Limits on files that others wrote: what they may lie on, and how much memory they may ask for.

A file says how large its arrays are, and a few bytes can say a lot. So what a file declares is held against what it
stores, before anything is allocated, with the copies that are made on the way. Numbers are believed as far as memory of
:data:`NUMBERS` times the file and :data:`FREE` bytes suffices; images, which pack better, up to a factor.
"""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoomrl.errors import ConfigError

NUMBERS = 1.5
"""Bytes of memory that are believed per stored byte, of whatever kind: with the allocator's losses about twice."""
FREE = 48 << 20
"""Bytes of memory that a set is given besides, whatever is stored."""
IMAGES = 32
"""Bytes that are believed per stored byte of images. Those of simulators pack 2 to 30 times."""
VIDEO = 128
"""Bytes of images, at the size that they are kept in, that are believed per stored byte of video."""
MAX_WIDTH = 1 << 15
"""Numbers of a state or action: a spec says several things of each, which take more memory than the numbers."""
_POINTER, _POINTER_BYTES = b"version https://git-lfs.github.com/spec/", 1024
VARIABLE = "ZOOMRL_MAX_EXPANSION"
"""Environment variable with a factor that replaces those above where it is larger, for sets of one's own."""


class Budget:
    """The memory that one set may ask for.

    Args:
        copies: of the largest episode that its reader makes on the way; the rest is held once.
        factor: believed at least of every stored byte; by default what :data:`VARIABLE` says.
    """

    def __init__(self, copies: int = 1, factor: int | None = None) -> None:
        self._copies = copies
        self._factor = _factor() if factor is None else factor
        self._kept = self._largest = self._stored = 0
        self._believed = 0.0
        self._parts: Counter[str] = Counter()
        self._worst = ("", 0, 0)
        self._counted: set[Path] = set()

    def add(
        self, what: str, kept: int, stored: int, ratio: float = NUMBERS, part: str = "", *, read: int | None = None
    ) -> None:
        """Count an array.

        Args:
            what: its name.
            kept: bytes of memory that it takes.
            stored: bytes that it takes of the file.
            ratio: bytes believed per stored byte of its kind.
            part: the episode that it belongs to.
            read: bytes that it takes on the way; as many as are kept by default.
        """
        self._kept += kept
        self._parts[part] += kept if read is None else read
        self._largest = max(self._largest, self._parts[part])
        self._stored += stored
        self._believed += max(ratio, self._factor) * stored
        self._worst = max(self._worst, (what, kept, stored), key=lambda one: one[1] - one[2])

    def file(self, path: Path, ratio: float = NUMBERS) -> None:
        """Count a file whose content will be decoded; once, however often it is named."""
        if path not in self._counted:
            self._counted.add(path)
            self.add(path.name, 0, path.stat().st_size, ratio)

    @property
    def exceeded(self) -> bool:
        """Whether what was added needs more memory than is believed."""
        allowed = max(NUMBERS * self._stored + FREE, self._believed)
        return self._kept > self._stored and self._kept + self._copies * self._largest > allowed

    def check(self) -> None:
        """Return while what was added is believed.

        Raises:
            ValueError: it is not; names what asks for most.
        """
        if self.exceeded:
            what, kept, stored = self._worst
            raise ValueError(
                f"{what} declares {kept:,} bytes, of which the file stores {stored:,}; in all {self._kept:,} of "
                f"{self._stored:,}. That is refused, since a small file could fill the memory. For a set that you "
                f"trust, set {VARIABLE}=2000 in the environment"
            )


class Size(NamedTuple):
    """Memory of an array, and what is believed of its kind."""

    kept: int
    read: int
    ratio: float


def array_size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Size:
    """Of an array in a file: images stay bytes, all else is kept as float32."""
    count = math.prod(shape)
    if dtype == np.uint8 and len(shape) > 3:
        return Size(count, count, IMAGES)
    return Size(4 * count, max(4, dtype.itemsize) * count, NUMBERS)


def regular(path: Path, root: Path | None = None) -> Path:
    """``path``, where it is a regular file; with ``root``, one that lies in this folder when links are followed.

    Raises:
        ValueError: it is a pipe, device or folder, a link that leads out of ``root``, or stands in for a file that Git
            LFS has not fetched.
        OSError: it is not there.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is no regular file")
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"{path.name} is a link to a file outside {root}, which is not followed. Copy the set with what its links "
            "lead to (cp -rL), if it is yours"
        )
    if found.st_size < _POINTER_BYTES and is_pointer(path):
        raise ValueError(
            f"{path.name} is a pointer of Git LFS, not the file itself: run `git lfs pull` in its folder, or download "
            "the file again"
        )
    return path


def is_pointer(path: Path) -> bool:
    """Whether a regular file stands in for one that Git LFS has not fetched."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _factor() -> int:
    text = os.environ.get(VARIABLE, "")
    try:
        factor = int(text) if text else 1
    except ValueError:
        factor = 0
    if factor < 1:
        raise ConfigError(f"{VARIABLE} must be a whole number of 1 or more, got {text!r}")
    return factor
