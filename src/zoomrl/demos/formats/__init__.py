"""Demonstrations of other programs, in and out. Each format is loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.store.reader import DemoSet
from zoomrl.errors import ConfigError, DemonstrationError, unknown_name
from zoomrl.plugins import Registry

__all__ = ["READERS", "WRITERS", "ImportOptions", "Imported", "detect", "read", "write"]


class Reader(Protocol):
    """A module that reads a format."""

    def read(self, path: Path, options: ImportOptions) -> Imported:
        """Read the set at ``path``."""
        ...


class Writer(Protocol):
    """A module that writes a format."""

    def write(self, path: Path, demos: DemoSet, overwrite: bool, **options: bool) -> None:
        """Write ``demos`` to ``path``."""
        ...


READERS: Registry[Reader] = Registry(
    "zoomrl.formats",
    {
        "robomimic": "zoomrl.demos.formats.hdf5.robomimic",
        "lerobot": "zoomrl.demos.formats.lerobot.reader",
        "minari": "zoomrl.demos.formats.minari",
        "npz": "zoomrl.demos.formats.npz.reader",
        "bigym": "zoomrl.demos.formats.bigym.reader",
        "rlbench": "zoomrl.demos.formats.rlbench.reader",
    },
    needs=("read",),
)
"""Format -> module with ``read``."""

WRITERS: Registry[Writer] = Registry(
    "zoomrl.formats",
    {
        "minari": "zoomrl.demos.formats.minari",
        "lerobot": "zoomrl.demos.formats.lerobot.writer",
        "npz": "zoomrl.demos.formats.npz.reader",
    },
    needs=("write",),
)
"""Format -> module with ``write``."""


def read(format: str, path: str | Path, options: ImportOptions | None = None) -> Imported:
    """Read the foreign set at ``path``; ``format`` is one of :data:`READERS`, or ``auto``.

    Raises:
        ConfigError: for an unknown format, or options that cannot be met.
        DemonstrationError: when there is nothing, or no episode can be read; lists every fault.
        MissingDependencyError: when the format needs a package that is not installed.
    """
    name = detect(path) if format == "auto" else format
    if name not in READERS:
        raise unknown_name("demonstration format", name, [*READERS, "auto"])
    return READERS[name].read(Path(path), options or ImportOptions())


def write(format: str, path: str | Path, demos: DemoSet, overwrite: bool = False, *, video: bool = False) -> None:
    """Write ``demos`` to ``path`` as ``format``, one of :data:`WRITERS`; images as ``video`` for LeRobot alone.

    Raises:
        ConfigError: for an unknown format, or one that has no videos.
        DemonstrationError: when something lies at ``path`` and ``overwrite`` is off.
        MissingDependencyError: when the format needs a package that is not installed.
    """
    if format not in WRITERS:
        raise unknown_name("demonstration format", format, WRITERS)
    if video and format != "lerobot":
        raise ConfigError(f"videos are written for lerobot only; leave --video out for {format}")
    WRITERS[format].write(Path(path), demos, overwrite, **({"video": True} if video else {}))


def detect(path: str | Path) -> str:
    """The format that what lies at ``path`` looks like.

    Raises:
        ConfigError: it looks like none.
        DemonstrationError: there is nothing.
    """
    root = Path(path)
    if not root.exists():
        raise DemonstrationError(f"there is nothing at {root}")
    if root.is_file():
        found = {".hdf5": "robomimic", ".h5": "robomimic", ".safetensors": "bigym"}.get(root.suffix)
    else:
        found = next((name for name, pattern in _SIGNS if next(root.glob(pattern), None)), None)
    if found is None:
        raise ConfigError(f"cannot tell what format {root} has; name it: {', '.join(READERS)}")
    return found


_SIGNS = (
    ("lerobot", "meta/info.json"),
    ("minari", "data/main_data.hdf5"),
    ("minari", "main_data.hdf5"),
    ("npz", "episode_*.npz"),
    ("bigym", "**/*.safetensors"),
    ("rlbench", "**/low_dim_obs.pkl"),
)
