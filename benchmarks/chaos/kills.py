"""Runs killed at random instants, and while they write, then resumed by the same command until they are done."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.reference import left_alone
from benchmarks.chaos.runs import command, kinds
from benchmarks.chaos.starts import PATIENCE_S, Start, begin, finish

KILLS_PER_TRY = 6
KILLS_PER_RUN = 3
FRESH = 0.08
"""Fraction of starts that are programs of their own."""
AIMED = 0.5
"""Fraction of kills that wait for a file to appear or vanish."""
FILE_EVENTS = 40
"""So many names appear and vanish in the directory of one of these runs, about."""


def attempt(trial: Try) -> Found:
    """Kill the runs of one agent in one way of running, and compare what they leave with a run left alone."""
    rng, found = trial.rng, Found()
    agent, way = kinds()[trial.number % len(kinds())]
    seed = rng.randrange(1000)
    reference, duration, problem = left_alone(trial, agent, way, seed)
    if problem:
        found.fault(problem)
        return found
    number = 0
    while found.counts["kills"] < trial.amount:
        run = trial.place / f"run{number}"
        number += 1
        words, log = command(agent, way, run, trial.material, seed), trial.place / f"{run.name}.log"
        finished = False
        kills = min(KILLS_PER_RUN, trial.amount - found.counts["kills"])
        for _ in range(kills):
            fresh = rng.random() < FRESH
            start = begin(words, log, fresh=fresh)
            aimed = _strike(start, run, rng, duration + 3 * fresh)
            if not start.kill():
                finished = True
                break
            found.counts["kills"] += 1
            found.counts["kills of programs of their own"] += fresh
            found.counts["kills aimed at a file"] += aimed
            found.counts["kills that left a temporary file"] += any(".tmp" in path.name for path in run.rglob(".*"))
        ended = start.wait() if finished else finish(words, log)
        if ended.code != 0 or not ended.clean:
            found.fault(f"{agent}, {way}, seed {seed}: the resumed run was refused: {ended.tail()}")
            continue
        if different := differences(reference, run):
            found.fault(f"{agent}, {way}, seed {seed}: the resumed run is another: {'; '.join(different)}")
        else:
            found.counts["runs resumed to the same end"] += 1
    return found


def _strike(start: Start, run: Path, rng: random.Random, duration: float) -> bool:
    """Wait for the instant to kill ``start`` at; whether a file decided it."""
    if rng.random() >= AIMED:
        _sleep(start, rng.uniform(0, duration))
        return False
    events, delay = rng.randint(1, FILE_EVENTS), rng.choice((0, 0, 0.0005, 0.002))
    before: set[str] = set()
    deadline = time.monotonic() + PATIENCE_S
    while start.running() and time.monotonic() < deadline:
        now = _names(run)
        events -= len(now ^ before)
        if events <= 0:
            time.sleep(delay)
            return True
        before = now
        time.sleep(0.0005)
    return True


def _sleep(start: Start, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while start.running() and time.monotonic() < deadline:
        time.sleep(0.002)


def _names(run: Path) -> set[str]:
    """What lies in a run directory and in its folders at this moment."""
    found = set()
    for folder in (run, run / "checkpoints", run / "replay", run / "corrections"):
        try:
            found |= {f"{folder.name}/{entry.name}" for entry in os.scandir(folder)}
        except OSError:
            continue
    return found


ATTACK = Attack(
    name="kills",
    bar="every resumed run ends byte-equal to one left alone; none is lost, none refused",
    unit="kills",
    least=300,
    short=3,
    per_try=KILLS_PER_TRY,
    attempt=attempt,
    tries=len(kinds()),
)
