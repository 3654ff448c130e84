"""Two methods side by side: differences with intervals, and one of five verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zoomrl.analysis import statistics
from zoomrl.analysis.references import Figure, Reference
from zoomrl.analysis.scores import Scores
from zoomrl.analysis.statistics import Estimate, Sample
from zoomrl.errors import ConfigError
from zoomrl.training.intervals import wilson_interval

Verdict = Literal["above", "below", "consistent", "underpowered", "not comparable"]
STEPS_TOLERANCE = 0.05
"""How far steps may lie from a published figure's, relatively."""


@dataclass(frozen=True)
class TaskRow:
    """One task.

    Attributes:
        task: its id.
        seeds: of both; those of a published figure are 0 where they are not told.
        first, second: means over seeds with their intervals; of success, Wilson's over all episodes.
        difference: first minus second.
        paired: whether seeds were equal, and their differences were taken.
    """

    task: str
    seeds: tuple[int, int]
    first: Estimate
    second: Estimate
    difference: Estimate
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """Two methods.

    Attributes:
        names: of both.
        metric: ``success`` or ``return``.
        rows: task by task; empty where nothing is comparable.
        difference: first minus second, mean over tasks; None where nothing is comparable.
        margin: difference from which on it matters.
        verdict: ``above`` or ``below`` where the interval excludes 0; ``consistent`` where it lies within the margin on
            both sides; ``underpowered`` where it does neither; ``not comparable``.
        why: conditions that differ, or what is missing.
        seeds_needed: seeds of each task that would decide; 0 where it is decided.
        improvement: probability of improvement; None for published figures.
    """

    names: tuple[str, str]
    metric: str
    rows: tuple[TaskRow, ...]
    difference: Estimate | None
    margin: float
    verdict: Verdict
    why: tuple[str, ...] = ()
    seeds_needed: int = 0
    improvement: Estimate | None = None


def compare(first: Scores, second: Scores, *, margin: float = 0.0, accept: Sequence[str] = ()) -> Comparison:
    """``first`` against ``second``, on the tasks that both have.

    Args:
        first, second: of two methods.
        margin: difference from which on it matters; 0 is 0.05 of success, or 5 % of the second's mean return.
        accept: conditions that may differ.

    Raises:
        ConfigError: one has success rates and the other returns, or the margin is negative.
        MissingDependencyError: without the extra ``zoomrl[stats]``.
    """
    _check(first.metric, second.metric, margin)
    names, tasks = (first.name, second.name), [task for task in first.tasks if task in second.tasks]
    if not tasks:
        why = f"no task is in both: {', '.join(first.tasks)} against {', '.join(second.tasks)}"
        return Comparison(names, first.metric, (), None, margin, "not comparable", (why,))
    differ = _differing(first, second, tasks, accept)
    rows, samples = [], []
    for task in tasks:
        ours, theirs = first.tasks[task], second.tasks[task]
        equal = ours.keys() == theirs.keys() and len(ours) > 1
        a, b = _sample(first, task), _sample(second, task)
        sample = statistics.unpaired(a, b)
        if equal:
            pairs = statistics.paired([ours[s].value for s in ours], [theirs[s].value for s in ours])
            # Seeds that differ by nothing at all show no spread; that of the episodes is there still.
            floor = _floor(first, task) + _floor(second, task)
            sample = Sample(pairs.mean, max(pairs.variance, floor), pairs.freedom)
        samples.append(sample)
        shown = (_shown(first, task), _shown(second, task))
        rows.append(TaskRow(task, (len(ours), len(theirs)), *shown, statistics.estimate(sample), equal))
    total = statistics.over_tasks(samples)
    margin = margin or _usual_margin(first.metric, [row.second.value for row in rows])
    better = statistics.improvement(_matrix(first, tasks), _matrix(second, tasks))
    seeds = min(min(row.seeds) for row in rows)
    return _concluded(names, first.metric, rows, total, margin, differ, seeds, better)


def compare_with(
    scores: Scores, reference: Reference, *, margin: float = 0.0, accept: Sequence[str] = ()
) -> Comparison:
    """``scores`` against published figures, on the tasks that both have; arguments and errors as in :func:`compare`."""
    _check(scores.metric, reference.metric, margin)
    names, tasks = (scores.name, reference.name), [task for task in scores.tasks if task in reference.tasks]
    if not tasks:
        why = f"{reference.name} has none of {', '.join(scores.tasks)}"
        return Comparison(names, scores.metric, (), None, margin, "not comparable", (why,))
    differ: list[str] = []
    rows, samples = [], []
    for task in tasks:
        figure = reference.nearest(task, int(scores.conditions[task].get("steps") or 0))
        differ += _unlike(scores, task, reference, figure, accept)
        theirs = _of_figure(figure)
        sample = statistics.unpaired(_sample(scores, task), theirs)
        samples.append(sample)
        shown = (_shown(scores, task), statistics.estimate(theirs))
        counts = (len(scores.tasks[task]), figure.seeds)
        rows.append(TaskRow(task, counts, *shown, statistics.estimate(sample), False))
    total = statistics.over_tasks(samples)
    margin = margin or _usual_margin(scores.metric, [row.second.value for row in rows])
    return _concluded(names, scores.metric, rows, total, margin, differ, min(row.seeds[0] for row in rows), None)


