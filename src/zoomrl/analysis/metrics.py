"""The evaluations of a run, read from its directory. Loads no torch, so that plotting is quick."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.training.intervals import mean_interval

Metric = Literal["success", "return", "overestimation"]
"""What a curve shows: the success rate or the mean return of an evaluation, or by how much the value that the agent
predicted at the first decision exceeds the discounted return that followed."""

Counter = Literal["env_steps", "updates"]

_MEAN_AND_STD: dict[Metric, tuple[str, str]] = {
    "return": ("return_mean", "return_std"),
    "overestimation": ("value_overestimation", "value_overestimation_std"),
}


@dataclass(frozen=True)
class Point:
    """One evaluation over ``episodes`` episodes: its value with a 95 % interval (none around a single return)."""

    step: int
    """Environment steps; updates in a run without any."""
    value: float
    low: float
    high: float
    episodes: int
    weights_of: int | None = None
    """Step whose weights were evaluated, where that is an earlier one: those of the best evaluation."""


@dataclass(frozen=True)
class Run:
    """What a plot needs of a run directory.

    Attributes:
        directory: where it was read.
        config: as in ``config.json``.
        reports_success: whether success means anything in its environment.
        rows: the rows of ``metrics.jsonl``, in order.
        success_bar: the return from which the benchmark counts the task as solved, where it names one.
    """

    directory: Path
    config: dict[str, Any]
    reports_success: bool
    rows: tuple[dict[str, Any], ...]
    success_bar: float | None = None

    @property
    def name(self) -> str:
        """Agent, environment and preset."""
        agent, env, preset = self.config["agent"]["name"], self.config["env"]["id"], self.config["preset"]
        return f"{agent} on {env} (preset {preset})"

    @property
    def natural_metric(self) -> Metric:
        """Success where the environment reports it, else return."""
        return "success" if self.reports_success else "return"

    @property
    def counter(self) -> Counter:
        """What its evaluations are counted in: updates where nothing is learnt by acting."""
        return "env_steps" if self.config.get("steps", 1) else "updates"

    def curve(self, metric: Metric) -> list[Point]:
        """The evaluations during training, ordered by step."""
        points = [_point(row, metric, self.counter) for row in self.rows if row["kind"] == "eval"]
        by_step = {point.step: point for point in points}
        return [by_step[step] for step in sorted(by_step)]

    def final(self, metric: Metric) -> Point | None:
        """The evaluation at the end, or None while the run has not reached it."""
        rows = [row for row in self.rows if row["kind"] == "final"]
        return _point(rows[-1], metric, self.counter) if rows else None


def read_run(directory: str | Path) -> Run:
    """Read a run directory, which may belong to a run that is still going on.

    Raises:
        CheckpointError: it is no run directory, or one of its files is damaged.
    """
    root = Path(directory)
    if not (root / "config.json").exists():
        raise CheckpointError(
            f"{root} is no run directory: it has no config.json. Pass a folder that `zoomrl train` made, "
            "for example runs/quickstart-cqn_as-metaworld-drawer-open-s1"
        )
    config = _read_json(root / "config.json")
    policy = _read_json(root / "policy.json") if (root / "policy.json").exists() else None
    rows = tuple(read_rows(root / "metrics.jsonl"))
    if policy is not None:
        reports = bool(policy["spec"]["reports_success"])
    else:
        reports = any(any(row.get("successes", ())) for row in rows)
    # Absent from runs of older versions.
    bar = None if policy is None else policy["spec"].get("success_bar")
    return Run(root, config, reports, rows, bar)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line that is still being written is left out.

    Raises:
        CheckpointError: a line before the last one is damaged.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise CheckpointError(
                    f"{path}, line {number} is damaged ({error.msg}). Remove that line to read the rest"
                ) from error
    return rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); the run cannot be read") from error
    return data


def _point(row: dict[str, Any], metric: Metric, counter: Counter) -> Point:
    if metric == "success":
        if "success_rate" not in row:
            raise ConfigError(f"the evaluation at step {row['env_steps']} has no success_rate; plot --metric return")
        value, low, high = row["success_rate"], row["success_low"], row["success_high"]
    else:
        mean, std = _MEAN_AND_STD[metric]
        if std not in row:
            raise ConfigError(f"the evaluation at step {row['env_steps']} has no {mean}: its agent predicts no values")
        value = row[mean]
        low, high = mean_interval(value, row[std], int(row["episodes"])) or (value, value)
    step, best = int(row[counter]), row.get(f"best_{counter}")
    return Point(step, value, low, high, int(row["episodes"]), None if best == step else best)
