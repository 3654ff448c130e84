"""The same command started twice: one trains as if alone, the other says who holds the directory."""

from __future__ import annotations

import time

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.reference import left_alone
from benchmarks.chaos.runs import command, kinds
from benchmarks.chaos.starts import begin, stopping


def attempt(trial: Try) -> Found:
    """Start one command twice, at once or one after the other."""
    rng, found = trial.rng, Found()
    agent, way = rng.choice(kinds())
    seed, run = rng.randrange(1000), trial.place / "run"
    reference, duration, problem = left_alone(trial, agent, way, seed)
    if problem:
        found.fault(problem)
        return found
    words = command(agent, way, run, trial.material, seed)
    delay = rng.choice([0.0, rng.uniform(0, 0.7 * duration)])
    where = f"{agent}, {way}, seed {seed}, {delay:.2f} s apart"
    with stopping(begin(words, trial.place / "first.log")) as first:
        time.sleep(delay)
        fresh = rng.random() < 0.1
        with stopping(begin(words, trial.place / "second.log", fresh=fresh)) as second:
            ends = [first.wait(), second.wait()]
    found.counts["pairs"] += 1
    # One that starts after the other has ended finds a finished run.
    trained = [end for end in ends if end.code == 0 and "finished already" not in end.text]
    others = [end for end in ends if end not in trained]
    if len(trained) != 1:
        found.fault(f"{where}: {len(trained)} of 2 trained: {'; '.join(end.tail() for end in ends)}")
    elif different := differences(reference, run):
        found.fault(f"{where}: the run is another than one alone: {'; '.join(different)}")
    for end in others:
        if end.code == 0:
            found.counts["second found a finished run"] += 1
        elif end.clean and str(run) in end.text and "process" in end.text:
            found.counts["second told who trains"] += 1
        else:
            found.fault(f"{where}: the other one does not say who trains: {end.tail()}")
    return found


ATTACK = Attack(
    name="pairs",
    bar="of two processes in one directory exactly one trains, and its run is that of one alone",
    unit="pairs",
    least=20,
    short=1,
    per_try=1,
    attempt=attempt,
)
