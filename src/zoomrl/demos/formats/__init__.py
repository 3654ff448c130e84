"""Demonstrations of other programs, in and out. Each format is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from zoomrl.demos.formats.base import Imported, ImportOptions
from zoomrl.demos.formats.detect import detect
from zoomrl.demos.store.reader import DemoSet
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.plugins import Registry

__all__ = ["READERS", "WRITERS", "ImportOptions", "Imported", "detect", "read", "write"]


class Reader(Protocol):
    """A module that reads a format."""

    def read(self, path: Path, options: ImportOptions) -> Imported:
        """Read the set at ``path``."""
        ...


class Writer(Protocol):
    """A module that writes a format."""

    def write(self, path: Path, demos: DemoSet, overwrite: bool, **options: bool) -> Sequence[str] | None:
        """Write ``demos`` to ``path``; a line for each thing that the format cannot hold as it is, if any."""
        ...


READERS: Registry[Reader] = Registry(
    "zoomrl.formats",
    {
        "robomimic": "zoomrl.demos.formats.hdf5.robomimic",
        "aloha": "zoomrl.demos.formats.hdf5.aloha",
        "maniskill": "zoomrl.demos.formats.hdf5.maniskill",
        "lerobot": "zoomrl.demos.formats.lerobot.reader",
        "minari": "zoomrl.demos.formats.minari",
        "npz": "zoomrl.demos.formats.npz.reader",
        "zarr": "zoomrl.demos.formats.flat.zarr",
        "d4rl": "zoomrl.demos.formats.flat.d4rl",
        "ogbench": "zoomrl.demos.formats.flat.ogbench",
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


_ONLY = {"action": ("lerobot", "aloha"), "subset": ("lerobot", "robomimic")}
"""Option -> the formats that know it."""


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
    for option, formats in _ONLY.items():
        if options and getattr(options, option) and name not in formats and name not in READERS.plugins:
            raise ConfigError(f"--{option} is for {' and '.join(formats)}; leave it out for {name}")
    return READERS[name].read(Path(path), options or ImportOptions())


def write(
    format: str, path: str | Path, demos: DemoSet, overwrite: bool = False, *, video: bool = False
) -> Sequence[str]:
    """Write ``demos`` to ``path`` as ``format``, one of :data:`WRITERS`; images as ``video`` for LeRobot alone.

    Returns:
        A line for each thing that the format cannot hold as it is.

    Raises:
        ConfigError: for an unknown format, or one that has no videos.
        DemonstrationError: when something lies at ``path`` and ``overwrite`` is off.
        MissingDependencyError: when the format needs a package that is not installed.
    """
    if format not in WRITERS:
        raise unknown_name("demonstration format", format, WRITERS)
    if video and format != "lerobot":
        raise ConfigError(f"videos are written for lerobot only; leave --video out for {format}")
    return WRITERS[format].write(Path(path), demos, overwrite, **({"video": True} if video else {})) or ()
