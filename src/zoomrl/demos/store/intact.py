"""Whether the arrays of a set are those that were written: their file's hash, kept in the sealed metadata.

HDF5's own checksums cover the arrays alone. A bit that flips elsewhere in the file can change what is read without a
word, or keep HDF5 busy for ever, so the file is compared before HDF5 sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoomrl.demos.store import layout
from zoomrl.errors import DemonstrationError


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def description(path: Path) -> dict[str, Any]:
    """What the metadata keep of the file of arrays at ``path``."""
    return {"size": path.stat().st_size, "sha256": file_hash(path)}


def check_intact(path: Path, metadata: Mapping[str, Any], partial: bool = False) -> None:
    """Return where the file of arrays at ``path`` is the one that ``metadata`` describe, or they describe none.

    Args:
        path: of the file.
        metadata: of its set.
        partial: let a file pass that was cut short, of which the whole part is read.

    Raises:
        DemonstrationError: it is another file, or was changed.
    """
    if layout.FILE_KEY not in metadata:
        return  # made by Minari, or by an earlier version
    told, size = metadata[layout.FILE_KEY], path.stat().st_size
    if not isinstance(told, dict) or not isinstance(told.get("size"), int) or not isinstance(told.get("sha256"), str):
        raise DemonstrationError(
            f"{path.with_name(layout.METADATA_FILE)} must hold size and sha256 in {layout.FILE_KEY!r}, got {told!r:.80}"
        )
    if size < told["size"]:
        if partial:
            return
        what = f"cannot be opened (it is truncated: {size:,} of {told['size']:,} bytes are there)"
    elif size > told["size"]:
        what = f"is not the file that was written: it has {size:,} bytes instead of {told['size']:,}"
    elif file_hash(path) != told["sha256"]:
        what = "is damaged: its content does not match its checksum"
    else:
        return
    raise DemonstrationError(
        f"{path} {what}. Restore it from a copy, or collect or import the set again. If you changed it on purpose, or "
        f"want what can still be read of it, remove the last two entries of {layout.METADATA_FILE}: "
        f'"{layout.FILE_KEY}" and "digest"'
    )
