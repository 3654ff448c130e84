"""A Weights & Biases that raises, hangs or answers oddly: the run goes on, or ends by name and resumes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.runs import SMALL, command
from benchmarks.chaos.starts import begin, finish, stopping

HUNG_S = 60.0
"""A run that by then has neither ended nor come to where the library hangs counts as hung by itself."""
STAND_IN = '''"""Stands in for the library; misbehaves as the environment variable CHAOS_WANDB says."""
import json, os, random, time

how = json.loads(os.environ["CHAOS_WANDB"])


class CommError(Exception):
    pass


def meet(place):
    if how["place"] != place or random.Random(how["seed"]).random() > how["often"]:
        return None
    how["seed"] += 1
    if how["fault"] == "hang":
        open(how["hanging"], "w").close()
        time.sleep(1000)
    if how["fault"] == "odd":
        return how["odd"]
    kinds = {"CommError": CommError, "OSError": OSError, "TypeError": TypeError, "KeyError": KeyError,
             "RuntimeError": RuntimeError, "TimeoutError": TimeoutError, "AssertionError": AssertionError}
    raise kinds[how["fault"]]("the network\\nis unreachable")


class Run:
    def log(self, *a, **k):
        return meet("log")

    def finish(self, *a, **k):
        return meet("finish")


def init(*a, **k):
    odd = meet("init")
    return odd if how["fault"] == "odd" and how["place"] == "init" else Run()


meet("import")
'''
FAULTS = (
    "CommError",
    "OSError",
    "TypeError",
    "KeyError",
    "RuntimeError",
    "TimeoutError",
    "AssertionError",
    "odd",
    "hang",
)
PLACES = ("init", "log", "finish", "import")


def attempt(trial: Try) -> Found:
    """Train one run beside a library that misbehaves, then again with one that works."""
    rng, found = trial.rng, Found()
    agent, seed = rng.choice(list(SMALL)), rng.randrange(1000)
    place, fault = PLACES[trial.number % len(PLACES)], rng.choice(FAULTS)
    how = {"place": place, "fault": fault, "seed": seed, "often": rng.choice([0.2, 1.0]) if place == "log" else 1.0}
    how["odd"] = rng.choice([None, 7, "", {}, []])
    hanging = trial.place / "hanging"
    how["hanging"] = str(hanging)
    where = f"{agent}, seed {seed}, {json.dumps(how)}"
    reference, run, log = trial.place / "reference", trial.place / "run", trial.place / "log"
    folder = trial.place / "library"
    folder.mkdir()
    (folder / "wandb.py").write_text(STAND_IN)

    def words(directory: Path) -> list[str]:
        return command(agent, "serial", directory, trial.material, seed, ["--log.wandb", "chaos"])

    def library(behaviour: dict[str, object]) -> object:
        def before() -> None:
            sys.modules.pop("wandb", None)
            sys.path.insert(0, str(folder))
            os.environ["CHAOS_WANDB"] = json.dumps(behaviour)

        return before

    good = library({**how, "place": "nowhere"})
    ended = finish(words(reference), trial.place / "reference.log", before=good)
    if ended.code != 0:
        found.fault(f"{where}: a run beside a library that works did not end well: {ended.tail()}")
        return found
    with stopping(begin(words(run), log, before=library(how))) as start:  # type: ignore[arg-type]
        if fault == "hang":
            deadline = time.monotonic() + HUNG_S
            while start.running() and not hanging.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            # Its user waits a little, and presses Ctrl-C twice.
            time.sleep(0.3)
            for _ in range(2):
                start.send(signal.SIGINT)
                time.sleep(0.3)
        ended = start.wait(60)
    found.counts["libraries"] += 1
    found.counts[f"fault in {place}"] += 1
    named = "wandb" in ended.text.lower() or "weights & biases" in ended.text.lower()
    interrupted = fault == "hang" and ended.code in (-signal.SIGINT, 128 + signal.SIGINT)
    if ended.code is None or (not ended.clean and not interrupted):
        found.fault(f"{where}: no clean end: {ended.tail()}")
    elif ended.code != 0 and not named and not interrupted:
        found.fault(f"{where}: ended without naming the library: {ended.tail()}")
    found.counts["runs that went on" if ended.code == 0 else "runs that ended"] += 1
    ended = finish(words(run), log, before=good)
    if ended.code != 0:
        found.fault(f"{where}: not resumed beside a library that works: {ended.tail()}")
    elif different := [line for line in differences(reference, run) if "wandb" not in line]:
        found.fault(f"{where}: the resumed run is another: {'; '.join(different)}")
    else:
        found.counts["runs with the same end"] += 1
    return found


ATTACK = Attack(
    name="tracking",
    bar="beside a Weights & Biases that fails the run goes on, or ends by name and resumes to the same end",
    unit="libraries",
    least=36,
    short=2,
    per_try=1,
    attempt=attempt,
)
