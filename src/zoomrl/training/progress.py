"""What a person sees while a run goes on: one live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressLine:
    """Phase, units done, a short status and the time left.

    A live line on a terminal. Where ``console`` is none (a log file, a scheduler), a line of its own whenever another
    multiple of ``every`` units is done, and at the end of the phase.
    """

    def __init__(self, console: Console, every: int) -> None:
        self._console = console
        self._every = every
        self._name, self._total, self._first, self._done = "", 0, 0, 0
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, status="")

    def __enter__(self) -> ProgressLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Begin a phase of ``total`` units of which ``done`` are done."""
        self._name, self._total, self._first, self._done = name, total, done, done
        self._started = time.monotonic()
        self._progress.reset(self._task, total=total, completed=done, description=name, status="")

    def advance(self, done: int, status: str) -> None:
        """Report ``done`` units and a short status."""
        due = done // self._every > self._done // self._every or (done >= self._total > self._done)
        self._done = done
        self._progress.update(self._task, completed=done, status=status)
        if due and not self._console.is_terminal:
            line = f"{self._name} {done:,} of {self._total:,}  {status}  {self._left()}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        """Time left, at this phase's speed since it began or was resumed."""
        made, left = self._done - self._first, max(0, self._total - self._done)
        seconds = round((time.monotonic() - self._started) * left / made) if made else 0
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return f"{hours}:{minutes:02}:{seconds % 60:02} left"
