"""The evaluations of a run, read from its directory. Loads no torch, so that plotting is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import as_record, read_json, read_record
from zoomrl.training.intervals import mean_interval
from zoomrl.training.rows import METRICS, read_rows

Metric = Literal["success", "return", "overestimation"]
"""What a curve shows: the success rate or the mean return of an evaluation, or by how much the value that the agent
predicted at the first agent step exceeds the discounted return that followed."""

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
        """The evaluations during training, ordered by step.

        Raises:
            CheckpointError: a row holds something else than a number.
            ConfigError: the rows do not have the metric.
        """
        by_step = {point.step: point for point in self._points("eval", metric)}
        return [by_step[step] for step in sorted(by_step)]

    def final(self, metric: Metric) -> Point | None:
        """The evaluation at the end, or None while the run has not reached it; raises as :meth:`curve` does."""
        return next(reversed(self._points("final", metric)), None)

    def _points(self, kind: str, metric: Metric) -> list[Point]:
        """Of the rows of ``kind`` that have a result: an evaluation whose episodes were all lost has none."""
        rows = [row for row in self.rows if row["kind"] == kind and _number(row, "episodes")]
        points = [_point(row, metric, self.counter) for row in rows]
        return [point for point in points if point is not None]


def read_run(directory: str | Path) -> Run:
    """Read a run directory, which may belong to a run that is still going on.

    Args:
        directory: of the run.

    Returns:
        Its ``config`` and ``rows`` as plain data; ``curve(metric)`` and ``final(metric)`` are its evaluations, of the
        metric "success", "return" or "overestimation".

    Raises:
        CheckpointError: it is no run directory, or one of its files is damaged.
    """
    root = Path(directory)
    if not (root / "config.json").exists():
        raise CheckpointError(
            f"{root} is no run directory: it has no config.json. Pass a folder that `zoomrl train` made, "
            "for example runs/quickstart-cqn_as-metaworld-drawer-open-s1"
        )
    config = read_json(root / "config.json", hint=_HINT)
    as_record(config, _Config, str(root / "config.json"), hint=_HINT)
    rows = tuple(read_rows(root / METRICS))
    bar: float | None = None
    if (root / "policy.json").exists():
        spec = read_record(root / "policy.json", _PolicyFile, hint=_HINT).spec
        # The bar is absent from runs of older versions.
        reports, bar = spec.reports_success, spec.success_bar
    else:
        reports = any(_is_success(row) for row in rows)
    return Run(root, config, reports, rows, bar)


_HINT = "The run cannot be read"
_LARGEST = 1e100
"""Of a number in a row: plotted numbers are added and squared."""


@dataclass(frozen=True)
class _Agent:
    name: str


@dataclass(frozen=True)
class _Env:
    id: str


@dataclass(frozen=True)
class _Config:
    """What must be in ``config.json``, of this version or an older one."""

    agent: _Agent
    env: _Env
    preset: str
    seed: int
    steps: int = 1


@dataclass(frozen=True)
class _Spec:
    reports_success: bool
    success_bar: float | None = None


@dataclass(frozen=True)
class _PolicyFile:
    """What must be in ``policy.json``."""

    spec: _Spec


def _is_success(row: dict[str, Any]) -> bool:
    successes = row.get("successes")
    return isinstance(successes, list) and any(successes)


def _point(row: dict[str, Any], metric: Metric, counter: Counter) -> Point | None:
    """The value of ``metric`` in one evaluation; None where it was not finite, which is logged as null."""
    if metric == "success":
        if "success_rate" not in row:
            raise ConfigError(f"{_where(row)} has no success_rate; plot --metric return")
        value, low, high = (_number(row, name) for name in ("success_rate", "success_low", "success_high"))
    else:
        mean, std = _MEAN_AND_STD[metric]
        if std not in row:
            raise ConfigError(f"{_where(row)} has no {mean}: its agent predicts no values")
        if row.get(mean) is None or row[std] is None:
            return None
        value = _number(row, mean)
        low, high = mean_interval(value, _number(row, std), int(_number(row, "episodes"))) or (value, value)
    step = int(_number(row, counter))
    best = int(_number(row, f"best_{counter}")) if f"best_{counter}" in row else None
    return Point(step, value, low, high, int(_number(row, "episodes")), None if best == step else best)


def _where(row: dict[str, Any]) -> str:
    return f"the evaluation at step {row.get('env_steps')!r:.40} in metrics.jsonl"


def _number(row: dict[str, Any], name: str) -> float:
    """A number of a row; CheckpointError for anything else."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise CheckpointError(f"a row of kind {row['kind']!r:.40} in metrics.jsonl has {name} {value!r:.40}, no number")
    return value
