"""One row of metrics as a line of ``metrics.jsonl``, with the hash by which a changed digit is noticed.

Loads no torch, so that plotting is quick.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoomrl.files import read_bytes
from zoomrl.seal import KEY

METRICS = "metrics.jsonl"
"""File of the rows, in the run directory."""
WALL_FIELDS = ("seconds", "updates_per_s", "env_steps_per_s")
"""Fields that depend on the clock; all others are equal in a run that was killed and resumed."""
_MAX_BYTES = 256 << 20
_log = logging.getLogger("zoomrl.training")
_SEAL = re.compile(rb', "([^"\n]{6})": "([0-9a-f]{16})"}\Z')
_ENDED = re.compile(rb'"[0-9a-f]{16}"}')


def sealed_row(row: Mapping[str, Any]) -> str:
    """``row``, which is not empty and holds no NaN, as one line of JSON with its hash as the last entry."""
    return f'{json.dumps(row, allow_nan=False).removesuffix("}")}, "{KEY}": "{_hash(row)}"}}'


def read_row(line: bytes) -> tuple[dict[str, Any], bool]:
    """The row in ``line``, without its hash, and whether it had one.

    Raises:
        ValueError: it is no row, or not the one that was written.
    """
    found = _SEAL.search(line)
    if found is None and f'"{KEY}": "'.encode() in line:
        raise ValueError("its checksum is damaged")
    row = json.loads(line if found is None else line[: found.start()] + b"}")
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        raise ValueError("it is no row")
    if found is not None and (found[1] != KEY.encode() or found[2] != _hash(row).encode()):
        raise ValueError("its content does not match its checksum")
    return row, found is not None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``, each with its ``kind``.

    A last line that is still being written is left out; so is a damaged one, by name: one that is no JSON, or is not
    what its hash says. Rows of earlier versions have no hash, and no such row can follow one that has.

    Raises:
        CheckpointError: it cannot be read.
    """
    if not path.exists():
        return []
    *lines, unfinished = read_bytes(path, max_bytes=_MAX_BYTES).split(b"\n")
    rows, sealed = [], False
    for number, line in enumerate([*lines, unfinished], start=1):
        try:
            row, has_seal = read_row(line)
            if sealed and not has_seal:
                raise ValueError("its checksum is missing")
            sealed |= has_seal
            rows.append(row)
        except (ValueError, RecursionError) as error:
            if number <= len(lines) or is_whole(line):
                reason = getattr(error, "msg", "") or str(error)
                _log.warning("%s, line %d is damaged (%s) and left out", path, number, reason)
    return rows


def is_whole(line: bytes) -> bool:
    """Whether all of ``line`` was written: if it has no line break, that is what is damaged."""
    return _ENDED.search(line) is not None


def _hash(row: Mapping[str, Any]) -> str:
    """Of all but what the clock decides: equal rows of two runs have equal hashes."""
    kept = {name: value for name, value in row.items() if name not in WALL_FIELDS}
    # The names of the others count.
    text = json.dumps([kept, list(row)], allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
