"""Hostile run directories and sets of :mod:`benchmarks.chaos.hostile`, opened by the commands that read such."""

from __future__ import annotations

import tempfile

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.hostile import attack, hostile_cases


def attempt(trial: Try) -> Found:
    """Open one of them, and see whether it was repelled."""
    found = Found()
    # What is made once for all cases goes with the attack's own folder.
    tempfile.tempdir = str(trial.place.parent)
    cases = hostile_cases()
    outcome = attack(cases[trial.number % len(cases)])
    found.counts["hostile files"] += 1
    found.counts["refused" if outcome.code else "without effect"] += 1
    if outcome.fault:
        found.fault(outcome.line())
    return found


ATTACK = Attack(
    name="hostile",
    bar="no foreign code, no content of another file, no traceback, no memory above 2x the files plus 200 MB",
    unit="hostile files",
    least=100,
    short=3,
    per_try=1,
    attempt=attempt,
    tries=len(hostile_cases()),
)
