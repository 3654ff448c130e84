"""Worker processes of a run killed, or stopped until they count as hung: the run goes on, and says so."""

from __future__ import annotations

import contextlib
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


def attempt(trial: Try) -> Found:
    """Strike at the workers of one run."""
    rng, found = trial.rng, Found()
    agents = [agent for agent in SMALL if agent not in IMITATION]
    agent, seed, run = agents[trial.number % len(agents)], rng.randrange(1000), trial.place / "run"
    words = command(agent, "workers", run, trial.material, seed, ["--env.timeout", str(TIMEOUT_S)])
    struck: list[str] = []
    ready: list[psutil.Process] = []
    with stopping(begin(words, trial.place / "log")) as start:
        for _ in range(trial.amount):
            number = rng.choice([signal.SIGKILL, signal.SIGSTOP])
            if number == signal.SIGSTOP or rng.random() < 0.8:
                _until_training(start, run)
                ready = ready or _workers(start)
            time.sleep(rng.uniform(0, 0.4))
            # One that is only starting has minutes to answer: too long to wait for here.
            workers = ready if number == signal.SIGSTOP else _workers(start)
            if workers and start.running():
                with contextlib.suppress(psutil.NoSuchProcess):
                    rng.choice(workers).send_signal(number)
                    struck.append(number.name)
        ended = start.wait()
    where = f"{agent}, seed {seed}, {' and '.join(struck)}"
    found.counts["strikes"] += len(struck)
    for name in struck:
        found.counts[f"{name} sent"] += 1
    if ended.code != 0 or not ended.clean:
        found.fault(f"{where}: the run did not go on: {ended.tail()}")
        return found
    if result(run)["env_steps"] != STEPS or [row["kind"] for row in rows(run)].count("final") != 1:
        found.fault(f"{where}: the run did not come to its end")
    named = "died" in ended.text
    found.counts["deaths named" if named else "not needed any more"] += bool(struck)
    if named != ("restarted" in ended.text or "dropped" in ended.text):
        found.fault(f"{where}: a death is named, but not what was done about it: {ended.tail()}")
    return found


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
