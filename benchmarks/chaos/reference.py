"""A run that nothing disturbs: what an attacked one is compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.chaos.attack import Try
from benchmarks.chaos.runs import command
from benchmarks.chaos.starts import finish


class Reference(NamedTuple):
    """Where it lies, how many seconds it took, and what went wrong (empty: nothing)."""

    run: Path
    seconds: float
    problem: str


def left_alone(trial: Try, agent: str, way: str, seed: int, more: Sequence[str] = ()) -> Reference:
    """Train ``agent`` in ``way`` to its end; ``more`` are further words of the command."""
    run, began = trial.place / "reference", time.monotonic()
    ended = finish(command(agent, way, run, trial.material, seed, more), trial.place / "reference.log")
    problem = "" if ended.code == 0 else f"{agent}, {way}: a run left alone did not end well: {ended.tail()}"
    return Reference(run, time.monotonic() - began, problem)
