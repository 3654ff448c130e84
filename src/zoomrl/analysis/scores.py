"""What runs achieved at their ends: one score for each task and seed, and under which conditions. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomrl.analysis.metrics import Run, read_run
from zoomrl.errors import CheckpointError, ConfigError, unknown_name
from zoomrl.training.config import flat

CONDITIONS = (
    "env.reward",
    "env.time_limit",
    "env.action_repeat",
    "env.cameras",
    "env.state",
    "env.control_hz",
    "env.terminate_on_success",
    "demos.source",
    "demos.episodes",
    "demos.noise",
    "eval.keep_best",
    "steps",
    "offline_updates",
)
"""Options that make results of one task another task's where they differ."""


@dataclass(frozen=True)
class Score:
    """What one run achieved in the evaluation at its end.

    Attributes:
        value: success rate, or mean return.
        successes, episodes: of that evaluation; ``successes`` is None for returns.
        run: where it lies.
    """

    value: float
    episodes: int
    successes: int | None
    run: Path


@dataclass(frozen=True)
class Scores:
    """Of several runs of one method.

    Attributes:
        name: of the method.
        metric: ``success`` or ``return``.
        tasks: task -> seed -> score.
        conditions: task -> full name of an option -> its value.
        unfinished: runs that have no evaluation at their end yet.
    """

    name: str
    metric: str
    tasks: Mapping[str, Mapping[int, Score]]
    conditions: Mapping[str, Mapping[str, Any]]
    unfinished: tuple[Path, ...] = ()


def find_runs(path: Path) -> list[Path]:
    """Run directories: ``path`` itself, those of a sweep, or those that lie in it.

    Raises:
        CheckpointError: there is none.
    """
    if (path / "config.json").is_file():
        return [path]
    inside = path / "runs" if (path / "sweep.json").is_file() else path
    found = sorted(file.parent for file in inside.glob("*/config.json")) if inside.is_dir() else []
    if not found:
        raise CheckpointError(f"{path} holds no runs: neither it nor a folder in it has a config.json")
    return found


def read_scores(path: Path, by: str = "", metric: str = "") -> list[Scores]:
    """The scores of the runs in ``path``, as one method, or as one for each value of the option ``by``.

    Args:
        path: a run, a sweep or a folder of runs.
        by: full name of an option, ``agent.name`` for one.
        metric: ``success`` or ``return``; empty takes success where all runs report it.

    Raises:
        CheckpointError: there are no runs, or none has reached its end.
        ConfigError: two runs are of the same task and seed, or there is no such option or metric.
    """
    runs = [read_run(directory) for directory in find_runs(path)]
    metric = metric or ("success" if all(run.reports_success for run in runs) else "return")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        options = flat(run.config)
        if by and by not in options:
            raise unknown_name("option", by, options)
        groups.setdefault(f"{by.rpartition('.')[2]} {options[by]}" if by else path.name or str(path), []).append(run)
    if by:
        groups = {name.removeprefix("name "): members for name, members in groups.items()}
    return [_scores(name, members, metric) for name, members in groups.items()]


def _scores(name: str, runs: Sequence[Run], metric: str) -> Scores:
    tasks: dict[str, dict[int, Score]] = {}
    conditions: dict[str, dict[str, Any]] = {}
    unfinished = []
    for run in runs:
        task, seed = run.config["env"]["id"], run.config["seed"]
        row = next((row for row in reversed(run.rows) if row["kind"] == "final" and row.get("episodes")), None)
        if row is None:
            unfinished.append(run.directory)
            continue
        if metric == "success" and "success_rate" not in row:
            raise ConfigError(f"{run.directory} reports no success; compare returns with --metric return")
        value = row["success_rate"] if metric == "success" else row.get("return_mean")
        if value is None:
            raise ConfigError(f"{run.directory} has no finite return at its end, which can be compared with nothing")
        successes = sum(row["successes"]) if metric == "success" else None
        if seed in tasks.setdefault(task, {}):
            raise ConfigError(
                f"{name} has two runs of {task} with seed {seed}: {tasks[task][seed].run} and {run.directory}. Tell "
                "them apart with --by OPTION, or move one away"
            )
        tasks[task][seed] = Score(float(value), int(row["episodes"]), successes, run.directory)
        options = _conditions(run.config)
        before = conditions.setdefault(task, options)
        if different := [key for key in options if before.get(key) != options[key]]:
            raise ConfigError(
                f"the runs of {name} on {task} differ in {', '.join(different)}: they are no seeds of one experiment. "
                "Tell them apart with --by OPTION"
            )
    tasks = {task: seeds for task, seeds in tasks.items() if seeds}
    if not tasks:
        raise CheckpointError(f"no run of {name} has reached its end yet: {', '.join(map(str, unfinished[:3]))}")
    return Scores(name, metric, tasks, conditions, tuple(unfinished))


def _conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have an effect. Sets are known by the names of their folders, wherever these lie."""
    found = {key: value for key, value in flat(config).items() if key in CONDITIONS}
    found["demos.source"] = Path(str(found.get("demos.source", "none"))).name
    if found["demos.source"] == "none":
        found = {key: value for key, value in found.items() if key not in ("demos.episodes", "demos.noise")}
    return found
