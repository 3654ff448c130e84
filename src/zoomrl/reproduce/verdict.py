"""From the cells of an experiment to a verdict on each claim.

An interval here is the wider of two at both ends: the stratified bootstrap over (task, seed), which is too narrow for
four seeds, and Student's t over the seeds of each task. Tasks are fixed, and weigh equally.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from zoomrl.reproduce.cells import Outcome, outcomes
from zoomrl.reproduce.experiment import Contrast, Experiment
from zoomrl.reproduce.registration import register
from zoomrl.version import __version__

FILE = "verdict.json"
REPS = 10_000
"""Samples of the bootstrap."""
Verdict = Literal["agrees", "differs", "underpowered", "unfinished"]
Values = Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]]
"""Arm -> task -> seed -> metric -> value."""


@dataclass(frozen=True)
class Judged:
    """A contrast and what the cells say.

    Attributes:
        contrast: its name.
        verdict: ``agrees`` where the interval lies wholly on the expected side of the threshold, ``differs`` where it
            lies wholly on the other, ``underpowered`` where it does neither; ``unfinished`` while cells are missing
            that may still come.
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


def judge(contrast: Contrast, values: Values, tasks: Sequence[str], seeds: Sequence[int], over: bool) -> Judged:
    """What the cells say about a contrast.

    Args:
        contrast: it.
        values: of the cells.
        tasks, seeds: that both arms should have.
        over: whether no further cell will come.
    """
    pairs = {task: _pairs(contrast, values, task, seeds) for task in tasks}
    made = {task: np.asarray(both, np.float64) for task, both in pairs.items() if both}
    count = sum(len(both) for both in made.values())
    missing = len(tasks) * len(seeds) - count
    if not made:
        return Judged(contrast.name, "underpowered" if over else "unfinished", 0, missing, None)
    blocks = list(made.values())
    compared = _differences(contrast, blocks)
    decided = interval(compared)
    shown = _ratio(blocks) if contrast.ratio else decided
    threshold = 0.0 if contrast.ratio else contrast.threshold
    verdict = _side(decided, threshold, contrast.expected) if over else "unfinished"
    needed = None
    if verdict == "underpowered":
        needed = _pairs_needed(compared, abs(decided.value - threshold))
    better = improvement(blocks) if contrast.methods and contrast.right else None
    return Judged(contrast.name, verdict, count, missing, shown, better, needed)


def interval(blocks: Sequence[NDArray[np.float64]]) -> Estimate:
    """Mean over tasks of the means over their seeds, with its 95 % interval.

    Args:
        blocks: [seeds] of each task.

    Returns:
        The outer bounds of the stratified bootstrap (percentiles) and of Student's t; infinite with a single seed.
    """
    sample = _sample(blocks)
    student = statistics.estimate(sample)
    means = _bootstrap([block[:, None] for block in blocks], lambda sampled: np.mean([b[..., 0] for b in sampled], 0))
    low, high = _percentiles(means)
    return Estimate(sample.mean, min(low, student.low), max(high, student.high))


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
    size, registration = experiment.scale(scale), register(experiment, scale, directory)
    found = outcomes(experiment, scale, directory)
    over, values = all(one.over for one in found), values_of(found)
    claims = []
    for contrast in experiment.contrasts_of(size):
        both = size.tasks_of(contrast.left), size.tasks_of(contrast.right or contrast.left)
        tasks = [task for task in both[0] if task in both[1]]
        judged = judge(contrast, values, tasks, size.seeds, over)
        claims.append({**asdict(contrast), **asdict(judged)})
    result = {
        "experiment": experiment.name,
        "title": experiment.title,
        "scale": scale,
        "finished": over,
        "claims": claims,
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
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.platform()},
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
            if blocks:
                each = {task: {**asdict(interval([block])), "seeds": len(block)} for task, block in blocks.items()}
                whole = asdict(interval(list(blocks.values()))) if len(blocks) == len(size.tasks) else None
                metrics[metric] = {"tasks": each, "all": whole}
        found.append({"name": arm.name, "about": arm.about, "metrics": metrics})
    return found


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


def _ratio(blocks: Sequence[NDArray[np.float64]]) -> Estimate:
    """Mean of the left over mean of the right, over tasks and seeds, with the percentiles of the bootstrap."""

    def ratio(sampled: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        left, right = (np.mean([block[..., side] for block in sampled], 0) for side in (0, 1))
        return np.divide(left, right, out=np.full_like(left, np.inf), where=right != 0)

    value = ratio([block.mean(0)[None] for block in blocks])[0]
    low, high = _percentiles(_bootstrap(blocks, ratio))
    return Estimate(float(value), low, high)


def _bootstrap(
    blocks: Sequence[NDArray[np.float64]], statistic: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """``statistic`` of means [reps, columns] of each task, whose rows are resampled by themselves."""
    generator = np.random.default_rng(0)
    sampled = []
    for block in blocks:
        chosen = generator.integers(len(block), size=(REPS, len(block)))
        sampled.append(block[chosen].mean(1))
    return statistic(sampled)


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    # Nothing is interpolated: a ratio may be infinite.
    low, high = np.quantile(values, (tail, 1 - tail), method="nearest")
    return float(low), float(high)


def _sample(blocks: Sequence[NDArray[np.float64]]) -> Sample:
    return statistics.over_tasks([statistics.sample_of(block.tolist()) for block in blocks])


def _side(estimate: Estimate, threshold: float, expected: str) -> Verdict:
    if not (estimate.low > threshold or estimate.high < threshold):
        return "underpowered"
    return "agrees" if (estimate.low > threshold) == (expected == "above") else "differs"


def _pairs_needed(blocks: Sequence[NDArray[np.float64]], margin: float) -> int | None:
    """Pairs with which an interval around the same mean would not cross the threshold; None where that is unknown."""
    seeds = max(len(block) for block in blocks)
    count = statistics.seeds_needed(_sample(blocks), seeds, margin)
    return count * len(blocks) or None


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


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
