"""Whether a change left learning as it was: the same config and seed in two checkouts, and their rows compared.

Usage: python benchmarks/same_rows.py OTHER_CHECKOUT [--cases cqn cqn_as ...] [--write NAME]

Five small runs: CQN, CQN-AS with demonstrations, DrQ-v2 from images, iQRL and TD7. Rows must be equal in every digit
but for what the clock decides. A field or an option that got another name is listed here, by its new and its old one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
CASES = {
    "cqn": "--preset cqn-dmc --env dmc:cartpole-swingup --agent.hidden-dim 32 --replay.batch-size 16",
    "cqn_as": "--preset quickstart --agent.hidden-dim 32 --replay.batch-size 16 --demos.episodes 3 "
    "--offline-updates 20",
    "drqv2": "--preset drqv2-dmc-cpu --env dmc:cartpole-balance --agent.hidden-dim 32 --replay.batch-size 8 "
    "--agent.encoder.channels 4",
    "iqrl": "--preset iqrl-dmc-cpu --env dmc:walker-walk --replay.batch-size 16",
    "td7": "--preset td7-dmc --env dmc:walker-walk --agent.hidden-dim 32 --replay.batch-size 16",
}
SHORT = (
    "--steps 1500 --eval.every 500 --eval.episodes 2 --eval.final-episodes 2 --eval.no-video --log.every 100 "
    "--log.no-tensorboard --threads 1 --seed-steps 400"
)
NEW_OPTIONS: dict[str, str] = {"--agent.chunk-length": "--agent.horizon"}
"""Options that are called otherwise in the other checkout: name here -> name there."""
NEW_FIELDS: dict[str, str] = {"demo_fraction": "demo_share"}
"""Fields of rows that are: name here -> name there."""
OF_THE_CLOCK = ("seconds", "updates_per_s", "env_steps_per_s", "digest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of another commit, with which this one is compared")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--write", metavar="NAME", help="write benchmarks/results/NAME.json")
    options = parser.parse_args()
    if options.other.resolve() == HERE or not (options.other / "src" / "zoomrl").exists():
        parser.error(f"{options.other} is no other checkout of this repository")
    found = {}
    for case in options.cases:
        ours = rows(HERE, case, {})
        theirs = [{NEW.get(k, k): v for k, v in row.items()} for row in rows(options.other, case, NEW_OPTIONS)]
        found[case] = {"rows": len(ours), "differences": differences(ours, theirs)}
        print(f"{case}: {len(ours)} rows, {len(found[case]['differences'])} differ", file=sys.stderr)
    print(json.dumps(found, indent=1))
    if options.write:
        from provenance import keep, provenance
        from two_trees import commit

        words = [word if word != str(options.other) else "OTHER_CHECKOUT" for word in sys.argv[1:]]
        origin = provenance(["python", "benchmarks/same_rows.py", *words])
        keep({"name": options.write, **origin, "other_commit": commit(options.other), "summary": found})
    sys.exit(any(case["differences"] or not case["rows"] for case in found.values()))


NEW = {old: new for new, old in NEW_FIELDS.items()}


def rows(tree: Path, case: str, renamed: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of ``case`` as the checkout ``tree`` trains it, without what the clock decides."""
    words = [renamed.get(word, word) for word in f"{CASES[case]} {SHORT}".split()]
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")}
        command = [sys.executable, "-m", "zoomrl", "train", *words, "--run-dir", "run"]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"same_rows: {case} in {tree} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        lines = (Path(place) / "run" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in OF_THE_CLOCK} for line in lines]


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """Rows and fields that differ, in words."""
    found = [] if len(ours) == len(theirs) else [f"{len(ours)} rows here, {len(theirs)} there"]
    for number, (one, two) in enumerate(zip(ours, theirs, strict=False), start=1):
        names = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
        found += [f"row {number}, {name}: {one.get(name)!r} here, {two.get(name)!r} there" for name in names]
    return found


if __name__ == "__main__":
    main()
