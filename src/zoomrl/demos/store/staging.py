"""A folder that is written next to its target and moved there whole, and what a killed writer leaves."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from zoomrl.errors import DemonstrationError

_PREFIX, _LOCK, _RETIRED = ".writing-", ".lock", ".old"


@contextmanager
def staged(target: Path, overwrite: bool = True) -> Iterator[Path]:
    """A new folder next to ``target``, which takes its place when the block ends.

    When the block fails, or the last step does, ``target`` is what it was. What killed writers left
    next to it is removed first, and a folder that one of them had moved aside is put back.

    Args:
        target: the folder wanted; its parent exists.
        overwrite: whether it takes the place of what another process has put there meanwhile.

    Raises:
        DemonstrationError: something lies there at the end, which may not be replaced.
    """
    _clear(target)
    # The lock is there before the folder and after it: a folder whose lock can be had has no writer any more.
    name = f"{_stem(target)}{secrets.token_hex(4)}"
    folder, lock = target.with_name(name), FileLock(target.with_name(name + _LOCK))
    lock.acquire()
    try:
        folder.mkdir()
        # As readable as its parent.
        folder.chmod(target.parent.stat().st_mode & 0o777)
        yield folder
        if not overwrite and target.exists() and any(target.iterdir()):
            raise DemonstrationError(f"{target} was written by another process meanwhile, and is kept; pass overwrite")
        _swap(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _drop(lock)


def retired(target: Path) -> Path | None:
    """The folder that was at ``target`` until a writer was killed while it replaced it; None where there is none."""
    found = sorted(target.parent.glob(f"{_stem(target)}*{_RETIRED}"))
    if target.exists() or any(_written(aside) for aside in found):
        return None
    return found[0] if found else None


def _written(aside: Path) -> bool:
    """Whether the writer that moved a folder ``aside`` is still at work."""
    lock = FileLock(aside.with_name(aside.name.removesuffix(_RETIRED) + _LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()  # the file stays: by it the next writer finds what was left
    return False


def _stem(target: Path) -> str:
    return f"{_PREFIX}{target.name}-"


def _clear(target: Path) -> None:
    for path in target.parent.glob(f"{_stem(target)}*{_LOCK}"):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:  # it is being written
            continue
        folder = path.with_name(path.name.removesuffix(_LOCK))
        aside = folder.with_name(folder.name + _RETIRED)
        if aside.exists() and not target.exists():
            aside.rename(target)
        for left in (folder, aside):
            shutil.rmtree(left, ignore_errors=True)
        _drop(lock)


def _drop(lock: FileLock) -> None:
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()


def _swap(folder: Path, target: Path) -> None:
    """Put ``folder`` in the place of ``target``; an old ``target`` is put back when that fails."""
    if not target.exists():
        folder.rename(target)
        return
    # A folder cannot be renamed onto a full one, so the old one steps aside for an instant.
    aside = folder.with_name(folder.name + _RETIRED)
    target.rename(aside)
    try:
        folder.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside)
