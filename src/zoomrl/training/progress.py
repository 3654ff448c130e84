"""What a person sees while a run goes on: one live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from zoomrl.agents.contract import Metrics
from zoomrl.data.episode import Episode
from zoomrl.errors import plural
from zoomrl.training.callbacks import Callback, Run
from zoomrl.training.evaluate import Evaluation

RECENT = 20
"""Training episodes that the status is the mean of."""
OFFLINE_EVERY = 100
"""Updates between two looks at the loss before the first step."""
LOOK_S = 10.0
"""Seconds after which it is looked at however few were made."""
LINE_S = 60.0
"""Seconds after which a line is written where no terminal shows one."""


class Progress(Callback):
    """Shows where the run is, how well it does and how long it takes.

    Args:
        line: where that is shown.
    """

    def __init__(self, line: ProgressLine) -> None:
        self._line = line
        self._online = False
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._success = False
        self._evaluated = ""
        self._look = 0.0

    def on_start(self, run: Run) -> None:
        """Begin the phase that the run is in."""
        done, total = run.counters["updates"], run.config.offline_updates
        if done < total:
            self._line.phase("offline", total, done)
        else:
            self._begin_online(run)

    def on_update(self, run: Run, metrics: Metrics) -> None:
        """Advance, where updates are made for longer than a step takes."""
        done, total = run.counters["updates"], run.config.offline_updates
        if self._online or done > total:
            if run.config.update_at == "episode":
                self._line.advance(run.counters["env_steps"], self._status(run))
            return
        if done % OFFLINE_EVERY == 0 or done == total or time.monotonic() >= self._look:
            self._look = time.monotonic() + LOOK_S
            self._line.advance(done, f"loss {metrics['loss']:.3f}  {self._speed(run, 'updates'):.0f} updates/s")

    def on_episode(self, run: Run, episode: Episode, row: Mapping[str, Any]) -> None:
        """Success where the environment reports it, else the return."""
        self._success = "success" in row
        self._recent.append(float(row["success"] if self._success else row["return"]))

    def on_step(self, run: Run) -> None:
        """Advance."""
        if not self._online:
            self._begin_online(run)
        self._line.advance(run.counters["env_steps"], self._status(run))

    def on_evaluation(self, run: Run, evaluation: Evaluation, row: Mapping[str, Any]) -> None:
        """Remember what came out."""
        if evaluation.score is not None:
            rate = evaluation.success_rate
            shown = f"return {evaluation.return_mean:.4g}" if rate is None else f"{rate:.0%}"
            self._evaluated = f"{shown} at step {run.counters['env_steps']:,}"

    def _begin_online(self, run: Run) -> None:
        self._online = True
        self._line.phase("train", run.config.steps, run.counters["env_steps"])

    def _status(self, run: Run) -> str:
        """Success where the environment reports it, else return: of the last episodes and evaluation; and the speed."""
        parts = []
        if self._recent:
            mean = float(np.mean(self._recent))
            shown = f"success {mean:.0%}" if self._success else f"return {mean:.4g}"
            parts.append(f"{shown} of last {plural(len(self._recent), 'episode')}")
        if self._evaluated:
            parts.append(f"eval {self._evaluated}")
        first = run.config.seed_steps
        if run.counters["updates"] or run.counters["env_steps"] >= first:
            learning = f"{self._speed(run, 'updates'):.3g} updates/s"
        else:
            learning = f"first update after step {first:,}"
        return "  ".join([*parts, f"{self._speed(run, 'env_steps'):.3g} steps/s, {learning}"])

    def _speed(self, run: Run, unit: str) -> float:
        return run.counters[unit] / max(run.seconds, 1e-9)


class ProgressLine:
    """Phase, units done, a short status and the time left.

    A live line on a terminal. Where ``console`` is none (a log file, a scheduler), a line of its own whenever another
    multiple of ``every`` units is done, and at the end of the phase.
    """

    def __init__(self, console: Console, every: int) -> None:
        self._console = console
        self._every = every
        self._name, self._total, self._first, self._done = "", 0, 0, 0
        self._started = self._said = time.monotonic()
        self._progress = RichProgress(
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
        self._started = self._said = time.monotonic()
        self._progress.reset(self._task, total=total, completed=done, description=name, status="")

    def advance(self, done: int, status: str) -> None:
        """Report ``done`` units and a short status."""
        due = done // self._every > self._done // self._every or (done >= self._total > self._done)
        due |= time.monotonic() >= self._said + LINE_S
        self._done = done
        self._progress.update(self._task, completed=done, status=status)
        if due and not self._console.is_terminal:
            self._said = time.monotonic()
            line = f"{self._name} {done:,} of {self._total:,}  {status}  {self._left()}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _left(self) -> str:
        """Time left, at this phase's speed since it began or was resumed."""
        made, left = self._done - self._first, max(0, self._total - self._done)
        seconds = round((time.monotonic() - self._started) * left / made) if made else 0
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return f"{hours}:{minutes:02}:{seconds % 60:02} left"
