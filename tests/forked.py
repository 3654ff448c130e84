"""A function in a process of its own. A fork: what takes seconds to be imported is there already."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path


class Forked:
    """``work`` in a fork of this process; what it prints goes into the file ``log``."""

    def __init__(self, work: Callable[[], object], log: Path = Path(os.devnull)) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=_run, args=(work, log))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """Its exit code: 1 for an exception, whose traceback is in the log; -N for signal N."""
        self._process.join(200)
        assert self._process.exitcode is not None, "it still runs"
        return self._process.exitcode


def _run(work: Callable[[], object], log: Path) -> None:
    faulthandler.disable()  # a process that is to die by a signal would fill the log of the tests
    with open(log, "a", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    work()
