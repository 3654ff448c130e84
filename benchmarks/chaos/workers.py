"""Worker processes of a run killed, or stopped until they count as hung: the run goes on, and says so."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import psutil
from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import result, rows
from benchmarks.chaos.runs import IMITATION, SMALL, STEPS, command
from benchmarks.chaos.starts import Start, begin, stopping

TIMEOUT_S = 2
"""After which a worker that does not answer counts as hung."""
STRIKES = 2
"""In a run: three deaths in a row end it, as they should."""
MOST_RUNS = 4
"""Of a try: a run may be over before all strikes were made."""


def attempt(trial: Try) -> Found:
    """Strike at the workers of one agent's runs."""
    rng, found = trial.rng, Found()
    agents = [agent for agent in SMALL if agent not in IMITATION]
    for number in range(MOST_RUNS):
        left = trial.amount - found.counts["strikes"]
        if left > 0:
            _strike(trial, agents[trial.number % len(agents)], number, min(STRIKES, left), rng, found)
    return found


def _strike(trial: Try, agent: str, number: int, strikes: int, rng: random.Random, found: Found) -> None:
    """Train once, and strike so often; fewer times where the run is over before."""
    seed, run = rng.randrange(1000), trial.place / f"run{number}"
    words = command(agent, "workers", run, trial.material, seed, ["--env.timeout", str(TIMEOUT_S)])
    struck: list[str] = []
    ready: list[psutil.Process] = []
    with stopping(begin(words, trial.place / "log")) as start:
        for _ in range(strikes):
            how = rng.choice([signal.SIGKILL, signal.SIGSTOP])
            if how == signal.SIGSTOP or rng.random() < 0.8:
                _until_training(start, run)
                ready = ready or _workers(start)
            time.sleep(rng.uniform(0, 0.4))
            # One that is only starting has minutes to answer: too long to wait for here.
            workers = ready if how == signal.SIGSTOP else _workers(start)
            if workers and start.running():
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(workers).send_signal(how)
                    struck.append(how.name)
        ended = start.wait()
    where = f"{agent}, seed {seed}, {' and '.join(struck)}"
    found.counts["strikes"] += len(struck)
    for name in struck:
        found.counts[f"{name} sent"] += 1
    if ended.code != 0 or not ended.clean:
        found.fault(f"{where}: the run did not go on: {ended.tail()}")
        return
    if result(run)["env_steps"] != STEPS or [row["kind"] for row in rows(run)].count("final") != 1:
        found.fault(f"{where}: the run did not come to its end")
    named = "died" in ended.text
    if struck:
        found.counts["runs that named the death" if named else "runs that did not need the worker any more"] += 1
    if named != ("restarted" in ended.text or "dropped" in ended.text):
        found.fault(f"{where}: a death is named, but not what was done about it: {ended.tail()}")


def _until_training(start: Start, run: Path) -> None:
    """Wait for the first row: all workers have answered by then."""
    path = run / "metrics.jsonl"
    while start.running() and not (path.exists() and path.stat().st_size):
        time.sleep(0.005)


def _workers(start: Start) -> list[psutil.Process]:
    try:
        children = psutil.Process(start.pid).children()
        return [child for child in children if any("spawn_main" in word for word in child.cmdline())]
    except psutil.Error:
        return []


ATTACK = Attack(
    name="workers",
    bar="the run goes on and names what died",
    unit="strikes",
    least=40,
    short=2,
    per_try=STRIKES,
    attempt=attempt,
)
