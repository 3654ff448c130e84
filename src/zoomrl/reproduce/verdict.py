"""From the cells of an experiment to a verdict on each claim.

An interval here is the wider of two at both ends: the stratified bootstrap over (task, seed), which is too narrow for
four seeds, and Student's t over the seeds of each task. Tasks are fixed, and weigh equally. Of success rates the second
is no narrower than the episodes alone make it: seeds may have the same rate by chance.
"""

from __future__ import annotations

import math
import platform
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoomrl.analysis import statistics
from zoomrl.analysis.statistics import CONFIDENCE, Estimate, Sample
from zoomrl.demos.collect import PACKAGES
from zoomrl.envs.versions import installed_version
from zoomrl.files import finite_or_null, write_json
from zoomrl.machine import hardware
from zoomrl.reproduce.cells import Outcome, made_on, outcomes
from zoomrl.reproduce.experiment import Contrast, Experiment
from zoomrl.reproduce.read import EPISODES, FRACTIONS, SUCCESS
from zoomrl.reproduce.registration import read_registration
from zoomrl.reproduce.sources import sources
from zoomrl.version import __version__

FILE = "verdict.json"
REPS = 10_000
"""Samples of the bootstrap."""
_FAR, _HALVINGS = 1e6, 30
"""How many times its value a bound of a ratio is looked for, and how finely."""
Verdict = Literal["agrees", "differs", "underpowered", "incomplete", "unfinished"]
Values = Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]]
"""Arm -> task -> seed -> metric -> value."""


@dataclass(frozen=True)
class Judged:
    """A contrast and what the cells say.

    Attributes:
        contrast: its name.
        verdict: ``agrees`` where the interval lies wholly on the expected side of the threshold, ``differs`` where it
            lies wholly on the other, ``underpowered`` where it does neither, or where a ratio has a right side that may
            be 0 or less; ``incomplete`` where a cell failed or a task has no pair, so that what is left may be another
            question; ``unfinished`` while cells are missing that may still come.
        pairs: of task and seed that both arms have.
        missing: pairs that one of them lacks.
        estimate: difference, value or ratio with its interval; None without pairs.
        improvement: probability that a run of the left arm exceeds one of the right, for methods.
        pairs_needed: that would decide, as they spread now; None where it is decided or cannot be told.
    """

    contrast: str
    verdict: Verdict
    pairs: int
    missing: int
    estimate: Estimate | None
    improvement: Estimate | None = None
    pairs_needed: int | None = None


