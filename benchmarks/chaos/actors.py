"""Actors that collect episodes killed, stopped until they are given up, and killed with the learner; then resumed.

Each run is gone on with by another number of actors than the one before, in this process or in others.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import psutil
from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.reference import left_alone
from benchmarks.chaos.runs import AHEAD, IMITATION, SMALL, command
from benchmarks.chaos.starts import PATIENCE_S, Start, begin, stopping

DEADLINE_S = 8
"""After which an actor that does not bring its episode is given up; more than a start takes here."""
STRIKES_PER_RUN = 4
_LONGER = ("--steps", "180", "--collect.deadline", str(DEADLINE_S))
_HOW = {"actor": 5, "silence": 1, "learner": 3, "both": 2, "stop": 2}
"""What is struck, and how often of all."""


def attempt(trial: Try) -> Found:
    """Strike at the actors and the learner of one agent's runs, and compare what they leave with a run left alone."""
    rng, found = trial.rng, Found()
    agents = [agent for agent in SMALL if agent not in IMITATION]
    agent, seed = agents[trial.number % len(agents)], rng.randrange(1000)
    reference, _, problem = left_alone(trial, agent, AHEAD, seed, _LONGER)
    if problem:
        found.fault(problem)
        return found
    number = 0
    while found.counts["strikes"] < trial.amount:
        run = trial.place / f"run{number}"
        number += 1
        strikes = min(STRIKES_PER_RUN, trial.amount - found.counts["strikes"])
        ended = ""
        while not ended:
            actors = rng.choice((0, 1, 2, 4) if found.counts["strikes"] else (1, 2, 4))
            more = ("--collect.backend", "process", "--collect.actors", str(actors)) if actors else ()
            words = command(agent, AHEAD, run, trial.material, seed, [*_LONGER, *more])
            found.counts[f"starts with {actors} actors"] += 1
            with stopping(begin(words, trial.place / f"{run.name}.log")) as start:
                strikes -= _strike(start, run, actors, strikes, rng, found)
                end = start.wait(3 * PATIENCE_S)  # a stopped one that was starting has minutes to answer
            if end.code in (-signal.SIGKILL, 128 + signal.SIGTERM):
                continue
            ended = "well" if end.code == 0 and end.clean else end.tail()
        where = f"{agent}, seed {seed}, {run.name}"
        if ended != "well":
            found.fault(f"{where}: the run did not go on: {ended}")
        elif different := differences(reference, run):
            found.fault(f"{where}: the run is another: {'; '.join(different)}")
        else:
            found.counts["runs with the same end"] += 1
    return found


def _strike(start: Start, run: Path, actors: int, most: int, rng: random.Random, found: Found) -> int:
    """Strike ``most`` times at this start, or until it is over; how often it was."""
    done = 0
    while done < most and start.running():
        how = rng.choices([*_HOW], [*_HOW.values()])[0] if actors else "learner"
        if how in ("actor", "silence") or rng.random() < 0.7:
            until_training(start, run)
        time.sleep(rng.uniform(0, 0.6))
        victims = _actors(start) if actors else []
        if not start.running() or (how != "learner" and not victims):
            break
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if how in ("actor", "silence"):
                rng.choice(victims).send_signal(signal.SIGSTOP if how == "silence" else signal.SIGKILL)
            else:
                start.send(signal.SIGTERM if how == "stop" else signal.SIGKILL)
                for victim in victims:  # a stopped one would not see that its learner is gone
                    victim.send_signal(signal.SIGKILL if how == "both" else signal.SIGCONT)
            done += 1
            found.counts["strikes"] += 1
            found.counts[f"strikes at {how}"] += 1
        if how in ("both", "learner", "stop"):
            break
    return done


def until_training(start: Start, run: Path) -> None:
    """Wait for the first row of this start: an actor has answered by then."""
    path, deadline = run / "metrics.jsonl", time.monotonic() + PATIENCE_S
    before = path.stat().st_size if path.exists() else 0
    while start.running() and time.monotonic() < deadline:
        if path.exists() and path.stat().st_size != before:
            return
        time.sleep(0.005)


def _actors(start: Start) -> list[psutil.Process]:
    try:
        children = psutil.Process(start.pid).children()
        return [child for child in children if any("collect.serve" in word for word in child.cmdline())]
    except psutil.Error:
        return []


ATTACK = Attack(
    name="actors",
    bar="every run ends byte-equal to one whose episodes were made one by one in the learner, left alone",
    unit="strikes",
    least=200,
    short=2,
    per_try=10,
    attempt=attempt,
    tries=len([agent for agent in SMALL if agent not in IMITATION]),
)