def matrix_of(scores: Scores) -> tuple[NDArray[np.float64], int]:
    """Scores [seeds, tasks] of the seeds that all tasks have enough of, and how many runs that leaves out."""
    tasks = list(scores.tasks)
    matrix = _matrix(scores, tasks)
    return matrix, sum(len(seeds) for seeds in scores.tasks.values()) - matrix.size


def verdict_of(difference: Estimate, margin: float) -> Verdict:
    """The verdict of a difference."""
    if difference.low > 0:
        return "above"
    if difference.high < 0:
        return "below"
    return "consistent" if -margin <= difference.low and difference.high <= margin else "underpowered"


def _concluded(
    names: tuple[str, str],
    metric: str,
    rows: Sequence[TaskRow],
    total: Sample,
    margin: float,
    differ: Sequence[str],
    seeds: int,
    better: Estimate | None,
) -> Comparison:
    difference = statistics.estimate(total)
    verdict: Verdict = "not comparable" if differ else verdict_of(difference, margin)
    needed = statistics.seeds_needed(total, seeds, margin) if verdict == "underpowered" else 0
    return Comparison(names, metric, tuple(rows), difference, margin, verdict, tuple(differ), needed, better)


def _check(first: str, second: str, margin: float) -> None:
    if first != second:
        raise ConfigError(f"{first} cannot be compared with {second}; choose one with --metric")
    if margin < 0:
        raise ConfigError(f"margin must be 0 or more, got {margin}")


def _differing(first: Scores, second: Scores, tasks: Sequence[str], accept: Sequence[str]) -> list[str]:
    """Conditions under which the two were not made alike, by task."""
    found = []
    for task in tasks:
        ours, theirs = first.conditions[task], second.conditions[task]
        for key in sorted(ours.keys() & theirs.keys()):
            if key not in accept and ours[key] != theirs[key]:
                found.append(f"{task}: {key} {ours[key]} against {theirs[key]}")
    return found


def _unlike(scores: Scores, task: str, reference: Reference, figure: Figure, accept: Sequence[str]) -> list[str]:
    ours, found = scores.conditions[task], []
    steps = int(ours.get("steps") or 0)
    if "steps" not in accept and abs(steps - figure.env_steps) > STEPS_TOLERANCE * max(figure.env_steps, 1):
        found.append(f"{task}: steps {steps:,} against {figure.env_steps:,}")
    observed = "images" if ours.get("env.cameras") else "state"
    for key, value in reference.conditions.items():
        own = observed if key == "observed" else ours.get(key)
        if key not in accept and own != value:
            found.append(f"{task}: {key} {own} against {value}")
    return found


def _sample(scores: Scores, task: str) -> Sample:
    values = [score.value for score in scores.tasks[task].values()]
    if scores.metric != "success":
        return statistics.sample_of(values)
    successes, episodes = _counted(scores, task)
    return statistics.sample_of(values, episodes, successes)


def _floor(scores: Scores, task: str) -> float:
    """Variance of the mean that the episodes alone make; 0 for returns."""
    return statistics.of_episodes(*_counted(scores, task)) if scores.metric == "success" else 0.0


def _counted(scores: Scores, task: str) -> tuple[int, int]:
    """Successes and episodes of all seeds."""
    seeds = scores.tasks[task].values()
    return sum(score.successes or 0 for score in seeds), sum(score.episodes for score in seeds)


def _shown(scores: Scores, task: str) -> Estimate:
    """The mean of a cell: with Wilson's interval over all its episodes for success, else Student's over seeds."""
    seeds = scores.tasks[task].values()
    mean = sum(score.value for score in seeds) / len(seeds)
    if scores.metric == "success":
        return Estimate(mean, *wilson_interval(*_counted(scores, task)))
    return statistics.estimate(statistics.sample_of([score.value for score in seeds]))


def _of_figure(figure: Figure) -> Sample:
    """A published figure; one without spread or seeds is taken as it is."""
    if figure.std is not None and figure.seeds > 1:
        # Published as population standard deviations.
        return Sample(figure.mean, figure.std**2 / (figure.seeds - 1), figure.seeds - 1)
    if figure.low is not None and figure.high is not None:
        return Sample(figure.mean, ((figure.high - figure.low) / (2 * 1.96)) ** 2, math.inf)
    return Sample(figure.mean, 0.0, math.inf)


def _usual_margin(metric: str, means: Sequence[float]) -> float:
    return 0.05 if metric == "success" else 0.05 * abs(sum(means) / len(means))


def _matrix(scores: Scores, tasks: Sequence[str]) -> NDArray[np.float64]:
    """[seeds, tasks]; where tasks have seeds of different number, the first ones of each."""
    count = min(len(scores.tasks[task]) for task in tasks)
    columns = [[scores.tasks[task][seed].value for seed in sorted(scores.tasks[task])[:count]] for task in tasks]
    return np.asarray(columns, np.float64).T
