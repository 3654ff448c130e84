"""How far each run of a sweep has come, read from its directory alone: any process on any machine sees the same."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from zoomrl.errors import CheckpointError
from zoomrl.files import read_json, read_record
from zoomrl.sweep.plan import Sweep
from zoomrl.training.config import TrainConfig
from zoomrl.training.lock import HOLDER, Holder
from zoomrl.training.result import is_final
from zoomrl.training.rows import METRICS, read_row

State = Literal["finished", "running", "waiting", "interrupted", "failed"]
RESULT = "result.json"
_TAIL = 64 << 10
"""Bytes at the end of a run's rows that are read: more than a row of an evaluation takes."""


@dataclass(frozen=True)
class RunState:
    """One run.

    Attributes:
        name: of the run.
        state: ``interrupted`` has begun, and no process is at it; ``failed`` ended with an error, which is kept.
        step: environment steps made, or updates where a run makes none.
        steps: of all.
        success: rate of the newest evaluation; None without one.
        mean_return: mean return of it.
        seconds_left: as fast as it was so far; None where that is unknown.
        detail: who is at it, or why it failed.
    """

    name: str
    state: State
    step: int = 0
    steps: int = 0
    success: float | None = None
    mean_return: float | None = None
    seconds_left: float | None = None
    detail: str = ""


def states(sweep: Sweep) -> list[RunState]:
    """Of all runs, in their order."""
    return [state_of(sweep, name) for name in sweep.runs]


def state_of(sweep: Sweep, name: str) -> RunState:
    """Of one run; a file that cannot be read now tells nothing."""
    directory, config = sweep.run_dir(name), sweep.runs[name]
    if (result := finished(directory, config)) is not None:
        done = config.steps or config.offline_updates
        return RunState(name, "finished", done, done, result.get("success_rate"), result.get("return_mean"))
    rows = _last_rows(directory / METRICS)
    counter, steps = ("env_steps", config.steps) if config.steps else ("updates", config.offline_updates)
    newest = max((row.get(counter) or 0 for row in rows.values()), default=0)
    seconds = max((row.get("seconds") or 0.0 for row in rows.values()), default=0.0)
    left = seconds * (steps - newest) / newest if newest and seconds else None
    evaluated = rows.get("eval", {})
    common = (newest, steps, evaluated.get("success_rate"), evaluated.get("return_mean"))
    if (holder := alive(directory)) is not None:
        return RunState(name, "running", *common, left, holder)
    if sweep.failure(name).exists():
        return RunState(name, "failed", *common, None, _why(sweep.failure(name)))
    begun = (directory / "config.json").exists()
    return RunState(name, "interrupted" if begun else "waiting", *common, left if begun else None)


def finished(directory: Path, config: TrainConfig) -> Mapping[str, Any] | None:
    """The result of a run that has made all its steps, or was ended early by a callback; else None."""
    try:
        result = read_json(directory / RESULT)
    except (CheckpointError, OSError):
        return None
    return result if is_final(result, config) else None


def alive(directory: Path) -> str | None:
    """The process that holds a run directory; None where there is none. Of another machine its name is believed."""
    try:
        holder = read_record(directory / HOLDER, Holder)
    except (CheckpointError, OSError):
        return None
    if holder.host != socket.gethostname():
        return f"on {holder.host}, since {holder.since}"
    return f"process {holder.pid}" if pid_alive(holder) else None


def pid_alive(holder: Holder) -> bool:
    """Whether the process of ``holder``, of this machine, is still there, and none that took its number later."""
    try:
        began = psutil.Process(holder.pid).create_time()
    except psutil.Error:
        return False
    return began <= datetime.fromisoformat(holder.since).timestamp() + 1


def _why(path: Path) -> str:
    try:
        return str(read_json(path).get("message", ""))
    except (CheckpointError, OSError):
        return "unknown"


def _last_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The newest whole row of each kind; a running process may be writing one more."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            lines = deque(file.read().split(b"\n"))
    except OSError:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            row, _ = read_row(line)
        except (ValueError, RecursionError):
            continue
        found[row["kind"]] = row
    return found


def seconds_in_words(seconds: float | None) -> str:
    """``1:02:03``; empty where it is unknown."""
    return (
        ""
        if seconds is None
        else time.strftime("%H:%M:%S" if seconds < 86_400 else f"{int(seconds // 86_400)}d %H:%M", time.gmtime(seconds))
    )
