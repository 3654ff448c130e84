"""Files that carry the hash of their own content, so that a single changed bit is noticed when they are read.

JSON has it in a last line, archives (.pt, .npz) in the comment that the ZIP format allows at their end: both stay what
other programs can read. Files of earlier versions have none; of those, archives are checked by the ZIP format's own
checksums.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import IO

from zoomrl.errors import DamagedFileError

KEY = "digest"
"""Of a sealed JSON file: its last entry. No file has another entry of that name."""
_LINE = re.compile(rb',\n  "([^"\n]{6})": "([0-9a-f]{64})"\n}\n\Z')
_TRAILING_COMMA = re.compile(rb",\s*}\s*\Z")
_MARK = b"zoomrl sha256 "
_COMMENT = len(_MARK) + 64
_NOTHING = b"\0\0"
"""Length of the comment of an archive that has none: its last two bytes."""


def sealed(text: str) -> str:
    """``text``, an indented JSON object that is not empty and a newline, with its hash as the last entry."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text.removesuffix("\n}\n") + f',\n  "{KEY}": "{digest}"\n}}\n'


def is_sealed(content: bytes) -> bool:
    """Whether ``content`` of a JSON file has a seal that agrees with it."""
    found = _LINE.search(content)
    return found is not None and _agrees(found, _text(content, found))


def unsealed(content: bytes, name: str) -> bytes:
    """``content`` of the JSON file ``name`` without its seal; as it is where there is none.

    Raises:
        DamagedFileError: the content is not what was sealed.
    """
    found = _LINE.search(content)
    if found is None:
        # Who removes the seal's line, as the message below says, leaves the comma before it.
        return _TRAILING_COMMA.sub(b"\n}\n", content)
    text = _text(content, found)
    if not _agrees(found, text):
        raise DamagedFileError(
            f"{name} is damaged: its content does not match the checksum in its last line. Restore it from a copy; if "
            "you changed it on purpose, remove that line"
        )
    return text


def _text(content: bytes, line: re.Match[bytes]) -> bytes:
    """What lies before the seal."""
    return content[: line.start()] + b"\n}\n"


def _agrees(line: re.Match[bytes], text: bytes) -> bool:
    return line[1] == KEY.encode() and line[2] == hashlib.sha256(text).hexdigest().encode()


def seal_archive(file: IO[bytes]) -> str:
    """Append the hash of a whole ZIP archive, open for reading and writing, as its comment; returns the hash."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(-len(_NOTHING), os.SEEK_END)
    if file.read() != _NOTHING:
        raise ValueError("the archive has a comment already")
    file.seek(-len(_NOTHING), os.SEEK_END)
    file.write(_COMMENT.to_bytes(2, "little") + _MARK + digest.encode())
    return digest


def check_archive(path: Path) -> str:
    """The hash in an archive's seal, once the content agrees with it; empty for archives of earlier versions.

    Raises:
        DamagedFileError: the file is not what was written.
        OSError: it cannot be read now.
    """
    # A pipe without a writer would wait for ever.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise DamagedFileError(f"{path} is no regular file")
        _check_unpacked(path, file)
        size = found.st_size
        file.seek(max(0, size - _COMMENT - 2))
        length, comment = file.read(2), file.read()
        if comment.startswith(_MARK) and length == _COMMENT.to_bytes(2, "little"):
            digest = hashlib.sha256()
            file.seek(0)
            left = size - _COMMENT - 2
            while left > 0 and (block := file.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
            digest.update(_NOTHING)
            if digest.hexdigest().encode() != comment.removeprefix(_MARK):
                raise DamagedFileError(f"{path} is damaged: its content does not match its checksum")
            return digest.hexdigest()
        _check_entries(path, file)
    return ""


def _check_unpacked(path: Path, file: IO[bytes]) -> None:
    """DamagedFileError where an archive holds packed entries, which runs never write: few bytes could become many."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error
    if packed:
        raise DamagedFileError(f"{path} was not written by a run: its entry {packed[0]} is compressed")


def _check_entries(path: Path, file: IO[bytes]) -> None:
    """Compare each entry of an archive without a seal with its checksum."""
    try:
        with zipfile.ZipFile(file) as archive:
            # A seal in which a bit was changed is no seal, but still a comment.
            wrong = "its end" if archive.comment else archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error
    if wrong:
        raise DamagedFileError(f"{path} is damaged: {wrong} does not match its checksum")
