"""Lists in lines of JSON, read within limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from zoomrl.demos.formats.assemble import reason
from zoomrl.demos.store.limits import regular
from zoomrl.errors import DemonstrationError
from zoomrl.files import MAX_JSON_PARTS, parse_json, read_bytes

_FAULTS = 20
_LINE_PARTS = 10_000
"""Most objects and arrays in a line, which is about one episode or task."""
T = TypeVar("T")


def read_lines(path: Path, root: Path, use: Callable[[dict[str, Any]], T]) -> tuple[list[T], list[str]]:
    """What ``use`` makes of each line, a JSON object, of a file of the set at ``root``; and what is wrong with others.

    Raises:
        DemonstrationError: the file is missing, no regular file of the set, too large, or has more lines, objects and
            arrays than are read.
    """
    try:
        content = read_bytes(regular(path, root), error=DemonstrationError)
    except (OSError, ValueError) as error:
        raise DemonstrationError(f"{path} cannot be read: {reason(error)}") from error
    if content.count(b"\n") + content.count(b"[") + content.count(b"{") > 2 * MAX_JSON_PARTS:
        raise DemonstrationError(f"{path} holds more than {MAX_JSON_PARTS:,} lines, objects and arrays")
    found: list[T] = []
    faults: list[str] = []
    bad = 0
    where = path.relative_to(root)
    for number, line in enumerate(io.BytesIO(content), start=1):
        if not line.strip():
            continue
        try:
            if line.count(b"[") + line.count(b"{") > _LINE_PARTS:
                raise ValueError(f"it holds more than {_LINE_PARTS:,} objects and arrays")
            found.append(use(parse_json(line, f"line {number}", error=DemonstrationError)))
        except (DemonstrationError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            bad += 1
            if bad <= _FAULTS:
                faults.append(f"{where}: line {number}: {reason(error)}")
    if bad > _FAULTS:
        faults.append(f"{where}: {bad - _FAULTS:,} more lines like these")
    return found, faults
