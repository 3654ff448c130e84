"""Disks that are full, read-only or frozen under a run, which must say so and go on once they are not."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.compare import differences
from benchmarks.chaos.reference import left_alone
from benchmarks.chaos.runs import SMALL, WAYS, command
from benchmarks.chaos.starts import Ended, begin, finish

DISK_BYTES = 16 << 20
NOBODY = 65534
"""A user whom missing permissions stop, which they do not stop the superuser."""
Attacked = tuple[Path, Ended, list[str], Path]
"""The run, how it ended, its command and its log."""
_REASONS = ("space", "too large", "permission denied", "read-only", "cannot be locked", "quota")


def attempt(trial: Try) -> Found:
    """Take the disk from one run in one way, give it back, and compare the end with that of a run left alone."""
    rng, found = trial.rng, Found()
    how = _HOW[trial.number % len(_HOW)]
    agent, way = rng.choice(list(SMALL)[:-2]), rng.choice([way for way in WAYS if way != "workers"])
    seed = rng.randrange(1000)
    reference, duration, problem = left_alone(trial, agent, way, seed)
    where = f"{how.__name__.strip('_')}, {agent}, {way}, seed {seed}"
    if problem:
        found.fault(problem)
        return found
    try:
        attacked = how(trial, agent, way, seed, duration, rng)
        if isinstance(attacked, str):
            found.skipped = attacked
        else:
            _judge(how.__name__.strip("_"), where, reference, attacked, found)
    finally:
        _unmount(trial.place / "disk")
    return found


def _judge(how: str, where: str, reference: Path, attacked: Attacked, found: Found) -> None:
    """What the run said, and whether it goes on to the end of ``reference`` now that its disk is back."""
    run, ended, words, log = attacked
    found.counts["disks"] += 1
    found.counts[how] += 1
    if not ended.clean:
        found.fault(f"{where}: no clean end: {ended.tail()}")
    elif ended.code != 0 and not _explained(ended.text, run):
        found.fault(f"{where}: the reason and the file are not said: {ended.tail()}")
    found.counts["runs that went on" if ended.code == 0 else "runs that ended by name"] += 1
    ended = finish(words, log)
    if ended.code != 0:
        found.fault(f"{where}: not resumed: {ended.tail()}")
    elif different := differences(reference, run):
        found.fault(f"{where}: the resumed run is another: {'; '.join(different)}")
    else:
        found.counts["runs resumed to the same end"] += 1


def _explained(text: str, run: Path) -> bool:
    """Whether a message says what cannot be written, and why."""
    named = str(run) in text or re.search(r"\w+\.(pt|npz|jsonl?)\b", text)
    return bool(named) and any(reason in text.lower() for reason in _REASONS)


def _limited(trial: Try, agent: str, way: str, seed: int, duration: float, rng: random.Random) -> Attacked | str:
    """No file may grow beyond a size, as on some full file systems."""
    run, log = trial.place / "run", trial.place / "run.log"
    words = command(agent, way, run, trial.material, seed)
    sizes = [path.stat().st_size for path in (trial.place / "reference").rglob("*") if path.is_file()]
    # Less than a page would stop the memory that processes share, which is no file of the run.
    limit = rng.choice([rng.randrange(4096, 8192), rng.randrange(4096, max(sizes))])

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    return run, _unlogged(words, log, limited), words, log


def _full(trial: Try, agent: str, way: str, seed: int, duration: float, rng: random.Random) -> Attacked | str:
    """A small file system of its own that fills up."""
    disk, log = trial.place / "disk", trial.place / "run.log"
    if problem := _mount(disk):
        return problem
    run = disk / "run"
    words = command(agent, way, run, trial.material, seed)
    used = sum(path.stat().st_size for path in (trial.place / "reference").rglob("*") if path.is_file())
    ballast = disk / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES - min(DISK_BYTES // 2, rng.randrange(4096, 2 * used)))
    ended = finish(words, log)
    ballast.unlink()
    return run, ended, words, log


def _readonly(trial: Try, agent: str, way: str, seed: int, duration: float, rng: random.Random) -> Attacked | str:
    """A run directory that may not be written to from some instant on."""
    home, log = trial.place / "home", trial.place / "run.log"
    home.mkdir()
    run, before = home / "run", None
    if os.getuid() == 0:
        os.chown(home, NOBODY, NOBODY)

        def before() -> None:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    words = command(agent, way, run, trial.material, seed)
    start = begin(words, log, before=before)
    time.sleep(rng.uniform(0, duration))
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    ended = start.wait()
    for folder in folders:
        folder.chmod(0o755)
    return run, ended, words, log


def _frozen(trial: Try, agent: str, way: str, seed: int, duration: float, rng: random.Random) -> Attacked | str:
    """Stopped in the middle of everything, several times, and continued."""
    run, log = trial.place / "run", trial.place / "run.log"
    words = command(agent, way, run, trial.material, seed)
    start = begin(words, log)
    for _ in range(5):
        time.sleep(rng.uniform(0, duration / 5))
        start.send(signal.SIGSTOP)
        time.sleep(rng.uniform(0.01, 0.2))
        start.send(signal.SIGCONT)
    return run, start.wait(), words, log


_HOW = (_limited, _full, _readonly, _frozen)


def _unlogged(words: list[str], log: Path, limited: object) -> Ended:
    """What a run under a limit prints goes through a pipe: its log would be limited too."""
    with _pipe_to(log) as handle:

        def before() -> None:
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            limited()  # type: ignore[operator]

        ended = begin(words, log.with_suffix(".unused"), before=before).wait()
    return Ended(ended.code, log.read_text(errors="replace"))


@contextlib.contextmanager
def _pipe_to(log: Path) -> Iterator[int]:
    """A handle whose other end ``cat`` writes to ``log``."""
    ours, theirs = os.pipe()
    with open(log, "wb") as file:
        reader = subprocess.Popen(["cat"], stdin=ours, stdout=file, start_new_session=True)
    os.close(ours)
    try:
        yield theirs
    finally:
        os.close(theirs)
        reader.wait()


def _mount(disk: Path) -> str:
    """Mount a small file system; why it cannot be, otherwise."""
    disk.mkdir()
    if os.getuid() != 0:
        return "a small file system is mounted by the superuser alone"
    options = f"size={DISK_BYTES},mode=0777"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True, text=True)
    return f"no small file system can be mounted here: {done.stderr.strip()}" if done.returncode else ""


def _unmount(disk: Path) -> None:
    if disk.is_mount():
        subprocess.run(["umount", "-l", str(disk)], check=False)


ATTACK = Attack(
    name="disks",
    bar="a run whose disk is full, read-only or frozen says so, and then resumes to the same end",
    unit="disks",
    least=40,
    short=4,
    per_try=1,
    attempt=attempt,
)
