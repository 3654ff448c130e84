"""Whether a change made updates slower: the same update in two checkouts, in turn, on one thread.

Usage: python benchmarks/two_trees.py OTHER_CHECKOUT [--agents cqn-walker quickstart] [--speed eager compile]
                                      [--batch N] [--write NAME]

Each checkout gets a process of its own, which makes its agents with its own `benchmarks/shapes.py`. The two take turns
for blocks of updates, each block beginning with the other checkout than the one before, so that what slows the machine
down slows both. With `--speed compile`, the seconds until the first update is done are compared as well, with nothing
in the compiler's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
BLOCK_S, BLOCKS = 1.0, 24
"""Seconds of one block of updates, and how many blocks each checkout gets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of another commit, with which this one is compared")
    parser.add_argument("--agents", nargs="+", default=["cqn-walker", "quickstart"], help="cases of shapes.py")
    parser.add_argument("--speed", nargs="+", choices=("eager", "compile"), default=["eager", "compile"])
    parser.add_argument("--batch", type=int, default=0, help="samples of an update; 0: those of the case, for a CPU")
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--write", metavar="NAME", help="write benchmarks/results/NAME.json")
    options = parser.parse_args()
    if options.other.resolve() == HERE or not (options.other / "benchmarks" / "shapes.py").exists():
        parser.error(f"{options.other} is no other checkout of this repository")
    rows = [
        compare(options.other.resolve(), name, speed, options.batch, options.blocks)
        for name in options.agents
        for speed in options.speed
    ]
    from provenance import keep, provenance

    words = [str(word) for word in sys.argv[1:]]
    words[words.index(str(options.other))] = "OTHER_CHECKOUT"
    origin = provenance(["python", "benchmarks/two_trees.py", *words])
    result = {"name": options.write, **origin, "other_commit": commit(options.other), "threads": 1, "rows": rows}
    print(json.dumps(result, indent=1))
    if options.write:
        keep(result)


def commit(tree: Path) -> str:
    """The commit that is checked out in ``tree``."""
    words = ["git", "-C", str(tree), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def compare(other: Path, case: str, speed: str, batch: int, blocks: int) -> dict[str, Any]:
    """Times of an update of ``case`` here and in ``other``, and their ratio."""
    with worker(HERE, case, speed, batch) as ours, worker(other, case, speed, batch) as theirs:
        pair = (ours, theirs)
        first = [ask(process, "first") for process in pair]
        alone = [ask(process, "time 1") for process in pair]
        count = max(1, round(BLOCK_S / max(min(alone), 1e-4)))
        taken: tuple[list[float], list[float]] = ([], [])
        for block in range(blocks):
            for index in (0, 1) if block % 2 else (1, 0):
                taken[index].append(ask(pair[index], f"time {count}"))
    ratios = sorted(a / b for a, b in zip(*taken, strict=True))
    here, there = (1e3 * statistics.median(times) for times in taken)
    row = {"agent": case, "speed": speed, "updates_per_block": count, "update_ms": here, "update_ms_other": there}
    row |= {
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[len(ratios) // 4], ratios[-len(ratios) // 4]],
    }
    if speed == "compile":
        row |= {"first_update_s": first[0], "first_update_s_other": first[1]}
    print(f"{case}, {speed}: {here:.3f} ms here, {there:.3f} ms there, ratio {row['ratio']:.3f}", file=sys.stderr)
    return row


@contextmanager
def worker(tree: Path, case: str, speed: str, batch: int) -> Iterator[subprocess.Popen[str]]:
    """A process with one agent of ``tree``, and a compiler's cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        one = dict.fromkeys(("OMP_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), "1")
        path = os.pathsep.join(map(str, (tree / "src", tree / "benchmarks")))
        environment = {**os.environ, **one, "PYTHONPATH": path, "TORCHINDUCTOR_CACHE_DIR": cache}
        process = subprocess.Popen(
            [sys.executable, "-c", _WORK, case, speed, str(batch)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def ask(process: subprocess.Popen[str], words: str) -> float:
    """The seconds that ``process`` answers with."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(words + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"two_trees: a worker ended at {words!r}; its message is above")
    return float(answer)


_WORK = """
import sys, time
import torch
from shapes import CASES, batch_size, make_agent, make_batch, updates_of
from zoomrl.agents.engine import accelerate

torch.set_num_threads(1)
name, speed, samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
case = CASES[name]
agent = make_agent(case)
accelerate(agent, speed)
update, rounds = updates_of(case, agent, make_batch(case, agent, samples or batch_size(case, "small")))

def timed(count):
    began = time.perf_counter()
    for _ in range(count):
        update()
    return (time.perf_counter() - began) / count / rounds

for line in sys.stdin:
    words = line.split()
    if words[0] == "first":
        began = time.perf_counter()
        update()
        print(time.perf_counter() - began, flush=True)
    else:
        print(timed(int(words[1])), flush=True)
"""


if __name__ == "__main__":
    main()
