"""When imitation stops: does the live warning come before the policy is lost? And is it silent where nothing stops?

Usage: python benchmarks/collapse.py [--seeds 5 6 7 8] [--arms full lambda-0] [--offline 1000] [--steps 1000]
                                     [--rows 40] [--evaluations 80] [--jobs 2] [--out DIR] [--name NAME] [--note TEXT]

The arms ``lambda-0`` and ``full`` of the experiment ``bc-terms`` at its small scale, on seeds of their own, with rows
and evaluations of 50 episodes close together: imitation stops after 1,200 updates, and four of five steps make one.
A fall is known to lie between two evaluations, so that a warning leads by what lies between these at least and at most.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from provenance import keep, provenance
from zoomrl.analysis.statistics import estimate, sample_of
from zoomrl.reproduce.experiment import SMALL
from zoomrl.reproduce.experiments.bc_terms import EXPERIMENT, SWITCH, fell_at
from zoomrl.sweep.plan import Sweep, plan
from zoomrl.sweep.worker import Worker
from zoomrl.training.config import TrainConfig
from zoomrl.training.diagnosis.facts import known_before
from zoomrl.training.diagnosis.watch import warnings_of
from zoomrl.training.rows import METRICS, read_rows

STOPS, KEEPS = "lambda-0", "full"
AHEAD, CAUSE = "imitation-stops", "critic-collapse"
TASKS = ("metaworld:coffee-push", "metaworld:push-wall")
FINE = {"eval.episodes": 50, "eval.final_episodes": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[5, 6, 7, 8])
    parser.add_argument("--arms", nargs="+", default=[STOPS, KEEPS], choices=[STOPS, KEEPS])
    parser.add_argument("--offline", type=int, default=1000, help="updates on demonstrations, before the first step")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=40, help="steps between two rows")
    parser.add_argument("--evaluations", type=int, default=80, help="steps between two evaluations")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--name", default="collapse")
    parser.add_argument("--note", default="", help="anything a reader must know")
    options = parser.parse_args()
    cells = {
        f"{arm}-{task.partition(':')[2]}-s{seed}": (arm, task, seed)
        for seed in options.seeds
        for task in TASKS
        for arm in options.arms
    }
    grid = {
        "offline_updates": options.offline,
        "steps": options.steps,
        "log.every": options.rows,
        "eval.every": options.evaluations,
    }
    sweep = plan(options.out, {name: config_of(*cell, options.out, grid) for name, cell in cells.items()})
    if not Worker(sweep, options.jobs, say=print).run():
        sys.exit("not all runs are at their end; the same command goes on")
    runs = [read(sweep, name, *cell) for name, cell in cells.items()]
    result = {
        "name": options.name,
        **provenance(["python", "benchmarks/collapse.py", *_repeated(sys.argv[1:])]),
        "note": options.note,
        "summary": summarise(runs),
        "runs": runs,
    }
    keep(result)
    print(json.dumps(result["summary"], indent=1))


def _repeated(words: list[str]) -> list[str]:
    """What repeats the command: without where it lay, and without the note, which the result has."""
    left = {"--out", "--note"}
    return [word for at, word in enumerate(words) if word not in left and (at == 0 or words[at - 1] not in left)]


def config_of(arm: str, task: str, seed: int, place: Path, grid: dict[str, int]) -> TrainConfig:
    """The experiment's config of a cell, with closer rows."""
    size = EXPERIMENT.scale(SMALL)
    fine = replace(size, options={**size.options, **FINE, **grid})
    config = EXPERIMENT.config(EXPERIMENT.arm(arm), task, seed, fine)
    return replace(config, demos=replace(config.demos, directory=str(place / "demos")))


def read(sweep: Sweep, name: str, arm: str, task: str, seed: int) -> dict[str, Any]:
    """When a run warned and when its success fell, and every evaluation."""
    directory = sweep.run_dir(name)
    rows = read_rows(directory / METRICS)
    evaluations = [(row["updates"], row["success_rate"]) for row in rows if row["kind"] == "eval"]
    fell = fell_at(evaluations)
    if fell is not None:  # what falls before imitation stops is noise
        fell = max(fell, min(updates for updates, _ in evaluations if updates > SWITCH))
    said = warnings_of(known_before(directory), rows)
    return {
        "arm": arm,
        "task": task,
        "seed": seed,
        "warned": said.get(CAUSE),
        "announced": said.get(AHEAD),
        "others": sorted(set(said) - {AHEAD, CAUSE}),
        "stood": None if fell is None else max([SWITCH, *(u for u, _ in evaluations if u < fell)]),
        "fell": fell,
        "evaluations": evaluations,
    }


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the warning came, and when."""
    stopped = [one for one in runs if one["arm"] == STOPS]
    kept = [one for one in runs if one["arm"] == KEEPS]
    both = [one for one in stopped if one["fell"] is not None and one["warned"] is not None]
    return {
        "imitation_stops_at": SWITCH,
        "runs_in_which_it_stops": len(stopped),
        "announced_before_it_stopped": sum(
            one["announced"] is not None and one["announced"] < SWITCH for one in stopped
        ),
        "success_fell": sum(one["fell"] is not None for one in stopped),
        "warned": sum(one["warned"] is not None for one in stopped),
        "warned_before_it_stopped": sum(one["warned"] is not None and one["warned"] <= SWITCH for one in stopped),
        "warned_before_the_evaluation_that_fell": sum(one["warned"] < one["fell"] for one in both),
        "warned_no_later_than_the_last_that_had_not": sum(one["warned"] <= one["stood"] for one in both),
        "updates_from_stop_to_warning": [one["warned"] - SWITCH for one in both],
        "updates_from_warning_to_fall_at_least": [one["stood"] - one["warned"] for one in both],
        "updates_from_warning_to_fall_at_most": [one["fell"] - one["warned"] for one in both],
        "success_where_it_stops": mean_success(stopped),
        "success_where_it_goes_on": mean_success(kept),
        "runs_in_which_it_goes_on": len(kept),
        "false_alarms": sum(bool(one["announced"] or one["warned"] or one["others"]) for one in kept),
    }


def mean_success(runs: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Mean over the runs at each evaluation, and its difference from the last one before imitation stops, with the
    interval of Student over the runs: single runs fall and rise by 10 points by chance."""
    if not runs:
        return []
    grid = [updates for updates, _ in runs[0]["evaluations"]]
    every = np.array([[success for _, success in one["evaluations"]] for one in runs])
    before = max(at for at, updates in enumerate(grid) if updates <= SWITCH)
    found = []
    for at, updates in enumerate(grid):
        change = estimate(sample_of((every[:, at] - every[:, before]).tolist()))
        found.append(
            {
                "updates": updates,
                "success": float(every[:, at].mean()),
                "change": change.value,
                "low": change.low,
                "high": change.high,
            }
        )
    return found


if __name__ == "__main__":
    main()
