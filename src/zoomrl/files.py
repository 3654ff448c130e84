"""Files that a run or a set stands on: JSON read with limits, and writing that leaves the old file or the new one."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import dacite

from zoomrl.errors import CheckpointError, ConfigError, DamagedFileError, ZoomrlError
from zoomrl.seal import KEY, is_sealed, sealed, unsealed

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file that is read."""
MAX_JSON_DEPTH = 32
"""Deepest nesting of objects and arrays that is read."""
MAX_JSON_PARTS = 1_000_000
"""Most objects and arrays that are read: an empty one takes two bytes in a file, and forty times as many in memory."""
T = TypeVar("T")


def read_json(
    path: Path, *, error: type[ZoomrlError] = CheckpointError, hint: str = "", max_bytes: int = MAX_JSON_BYTES
) -> dict[str, Any]:
    """The JSON object in ``path``, compared with its seal where it has one.

    Args:
        path: a regular file.
        error: what is raised for a file that cannot be used.
        hint: what to do about it, a sentence.
        max_bytes: size from which a file is refused unread.

    Raises:
        ZoomrlError: of the type ``error``, naming the file: it is missing, damaged, cannot be read, is no regular
            file, is too large or too deep, or holds something other than an object of JSON values.
    """
    content = read_bytes(path, error=error, hint=hint, max_bytes=max_bytes)
    try:
        text = unsealed(content, str(path))
    except DamagedFileError as problem:
        raise error(str(problem)) from problem
    data = parse_json(text, str(path), error=error, hint=hint)
    if KEY in data:
        raise error(f"{path} was written anew with another layout. If you changed it on purpose, remove its {KEY!r}")
    return data


def read_sealed(path: Path, hint: str) -> dict[str, Any]:
    """The JSON object in ``path``, which :func:`write_json` has written and nobody has changed.

    Raises:
        CheckpointError: as of :func:`read_json`, and where its seal is missing or of another content; ``hint`` says
            what to do.
    """
    content = read_bytes(path)
    if not is_sealed(content):
        raise CheckpointError(f"{path} is not what was written there: it was damaged or edited since. {hint}")
    return parse_json(unsealed(content, str(path)), str(path))


def read_record(path: Path, schema: type[T], *, error: type[ZoomrlError] = CheckpointError, hint: str = "") -> T:
    """The JSON object in ``path`` as the dataclass ``schema``; keys that it does not know are ignored.

    Raises:
        ZoomrlError: as :func:`read_json`, and for a key that is missing or of another type.
    """
    return as_record(read_json(path, error=error, hint=hint), schema, str(path), error=error, hint=hint)


def as_record(
    data: Mapping[str, Any], schema: type[T], what: str, *, error: type[ZoomrlError] = CheckpointError, hint: str = ""
) -> T:
    """``data``, read from ``what``, as the dataclass ``schema``; errors as in :func:`read_record`."""
    try:
        return dacite.from_dict(schema, data, dacite.Config(cast=[tuple]))
    except (dacite.DaciteError, TypeError, ValueError, AttributeError) as problem:
        raise error(_sentence(f"{what} does not hold what it should: {problem}", hint)) from problem


def read_bytes(
    path: Path, *, error: type[ZoomrlError] = CheckpointError, hint: str = "", max_bytes: int = MAX_JSON_BYTES
) -> bytes:
    """Content of a regular file of at most ``max_bytes``; errors as in :func:`read_json`."""
    try:
        # A pipe without a writer would wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise error(_sentence(f"{path} is no regular file", hint))
            if found.st_size > max_bytes:
                raise error(_sentence(f"{path} has {found.st_size:,} bytes; {max_bytes:,} are read at most", hint))
            return file.read(max_bytes)
    except FileNotFoundError as problem:
        raise error(_sentence(f"{path} is missing", hint)) from problem
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}") from problem


def parse_json(
    text: str | bytes, what: str, *, error: type[ZoomrlError] = CheckpointError, hint: str = ""
) -> dict[str, Any]:
    """The JSON object in ``text``, which came from ``what``; errors as in :func:`read_json`.

    NaN and Infinity, which are no JSON, are refused, and numbers that would become infinite, such as 1e999.
    """
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if raw.count(b"[") + raw.count(b"{") > MAX_JSON_PARTS:
        raise error(_sentence(f"{what} holds more than {MAX_JSON_PARTS:,} objects and arrays", hint))
    try:
        data = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as problem:
        raise error(_sentence(f"{what} is nested too deeply to be read", hint)) from problem
    except ValueError as problem:  # also text that is not UTF-8
        raise error(_sentence(f"{what} is damaged: it is no JSON ({problem})", hint)) from problem
    if not isinstance(data, dict):
        raise error(_sentence(f"{what} must hold a JSON object, got {type(data).__name__}", hint))
    if depth(data, MAX_JSON_DEPTH) > MAX_JSON_DEPTH:
        raise error(_sentence(f"{what} is nested deeper than {MAX_JSON_DEPTH} levels", hint))
    return data


def depth(data: Any, enough: int) -> int:
    """Levels of objects and arrays in ``data``; counting stops beyond ``enough``."""
    level, layer = 0, [data]
    while level <= enough:
        layer = [part for part in layer if isinstance(part, dict | list)]
        if not layer:
            return level
        level += 1
        layer = [value for part in layer for value in (part.values() if isinstance(part, dict) else part)]
    return level


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write ``data``, an object that is not empty, as sealed JSON, atomically.

    Raises:
        ValueError: for NaN and infinity, which are no JSON.
        OSError: it could not be written; names the file.
    """
    text = sealed(json.dumps(data, indent=2, allow_nan=False) + "\n")
    write_atomically(path, lambda file: file.write(text.encode()))


def finite_or_null(data: Any) -> Any:
    """A copy of plain ``data`` in which every number that is NaN or infinite, which JSON does not know, is None."""
    if isinstance(data, dict):
        return {key: finite_or_null(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite_or_null(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def check_output(path: Path, option: str, *, overwrite: bool) -> None:
    """Make the folder of a file that is to be written after long work, and refuse what cannot be.

    Raises:
        ConfigError: it is there already, is a folder, or its folder cannot be made or written into.
    """
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists already; pass --overwrite, or another {option}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written: {error.strerror}: {error.filename}") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {path} cannot be written: nothing may be written into {path.parent.absolute()}")


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write next to ``path``, flush to the disk, then rename: readers see the old file or the new one, never half.

    Raises:
        OSError: it could not be written; names the file.
    """
    # The process is in the name: two that write the same file do not write into each other.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except RuntimeError as error:  # torch's file writer hides a full disk behind one
        cause = error.__context__
        code, reason = (cause.errno, cause.strerror) if isinstance(cause, OSError) else (None, None)
        raise OSError(code, reason or str(error).splitlines()[0], str(path)) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _sentence(text: str, hint: str) -> str:
    return f"{text}. {hint}" if hint else text
