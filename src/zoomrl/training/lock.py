"""One process per run directory."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from zoomrl.errors import CheckpointError, RunHeldError
from zoomrl.files import read_record, write_json
from zoomrl.training.run_place import CHECKPOINTS

LOCK, HOLDER = ".lock", ".holder.json"
_log = logging.getLogger("zoomrl.training")


@dataclass(frozen=True)
class Holder:
    """Who writes to a run directory.

    Attributes:
        pid: of the process.
        host: on which it runs.
        since: ISO time at which it began.
    """

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Held:
    """A run directory that this process holds."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mark = _mark(directory)

    @property
    def lost(self) -> bool:
        """Whether the directory is gone, or another one stands in its place."""
        return _mark(self._directory) != self._mark

    def check(self) -> None:
        """CheckpointError when it is :attr:`lost`: what is written would mix with what is another's."""
        if self.lost:
            raise CheckpointError(
                f"{self._directory} was removed, renamed or replaced while the run was writing to it. Nothing more is "
                "written; start the run again in a directory of its own"
            )


def _mark(directory: Path) -> tuple[int, int] | None:
    """By what the lock's file is known. While it is open here, no other file can have the same number."""
    try:
        found = os.stat(directory / LOCK)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def run_lock(directory: Path) -> Iterator[Held]:
    """Hold ``directory`` for this process; it is made where it is missing.

    The system lets go of the lock when its process dies, however it dies, so that a lock never outlives its holder.
    The holder's name may: it then tells that the last process did not come to its end.

    Raises:
        RunHeldError: another process holds it.
        CheckpointError: it cannot be locked.
    """
    path = directory / HOLDER
    lock = FileLock(directory / LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunHeldError(
            f"a run is going on in {directory} ({_read(path) or 'its process has not written its name yet'}). Wait for "
            "it, stop it, or choose another --run-dir"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise CheckpointError(
            f"{directory} cannot be locked against a second process: {reason}. Choose a --run-dir that this user may "
            "write to, on a file system with file locks"
        ) from error
    held = Held(directory)
    try:
        host = socket.gethostname()
        last = _read(path)
        if last is not None and last.host != host:
            _log.warning(
                "%s was last written by %s, which did not come to its end. If it still runs there, stop one of the "
                "two: some network file systems do not share locks",
                directory,
                last,
            )
        _remove_half_written(directory)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(path, asdict(Holder(os.getpid(), host, now)))
        yield held
    finally:
        if not held.lost:
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()


def _read(path: Path) -> Holder | None:
    try:
        return read_record(path, Holder)
    except CheckpointError:
        return None


def _remove_half_written(directory: Path) -> None:
    """Files that a killed process was writing: nothing else writes here now."""
    for folder in (directory, directory / CHECKPOINTS, directory / "replay", directory / "corrections"):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
