"""Which source made the cells of an experiment: one that goes on after a change is made by two."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoomrl.files import read_sealed, write_json
from zoomrl.version import __version__

FILE = "sources.json"
_PACKAGE = Path(__file__).resolve().parents[1]


def source_digest(package: Path = _PACKAGE) -> str:
    """SHA-256 of all Python files of ``package``, by their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def note_source(directory: Path) -> None:
    """Add the source that runs now to those that made cells in ``directory``, unless it is the newest of them.

    Raises:
        CheckpointError: the list is damaged, or was edited.
    """
    held, digest = sources(directory), source_digest()
    if not held or held[-1]["digest_of_source"] != digest:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        newest = {"digest_of_source": digest, "zoomrl": __version__, "since": now}
        write_json(directory / FILE, {"sources": [*held, newest]})


def sources(directory: Path) -> list[dict[str, Any]]:
    """The sources that made cells in ``directory``, in their order; empty before the first cell.

    Raises:
        CheckpointError: as of :func:`note_source`.
    """
    path = directory / FILE
    if not path.exists():
        return []
    held = read_sealed(path, "It tells which source made the cells: restore it from a copy")
    found: list[dict[str, Any]] = held["sources"]
    return found
