"""Single bits flipped in the files of runs and sets: the next command must notice, or not be affected."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import left_by
from benchmarks.chaos.runs import IMITATION, SMALL, command
from benchmarks.chaos.starts import PATIENCE_S, Ended, begin, finish

FLIPS_PER_FILE = 2
INTERRUPTED_AT = 45
"""Checkpoint at which the base run is killed: the older one and several segments are there too."""


@dataclass(frozen=True)
class Target:
    """A kind of file, and the commands that read it."""

    pattern: str
    """Where it lies in a run, or in the set of demonstrations."""
    commands: tuple[str, ...]


RESUME, EVAL, PLOT, START, CHECK = "resume", "eval", "plot", "start", "check"
TARGETS = {
    "checkpoint": Target("checkpoints/step_*.pt", (RESUME, EVAL)),
    "best": Target("checkpoints/best.pt", (RESUME, EVAL)),
    "segment": Target("replay/episodes_*.npz", (RESUME,)),
    "config": Target("config.json", (RESUME, EVAL, PLOT)),
    "policy": Target("policy.json", (RESUME, EVAL)),
    "threads": Target("threads.json", (RESUME,)),
    "metrics": Target("metrics.jsonl", (RESUME, PLOT)),
    "manifest": Target("manifest.json", (START,)),
    "demonstrations": Target("data/*", (START, CHECK)),
}
FLIPS_PER_TRY = FLIPS_PER_FILE * len(TARGETS)


def attempt(trial: Try) -> Found:
    """Flip bits in every kind of file of one run, and of the demonstrations that it learns from."""
    found, rng = Found(), trial.rng
    bench = _Bench(trial, rng)
    if problem := bench.prepare():
        found.fault(problem)
        return found
    for number in range(trial.amount):
        kind = list(TARGETS)[(trial.number + number) % len(TARGETS)]
        bench.flip(kind, rng.choice(TARGETS[kind].commands), number, found)
    return found


class _Bench:
    """A run that was interrupted, the same one finished, and what each command makes of them when they are whole."""

    def __init__(self, trial: Try, rng: random.Random) -> None:
        self._trial, self._rng = trial, rng
        self._agent = [agent for agent in SMALL if agent not in IMITATION][trial.number % (len(SMALL) - len(IMITATION))]
        self._seed = rng.randrange(1000)
        self._interrupted, self._finished = trial.place / "interrupted", trial.place / "finished"
        self._right: dict[str, object] = {}

    def prepare(self) -> str:
        """Make the runs; a problem in words, empty for none."""
        ended = self._do(START, self._finished, self._trial.material.demos)
        if ended.code != 0:
            return f"{self._agent}: a run left alone did not end well: {ended.tail()}"
        start = begin(self._words(START, self._interrupted, self._trial.material.demos), self._log)
        newest, deadline = (
            self._interrupted / f"checkpoints/step_{INTERRUPTED_AT:010d}.pt",
            time.monotonic() + PATIENCE_S,
        )
        while start.running() and not newest.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        if not start.kill():
            return f"{self._agent}: the run was over before it could be interrupted"
        self._right[RESUME] = self._right[START] = left_by(self._finished)
        for name in (EVAL, PLOT):
            run = self._copy(self._finished, name)
            ended = self._do(name, run, self._trial.material.demos)
            if ended.code != 0:
                return f"{name} of a run left alone did not end well: {ended.tail()}"
            self._right[name] = self._outcome(name, ended, run)
        demos = self._copy(self._trial.material.demos, "demos")
        ended = self._do(CHECK, self._finished, demos)
        self._right[CHECK] = self._outcome(CHECK, ended, demos)
        return "" if ended.code == 0 else f"demos check of a good set did not end well: {ended.tail()}"

    def flip(self, kind: str, name: str, number: int, found: Found) -> None:
        """Flip one bit in a file of ``kind``, do the command called ``name``, and judge."""
        demos, run = self._trial.material.demos, self._trial.place / f"run{number}"
        if name in (START, CHECK):
            folder = demos = self._copy(demos, f"demos{number}")
        else:
            base = self._interrupted if name == RESUME else self._finished
            folder = run = self._copy(base, run.name)
        files = sorted(path for path in folder.glob(TARGETS[kind].pattern) if path.stat().st_size)
        path = self._rng.choice(files)
        byte, bit = self._rng.randrange(path.stat().st_size), self._rng.randrange(8)
        _flip(path, byte, bit)
        ended = self._do(name, run, demos, path)
        where = f"{self._agent}, {path.name} byte {byte} bit {bit}, {name}"
        # The answer of eval repeats the name that it was given.
        said = "\n".join(line for line in ended.text.splitlines() if '"run": ' not in line)
        named = path.name in said or (folder is demos and str(demos) in said)
        found.counts["flips"] += 1
        found.counts[f"in {kind}"] += 1
        if not ended.clean:
            found.fault(f"{where}: no clean end: {ended.tail()}")
        elif ended.code == 0:
            # A row that is left out by name is missing from the plot as well.
            left_out = kind == "metrics" and name == PLOT and named
            outcome = self._outcome(name, ended, demos if name == CHECK else run)
            if left_out or self._same(kind, outcome, self._right[name]):
                found.counts["named, and the rest used" if named else "without effect"] += 1
            else:
                found.fault(f"{where}: {'named, but' if named else 'silently'} another outcome")
        elif not named:
            found.fault(f"{where}: refused without naming the file: {ended.tail()}")
        else:
            found.counts["refused by name"] += 1
            if name == RESUME:
                self._restored(where, path, byte, bit, run, found)
        shutil.rmtree(run, ignore_errors=True)

    def _restored(self, where: str, path: Path, byte: int, bit: int, run: Path, found: Found) -> None:
        """A run that was refused goes on once the bit is back."""
        _flip(path, byte, bit)
        ended = self._do(RESUME, run, self._trial.material.demos)
        if ended.code != 0 or left_by(run) != self._right[RESUME]:
            found.fault(f"{where}: the run does not go on with the file restored: {ended.tail()}")
        else:
            found.counts["gone on with the file restored"] += 1

    @staticmethod
    def _same(kind: str, ours: object, right: object) -> bool:
        """Rows in which a bit was flipped, as was said, stay flipped; all else must be the same."""
        if kind == "metrics" and isinstance(ours, dict) and isinstance(right, dict):
            return {**ours, "rows": ""} == {**right, "rows": ""}
        return ours == right

    def _outcome(self, name: str, ended: Ended, folder: Path) -> object:
        """What a command came to, comparable between folders."""
        if name in (RESUME, START):
            return left_by(folder)
        if name == PLOT:
            return hashlib.sha256(self._plot.read_bytes()).hexdigest()
        if name == EVAL:
            return {
                key: value for key, value in json.loads(ended.text[ended.text.index("{\n") :]).items() if key != "run"
            }
        return ended.text.replace(str(folder), "FOLDER")

    @property
    def _plot(self) -> Path:
        return self._trial.place / "plot.png"

    @property
    def _log(self) -> Path:
        return self._trial.place / "log"

    def _do(self, name: str, run: Path, demos: Path, path: Path | None = None) -> Ended:
        return finish(self._words(name, run, demos, path), self._log)

    def _words(self, name: str, run: Path, demos: Path, path: Path | None = None) -> list[str]:
        if name == EVAL:
            # A checkpoint is evaluated by its own name, since the run's best weights come first.
            subject = path if path is not None and path.suffix == ".pt" else run
            return ["eval", str(subject), "--episodes", "2", "--json", "--trust"]
        if name == PLOT:
            return ["plot", str(run), "--out", str(self._plot)]
        if name == CHECK:
            return ["demos", "check", str(demos), "--no-write"]
        words = command(self._agent, "best", run, replace(self._trial.material, demos=demos), self._seed)
        if name == RESUME:
            at = words.index("--threads")  # or threads.json would not be read
            del words[at : at + 2]
        return words

    def _copy(self, folder: Path, name: str) -> Path:
        return Path(shutil.copytree(folder, self._trial.place / name))


def _flip(path: Path, byte: int, bit: int) -> None:
    with open(path, "r+b") as file:
        file.seek(byte)
        (value,) = file.read(1)
        file.seek(byte)
        file.write(bytes([value ^ 1 << bit]))


ATTACK = Attack(
    name="flips",
    bar="the next command names the file, or comes to the same; what is not damaged stays usable",
    unit="flips",
    least=300,
    short=5,
    per_try=FLIPS_PER_TRY,
    attempt=attempt,
    tries=len(SMALL) - len(IMITATION),
)
