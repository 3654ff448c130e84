"""Starts of ``zoomrl``: as forks of this process, which has imported everything already, or as programs of their own.

Importing PyTorch takes seconds, and an attack starts hundreds of runs. A fork differs from a program of its own in what
was imported before it began; SIGKILL, full disks and locks know no difference. Some starts are programs all the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0
"""After this a start that has not ended counts as hung."""
_SET_PDEATHSIG = 1
_IMPORTED = (
    "matplotlib.figure",
    "zoomrl.analysis.plot",
    "zoomrl.cli.report",
    "zoomrl.cli.train",
    "zoomrl.training.policy",
    "zoomrl.training.session",
    *(f"zoomrl.agents.{name}" for name in ("act", "bc", "cqn", "drqv2", "sac", "taco", "tcrl", "td3", "td7")),
    "benchmarks.chaos.toy",
)


def prepare() -> None:
    """Import once what every fork needs. To be called before any thread is started."""
    for name in _IMPORTED:
        import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # or each fork's collector would walk, and thereby copy, everything imported


@dataclass(frozen=True)
class Ended:
    """How a start ended.

    Attributes:
        code: exit code, or minus the signal that ended it; None when it hung and was ended by us.
        text: what it printed.
    """

    code: int | None
    text: str

    @property
    def clean(self) -> bool:
        """It ended by itself, without a traceback."""
        return self.code is not None and self.code >= 0 and "Traceback (most recent call last)" not in self.text

    def tail(self, lines: int = 4) -> str:
        """How it ended, for a report: the exit code and the last lines."""
        said = " | ".join(self.text.strip().splitlines()[-lines:])
        return f"{'hung' if self.code is None else f'exit {self.code}'}: {said[-600:]}"


class Start:
    """One started ``zoomrl``, in a process group of its own."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log
        self._status: int | None = None

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is None

    def send(self, number: int) -> None:
        """Send a signal to the process that was started, not to its workers."""
        if self.running():
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """End it by SIGKILL; False when it had ended by itself."""
        self.send(signal.SIGKILL)
        return self.wait().code == -signal.SIGKILL

    def wait(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Wait for its end; what still hangs then is killed, and nothing that it started is left."""
        deadline, hung = time.monotonic() + timeout_s, False
        while self.running():
            if time.monotonic() > deadline:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
                deadline += PATIENCE_S
            time.sleep(0.005)
        assert self._status is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(self._status)
        return Ended(None if hung else code, self._log.read_text(errors="replace"))


def begin(words: Sequence[str], log: Path, *, fresh: bool = False, before: Callable[[], object] | None = None) -> Start:
    """Start ``zoomrl`` with ``words``.

    Args:
        words: of the command line.
        log: file that takes what it prints.
        fresh: as a program of its own instead of a fork.
        before: called in the new process before it begins: limits, users, paths.
    """
    if fresh:
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "zoomrl", *words],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=before,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
            )
        process.returncode = 0  # it is waited for here, not there
        return Start(process.pid, log)
    return call(lambda: _main(words), log, before=before)


def call(action: Callable[[], int], log: Path, *, before: Callable[[], object] | None = None) -> Start:
    """Run ``action`` in a fork of this process; what it returns is the exit code."""
    parent = os.getpid()
    log.touch()  # the child may be killed before it gets there
    pid = os.fork()
    if pid:
        # The child does the same; whoever is first makes it so before anyone sends signals to the group.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return Start(pid, log)
    code = 70
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        _end_with(parent)
        _redirect(log)
        # Workers of the run must not import the program that attacks it.
        sys.modules["__main__"] = types.ModuleType("__main__")
        if before is not None:
            before()
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def finish(words: Sequence[str], log: Path, **options: object) -> Ended:
    """Start ``zoomrl`` with ``words`` and wait for its end; options as in :func:`begin`."""
    return begin(words, log, **options).wait()  # type: ignore[arg-type]


@contextlib.contextmanager
def stopping(start: Start) -> Iterator[Start]:
    """Leave nothing of ``start`` behind."""
    try:
        yield start
    finally:
        if start.running():
            start.kill()


def _main(words: Sequence[str]) -> int:
    from zoomrl.cli.main import main

    return main(list(words))


def _end_with(parent: int) -> None:
    """Let the kernel end this process with its parent, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(70)


def _redirect(log: Path) -> None:
    handle = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
