"""Limits on files that others wrote: what they may lie on, and how much memory they may ask for.

A file says how large its arrays are, and a few bytes can say a lot. So what a file declares is held against what it
stores, before anything is allocated. Compression is believed up to :data:`RATIO`, and :data:`FREE` bytes are given to
each set besides, so that small sets of any kind pass.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zoomrl.errors import ConfigError

RATIO = 64
"""Declared bytes that are believed per stored byte. Pictures of simulators compress 5 to 50 times, numbers 1 to 20."""
FREE = 64 << 20
"""Declared bytes of a set that are believed whatever is stored."""
VARIABLE = "ZOOMRL_MAX_EXPANSION"
"""Environment variable that replaces :data:`RATIO`, for sets of one's own that compress better."""


class Budget:
    """What one set may still ask for."""

    def __init__(self) -> None:
        self._ratio = _ratio()
        self._beyond = 0
        self._declared = self._stored = 0
        self._counted: set[Path] = set()

    def array(self, what: str, declared: int, stored: int) -> None:
        """Take the bytes that an array declares, where the file stores that many of it.

        Raises:
            ValueError: what the arrays of the set declare beyond belief exceeds what is given.
        """
        self._beyond += max(0, declared - self._ratio * stored)
        if self._beyond > FREE:
            raise ValueError(f"{what} declares {declared:,} bytes, of which the file stores {stored:,}. {_ADVICE}")

    def file(self, path: Path) -> None:
        """Count a file whose content will be decoded; once, however often it is named."""
        if path not in self._counted:
            self._counted.add(path)
            self._stored += path.stat().st_size

    def decoded(self, what: str, declared: int) -> None:
        """Take the bytes that the decoded content of the files counted so far needs.

        Raises:
            ValueError: more than those files can be believed to hold.
        """
        self._declared += declared
        if self._declared > self._ratio * self._stored + FREE:
            raise ValueError(
                f"{what} would need {self._declared:,} bytes in all, from files of {self._stored:,} bytes. {_ADVICE}"
            )


_ADVICE = (
    f"More than {RATIO} times is refused, since a small file could fill the memory. "
    f"For a set that you trust, set {VARIABLE}=2000 in the environment"
)


def regular(path: Path, root: Path | None = None) -> Path:
    """``path``, where it is a regular file; with ``root``, one that lies in this folder when links are followed.

    Raises:
        ValueError: it is a pipe, device or folder, or a link that leads out of ``root``.
        OSError: it is not there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is no regular file")
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"{path.name} is a link to a file outside {root}, which is not followed. Copy the set with what its links "
            "lead to (cp -rL), if it is yours"
        )
    return path


def _ratio() -> int:
    text = os.environ.get(VARIABLE, "")
    try:
        ratio = int(text) if text else RATIO
    except ValueError:
        ratio = 0
    if ratio < 1:
        raise ConfigError(f"{VARIABLE} must be a whole number of 1 or more, got {text!r}")
    return ratio