def values_of(found: Sequence[Outcome]) -> dict[str, dict[str, dict[int, dict[str, float]]]]:
    """The numbers of all cells that have some: arm -> task -> seed -> metric -> value."""
    values: dict[str, dict[str, dict[int, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    for one in found:
        if one.numbers is not None:
            values[one.cell.arm][one.cell.task][one.cell.seed] = dict(one.numbers)
    return {arm: dict(tasks) for arm, tasks in values.items()}


def judge(
    contrast: Contrast,
    values: Values,
    tasks: Sequence[str],
    seeds: Sequence[int],
    over: bool,
    failed: Collection[tuple[str, str, int]] = (),
) -> Judged:
    """What the cells say about a contrast.

    Args:
        contrast: it.
        values: of the cells.
        tasks, seeds: that both arms should have.
        over: whether no further cell will come.
        failed: arm, task and seed of the cells that have failed.
    """
    arms = {contrast.left, contrast.right or contrast.left}
    lost = any(arm in arms and task in tasks for arm, task, _ in failed)
    pairs = {task: _pairs(contrast, values, task, seeds) for task in tasks}
    made = {task: np.asarray(both, np.float64) for task, both in pairs.items() if both}
    count = sum(len(both) for both in made.values())
    missing = len(tasks) * len(seeds) - count
    if not made:
        return Judged(contrast.name, "incomplete" if over else "unfinished", 0, missing, None)
    blocks = list(made.values())
    floors = [sum(_floor(contrast.metric, values[arm][task].values()) for arm in arms) for task in made]
    compared = _differences(contrast, blocks)
    decided = interval(compared, floors)
    shown = _ratio(blocks) if contrast.ratio else decided
    threshold = 0.0 if contrast.ratio else contrast.threshold
    verdict: Verdict = "unfinished"
    if over:
        whole = not lost and len(made) == len(tasks)
        verdict = _side(decided, threshold, contrast.expected) if whole else "incomplete"
        if whole and contrast.ratio and not _positive(blocks):
            verdict = "underpowered"
    needed = None
    if verdict == "underpowered":
        needed = _pairs_needed(compared, floors, abs(decided.value - threshold))
    better = improvement(blocks) if contrast.methods and contrast.right else None
    return Judged(contrast.name, verdict, count, missing, shown, better, needed)


def interval(blocks: Sequence[NDArray[np.float64]], floors: Sequence[float] = ()) -> Estimate:
    """Mean over tasks of the means over their seeds, with its 95 % interval.

    Args:
        blocks: [seeds] of each task.
        floors: least variance of each task's mean; none without.

    Returns:
        The outer bounds of the stratified bootstrap (percentiles) and of Student's t; infinite with a single seed.
    """
    return _outer(_sample(blocks, floors), _bootstrap([block[:, None] for block in blocks])[:, 0])


def improvement(blocks: Sequence[NDArray[np.float64]]) -> Estimate:
    """Probability that a left value exceeds a right one, ties counting half, mean over tasks (Agarwal et al. 2021).

    Args:
        blocks: [seeds, 2] of each task: left and right.

    Returns:
        It, with the percentiles of a bootstrap that resamples the seeds of both arms by themselves.
    """
    generator = np.random.default_rng(0)
    points, sampled = [], []
    for block in blocks:
        left, right = block[:, 0], block[:, 1]
        points.append(_exceeds(left[None], right[None])[0])
        chosen = [side[generator.integers(len(side), size=(REPS // 5, len(side)))] for side in (left, right)]
        sampled.append(_exceeds(*chosen))
    low, high = _percentiles(np.mean(sampled, 0))
    return Estimate(float(np.mean(points)), low, high)


def conclude(experiment: Experiment, scale: str, directory: Path, command: str) -> dict[str, Any]:
    """Judge all contrasts of the experiment in ``directory``, and write ``verdict.json``.

    Args:
        experiment, scale, directory: registered there.
        command: by which it is repeated.

    Returns:
        What was written.
    """
    size, registration = experiment.scale(scale), read_registration(directory)
    found = outcomes(experiment, scale, directory)
    over, values = all(one.over for one in found), values_of(found)
    failed = {(one.cell.arm, one.cell.task, one.cell.seed) for one in found if one.over and one.numbers is None}
    claims = []
    for contrast in experiment.contrasts_of(size):
        both = size.tasks_of(contrast.left), size.tasks_of(contrast.right or contrast.left)
        tasks = [task for task in both[0] if task in both[1]]
        judged = judge(contrast, values, tasks, size.seeds, over, failed)
        claims.append({**asdict(contrast), **asdict(judged)})
    result = {
        "experiment": experiment.name,
        "title": experiment.title,
        "scale": scale,
        "finished": over,
        "claims": claims,
        "metrics": dict(experiment.metrics),
        "arms": _arms(experiment, scale, values),
        "missing": [
            {"cell": one.cell.name, "why": one.problem, "failed": one.over} for one in found if one.numbers is None
        ],
        "cells": [
            {**asdict(one.cell), "seconds": one.seconds, "numbers": one.numbers}
            for one in found
            if one.numbers is not None
        ],
        "deviations": list(experiment.deviations),
        "command": command,
        "registered": {name: registration[name] for name in ("date", "zoomrl")},
        "sources": sources(directory),
        "made_on": made_on(directory),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "hardware": hardware(),
    }
    kept: dict[str, Any] = finite_or_null(result)
    write_json(directory / FILE, kept)
    return kept


def _arms(experiment: Experiment, scale: str, values: Values) -> list[dict[str, Any]]:
    """Each arm's mean of each metric, task by task; and over all tasks of the scale, None where one has no number."""
    found, size = [], experiment.scale(scale)
    for arm in experiment.arms_of(size):
        tasks = values.get(arm.name, {})
        metrics: dict[str, Any] = {}
        for metric in experiment.metrics:
            blocks = {
                task: np.asarray([cell[metric] for cell in seeds.values() if metric in cell], np.float64)
                for task, seeds in tasks.items()
            }
            blocks = {task: block for task, block in blocks.items() if len(block)}
            floors = {task: _floor(metric, tasks[task].values()) for task in blocks}
            if blocks:
                each = {
                    task: {**asdict(mean_of(metric, [block], [floors[task]])), "seeds": len(block)}
                    for task, block in blocks.items()
                }
                of_all = len(blocks) == len(size.tasks)
                whole = asdict(mean_of(metric, list(blocks.values()), list(floors.values()))) if of_all else None
                metrics[metric] = {"tasks": each, "all": whole}
        found.append({"name": arm.name, "about": arm.about, "metrics": metrics})
    return found


def mean_of(metric: str, blocks: Sequence[NDArray[np.float64]], floors: Sequence[float]) -> Estimate:
    """The mean of an arm; of fractions no bound lies outside of 0 .. 1, which Student's t does not know of."""
    found = interval(blocks, floors)
    if metric not in FRACTIONS:
        return found
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def _pairs(contrast: Contrast, values: Values, task: str, seeds: Sequence[int]) -> list[tuple[float, float]]:
    """Left and right of the seeds that have both; without a right arm it is 0."""
    found = []
    for seed in seeds:
        left = values.get(contrast.left, {}).get(task, {}).get(seed, {}).get(contrast.metric)
        right: float | None = 0.0
        if contrast.right:
            right = values.get(contrast.right, {}).get(task, {}).get(seed, {}).get(contrast.metric)
        if left is not None and right is not None:
            found.append((left, right))
    return found


def _differences(contrast: Contrast, blocks: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Left minus right, [seeds] of each task; of a ratio, left minus the threshold times right.

    A ratio lies above its threshold where that is above 0, and there is no division by what may be 0.
    """
    factor = contrast.threshold if contrast.ratio else 1.0
    return [block[:, 0] - factor * block[:, 1] for block in blocks]


def _positive(blocks: Sequence[NDArray[np.float64]]) -> bool:
    """Whether the right side lies above 0, so that a ratio has a meaning."""
    return interval([block[:, 1] for block in blocks]).low > 0


def _ratio(blocks: Sequence[NDArray[np.float64]]) -> Estimate:
    """Mean of the left over mean of the right, over tasks and seeds.

    Its interval holds the ratios r for which that of left - r right holds 0 (Fieller 1954); it is infinite where the
    right side may be 0 or less.
    """
    left, right = (float(np.mean([block[:, side].mean() for block in blocks])) for side in (0, 1))
    if not _positive(blocks):
        return Estimate(left / right if right else math.inf, -math.inf, math.inf)
    value, sampled = left / right, _bootstrap(blocks)

    def bounds(ratio: float) -> Estimate:
        """Of left minus ``ratio`` times right, as :func:`interval` has it."""
        return _outer(_sample([block @ (1, -ratio) for block in blocks]), sampled @ (1, -ratio))

    low = _root(lambda ratio: bounds(ratio).low, value, -1.0)
    high = _root(lambda ratio: bounds(ratio).high, value, 1.0)
    return Estimate(value, low, high)


def _root(bound: Callable[[float], float], value: float, side: float) -> float:
    """Where ``bound``, which falls, crosses 0 on one side of ``value``; infinite where it does not."""
    step = side * max(abs(value), 1.0) / 8
    inner, outer = value, value + step
    while side * bound(outer) > 0:
        step *= 2
        inner, outer = outer, outer + step
        if abs(step) > _FAR * max(abs(value), 1.0):
            return side * math.inf
    for _ in range(_HALVINGS):
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if side * bound(middle) > 0 else (inner, middle)
    return (inner + outer) / 2


def _outer(sample: Sample, means: NDArray[np.float64]) -> Estimate:
    """The outer bounds of Student's t and of the percentiles of the bootstrap's ``means`` [reps]."""
    student = statistics.estimate(sample)
    low, high = _percentiles(means)
    return Estimate(sample.mean, min(low, student.low), max(high, student.high))


def _bootstrap(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Means [reps, columns] over tasks, the rows of each of which are resampled by themselves."""
    generator = np.random.default_rng(0)
    sampled = [block[generator.integers(len(block), size=(REPS, len(block)))].mean(1) for block in blocks]
    return np.asarray(np.mean(sampled, 0))


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)


def _sample(blocks: Sequence[NDArray[np.float64]], floors: Sequence[float] = ()) -> Sample:
    samples = [statistics.sample_of(block.tolist()) for block in blocks]
    if floors:
        samples = [
            replace(sample, variance=max(sample.variance, floor)) for sample, floor in zip(samples, floors, strict=True)
        ]
    return statistics.over_tasks(samples)


def _floor(metric: str, cells: Iterable[Mapping[str, float]]) -> float:
    """The variance of a mean success rate that the episodes of the cells alone make; 0 of other metrics."""
    told = [cell for cell in cells if metric == SUCCESS and {SUCCESS, EPISODES} <= cell.keys()]
    if not told:
        return 0.0
    successes = sum(cell[SUCCESS] * cell[EPISODES] for cell in told)
    return statistics.of_episodes(round(successes), round(sum(cell[EPISODES] for cell in told)))


def _side(estimate: Estimate, threshold: float, expected: str) -> Verdict:
    if not (estimate.low > threshold or estimate.high < threshold):
        return "underpowered"
    return "agrees" if (estimate.low > threshold) == (expected == "above") else "differs"


def _pairs_needed(blocks: Sequence[NDArray[np.float64]], floors: Sequence[float], margin: float) -> int | None:
    """Pairs with which an interval around the same mean would not cross the threshold; None where that is unknown.

    That of Student's t alone: where the bootstrap's is wider, as many pairs as there are may seem enough, and none are
    named.
    """
    seeds = max(len(block) for block in blocks)
    count = statistics.seeds_needed(_sample(blocks, floors), seeds, margin)
    return count * len(blocks) if seeds < count < statistics.MOST_SEEDS else None


def _exceeds(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """[reps], of [reps, seeds] each."""
    above = left[:, :, None] > right[:, None, :]
    equal = left[:, :, None] == right[:, None, :]
    result: NDArray[np.float64] = (above + equal / 2).mean((1, 2))
    return result


def _versions() -> dict[str, str]:
    known = {name: installed_version(name) for name in ("torch", *PACKAGES)}
    found = {name: version for name, version in known.items() if version is not None}
    return {**found, "python": platform.python_version(), "zoomrl": __version__}
