"""Works off the runs of a sweep, several at once, each in a process of its own.

Any number of workers may be at one sweep, on one machine or on several that see its directory: a run belongs to the
process that holds its lock, and the system releases the lock of a process that dies. Nothing else is agreed upon.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from zoomrl.errors import plural
from zoomrl.files import write_json
from zoomrl.sweep.child import FINISHED, HELD, STOPPED
from zoomrl.sweep.plan import Sweep
from zoomrl.sweep.state import finished

Outcome = Literal["finished", "failed", "held", "stopped", "killed"]
POLL_S = 0.2
HELD_S = 5.0
"""Seconds after which a run that another process held is looked at again."""
_SAID = 20_000
"""Characters at the end of a log in which the reason of a failure is looked for."""


def start(sweep: Sweep, name: str) -> subprocess.Popen[bytes]:
    """A process that trains the run ``name``; what it says goes to the run's log."""
    path = sweep.log(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "zoomrl.sweep.child", str(sweep.directory), name]
    threads = str(max(1, sweep.runs[name].threads))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with path.open("ab") as log:
        # In a session of its own: Ctrl-C is the worker's to pass on.
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
        )


def run_one(sweep: Sweep, name: str) -> Outcome:
    """Train the run ``name`` in a process of its own, and wait for it; it is stopped where this is interrupted."""
    process = start(sweep, name)
    try:
        return conclude(sweep, name, process.wait())
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def conclude(sweep: Sweep, name: str, status: int) -> Outcome:
    """What came of a process of the run ``name`` that ended with ``status``; an error is kept with the sweep."""
    if status == FINISHED:
        return "finished"
    if status in (HELD, STOPPED):
        return "held" if status == HELD else "stopped"
    if status < 0:
        return "killed"
    fail(sweep, name, _reason(sweep, name))
    return "failed"


def fail(sweep: Sweep, name: str, message: str) -> None:
    """Keep that the run ``name`` is not to be tried again, and why."""
    path = sweep.failure(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"message": message, "date": now, "log": str(sweep.log(name))})


def _reason(sweep: Sweep, name: str) -> str:
    try:
        text = sweep.log(name).read_text(encoding="utf-8", errors="replace")[-_SAID:]
    except OSError as error:
        return f"its log cannot be read: {error}"
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")


@dataclass
class Worker:
    """Runs up to ``slots`` runs at once until all are finished, or have failed.

    Args:
        sweep: whose runs.
        slots: at once.
        retries: times that a run is begun again whose process was killed.
        say: prints a line.
        names: runs to work off; all by default.
    """

    sweep: Sweep
    slots: int
    retries: int = 3
    say: Callable[[str], None] = lambda text: None
    names: tuple[str, ...] = ()
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _waits: dict[str, float] = field(default_factory=dict)
    _killed: Counter[str] = field(default_factory=Counter)
    _over: set[str] = field(default_factory=set)
    _stopping: bool = False

    @property
    def busy(self) -> bool:
        """Whether a run is still going on."""
        return any(process.poll() is None for process in self._processes.values())

    def stop(self) -> None:
        """Ask all runs for a checkpoint, and end when they have written it; a second call kills them."""
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL if self._stopping else signal.SIGTERM)
        self._stopping = True

    def run(self, on_poll: Callable[[], None] = lambda: None) -> bool:
        """Work until everything is done or :meth:`stop` was called; whether it is done.

        Args:
            on_poll: called a few times a second.
        """
        try:
            while True:
                self._reap()
                if self.sweep.stop_file.exists() and not self._stopping:
                    self.say(f"{self.sweep.stop_file} asks to stop")
                    self.stop()
                if self._stopping:
                    if not self._processes:
                        return False
                elif not self._fill() and not self._processes:
                    return True
                on_poll()
                time.sleep(POLL_S)
        finally:
            for process in self._processes.values():  # an error of ours must not leave them without a parent
                process.terminate()

    def _fill(self) -> bool:
        """Begin runs while there is room; whether any is not done."""
        if len(self._processes) >= self.slots:
            return True  # the others need not be looked at
        left = [name for name in self.names or self.sweep.runs if not self._done(name)]
        for name in left:
            if len(self._processes) >= self.slots:
                break
            if name not in self._processes and time.monotonic() >= self._waits.get(name, 0.0):
                self._processes[name] = start(self.sweep, name)
        return bool(left)

    def _done(self, name: str) -> bool:
        if name in self._processes:
            return False
        if name not in self._over and (
            self.sweep.failure(name).exists() or finished(self.sweep.run_dir(name), self.sweep.runs[name]) is not None
        ):
            self._over.add(name)
        return name in self._over

    def _reap(self) -> None:
        for name, process in list(self._processes.items()):
            status = process.poll()
            if status is None:
                continue
            del self._processes[name]
            outcome = conclude(self.sweep, name, status)
            if outcome == "finished" and not self._done(name):  # or it would be begun again for ever
                fail(self.sweep, name, "it ended well, and left no result that can be read")
                outcome = "failed"
            if outcome == "held":
                self._waits[name] = time.monotonic() + HELD_S
                continue
            if outcome == "killed" and not self._stopping:
                self._killed[name] += 1
                by = signal.Signals(-status).name
                if self._killed[name] > self.retries:
                    fail(self.sweep, name, f"its process was killed by {by} {plural(self._killed[name], 'time')}")
                    outcome = "failed"
                else:
                    self.say(f"{name}: killed by {by}; it goes on where it was")
                    continue
            if outcome == "failed":
                self.say(f"{name}: failed: see {self.sweep.log(name)}")
