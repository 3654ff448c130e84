"""The command line of the attack."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from benchmarks.chaos import actors, disks, flips, foreign, kills, nodes, pairs, tracking, workers
from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.chaos.report import Account, line, write
from benchmarks.chaos.runs import Material, write_corrections
from benchmarks.chaos.starts import finish, prepare
from benchmarks.chaos.toy import demonstrate

ATTACKS: dict[str, Attack] = {
    module.ATTACK.name: module.ATTACK
    for module in (kills, disks, flips, foreign, workers, actors, nodes, tracking, pairs)
}
MINUTES_PER_KIND = 12.0


def main(argv: Sequence[str] | None = None) -> int:
    """Attack, report, and return 1 when a bar was missed."""
    options = parser().parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    prepare()
    chosen = [ATTACKS[name] for name in options.kinds or ATTACKS]
    accounts = []
    with _workspace(options.keep) as place, _pool(options.jobs) as pool:
        material = _material(place)
        for attack in chosen:
            wanted = options.count or (attack.short if options.short else attack.least)
            amounts = _amounts(attack, wanted, options)
            trials = [
                Try(attack.name, number, amount, options.seed, place / f"{attack.name}-{number}", material)
                for number, amount in amounts.items()
            ]
            wanted = 0 if options.only is not None else wanted
            accounts.append(_run(attack, trials, wanted, pool, options.minutes * 60, options.keep))
            print(line(accounts[-1]), flush=True)
            for fault in accounts[-1].faults[:20]:
                print(f"    {fault}", flush=True)
    if not options.no_write:
        print(f"wrote {write(accounts, options.seed, options.out)}")
    return 0 if all(account.held for account in accounts) else 1


def _material(place: Path) -> Material:
    """Demonstrations, checked, and recorded corrections."""
    demos = demonstrate(place / "demos")
    checked = finish(["demos", "check", str(demos)], place / "check.log")
    if checked.code != 0:
        raise RuntimeError(f"the demonstrations of the attack do not pass their check: {checked.tail()}")
    return Material(demos, write_corrections(place / "corrections.jsonl"))


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    words.add_argument("kinds", nargs="*", metavar="KIND", help=f"attacks, all by default: {', '.join(ATTACKS)}")
    words.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    words.add_argument("--count", type=int, help="how much of each kind instead of what its bar asks for")
    words.add_argument("--short", action="store_true", help="a little of each kind, as the test suite does")
    words.add_argument("--only", type=int, metavar="N", help="make try N of the kind alone, as a fault's line says")
    words.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="tries made at the same time")
    words.add_argument("--minutes", type=float, default=MINUTES_PER_KIND, help="longest time for each kind")
    words.add_argument("--keep", action="store_true", help="keep the folders of tries that found a fault")
    words.add_argument("--no-write", action="store_true", help="print only")
    words.add_argument("--out", type=Path, help="file to write instead of benchmarks/results/chaos.json")
    return words


def _amounts(attack: Attack, wanted: int, options: argparse.Namespace) -> dict[int, int]:
    """Number of each try -> how much of the unit it does. A few tries are spread over all variants."""
    if options.only is not None:
        return {options.only: min(wanted, attack.per_try)}
    least = 0 if options.short or options.count else attack.tries
    count = max(least, -(-wanted // attack.per_try))
    stride = max(1, attack.tries // count)
    left = max(wanted, least * attack.per_try)
    return {n * stride: min(attack.per_try, left - n * attack.per_try) for n in range(count)}


def _run(
    attack: Attack, trials: list[Try], wanted: int, pool: ProcessPoolExecutor, limit_s: float, keep: bool
) -> Account:
    """All tries of one kind, ended when their time is over."""
    began = time.monotonic()
    account = Account(attack, wanted)
    waiting: dict[Future[Found], Try] = {pool.submit(_one, trial, keep): trial for trial in trials}
    while waiting:
        left = began + limit_s - time.monotonic()
        done, _ = wait(waiting, timeout=max(0.0, left), return_when=FIRST_COMPLETED)
        for future in done:
            account.add(waiting.pop(future), future.result())
        if not done:
            # What has begun is bounded by itself; what has not is left out, and counted as missing.
            waiting = {future: trial for future, trial in waiting.items() if not future.cancel()}
            limit_s += 600
    account.seconds = time.monotonic() - began
    return account


def _one(trial: Try, keep: bool) -> Found:
    """One try, and its folder taken away."""
    trial.place.mkdir()
    try:
        attack = ATTACKS[trial.kind]
        found = attack.attempt(trial)
    except Exception:
        last = " | ".join(traceback.format_exc().strip().splitlines()[-4:])
        found = Found(faults=[f"the attack itself failed: {last}"])
    if not (keep and found.faults):
        shutil.rmtree(trial.place, ignore_errors=True)
    return found


@contextlib.contextmanager
def _workspace(keep: bool) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="zoomrl-chaos-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        if keep:
            print(f"kept: {place}", file=sys.stderr)
        else:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("fork"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
