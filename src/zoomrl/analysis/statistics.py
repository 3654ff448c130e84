"""Statistics over tasks and seeds: differences with intervals that hold for few seeds, and rliable's aggregates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from zoomrl.errors import import_optional

CONFIDENCE = 0.95
REPS = 2000
"""Samples of the bootstrap."""
MOST_SEEDS = 10_000
"""Where counting the seeds that would be needed ends."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sample:
    """What is known of one method on one task.

    Attributes:
        mean: over seeds.
        variance: of the mean: the squared standard error.
        freedom: degrees of freedom of that variance; infinite where it is known.
    """

    mean: float
    variance: float
    freedom: float


def sample_of(values: Sequence[float], episodes: int = 0, successes: int | None = None) -> Sample:
    """The sample of the seeds' ``values``.

    Args:
        values: one for each seed.
        episodes: of all of them, for success rates.
        successes: of these; None for returns.

    Seeds that all have the same success rate do not show how they vary: the variance is at least :func:`of_episodes`.
    """
    array = np.asarray(values, np.float64)
    mean, count = float(array.mean()), len(array)
    variance = float(array.var(ddof=1)) / count if count > 1 else math.inf
    if successes is not None and episodes:
        variance = max(variance, of_episodes(successes, episodes))
    return Sample(mean, variance, max(count - 1, 1))


def of_episodes(successes: int, episodes: int) -> float:
    """Variance of a success rate that the episodes alone make (Agresti and Coull 1998), also where all succeed."""
    fraction = (successes + 2) / (episodes + 4)
    return fraction * (1 - fraction) / (episodes + 4)


def paired(first: Sequence[float], second: Sequence[float]) -> Sample:
    """The sample of the differences of seeds that are equal."""
    return sample_of(np.subtract(first, second).tolist())


def unpaired(first: Sample, second: Sample) -> Sample:
    """The sample of the difference of two means (Welch 1947)."""
    parts = [(first.variance, first.freedom), (second.variance, second.freedom)]
    return Sample(first.mean - second.mean, first.variance + second.variance, _freedom(parts))


def over_tasks(samples: Sequence[Sample]) -> Sample:
    """The mean over tasks, which are fixed: its variance is that of the seeds alone."""
    count = len(samples)
    parts = [(one.variance / count**2, one.freedom) for one in samples]
    return Sample(sum(one.mean for one in samples) / count, sum(v for v, _ in parts), _freedom(parts))


def estimate(sample: Sample) -> Estimate:
    """The mean with its interval (Student 1908); without bounds where a single seed shows no spread."""
    if not math.isfinite(sample.variance):
        return Estimate(sample.mean, -math.inf, math.inf)
    half = float(student.ppf(0.5 + CONFIDENCE / 2, sample.freedom)) * math.sqrt(sample.variance)
    return Estimate(sample.mean, sample.mean - half, sample.mean + half)


def seeds_needed(sample: Sample, seeds: int, margin: float) -> int:
    """How many seeds of each task make the interval no wider than ``margin`` to each side, as they vary now."""
    if not math.isfinite(sample.variance) or margin <= 0:
        return 0
    each = sample.variance * seeds
    for count in range(2, MOST_SEEDS):
        freedom = sample.freedom * (count - 1) / max(seeds - 1, 1)
        if float(student.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(each / count) <= margin:
            return count
    return MOST_SEEDS


def _freedom(parts: Sequence[tuple[float, float]]) -> float:
    """Of a sum of variances, each with its own (Welch and Satterthwaite)."""
    total = sum(variance for variance, _ in parts)
    if not math.isfinite(total) or total <= 0:
        return min((freedom for _, freedom in parts), default=1.0)
    return total**2 / sum(variance**2 / freedom for variance, freedom in parts if variance)


# ---- rliable ---------------------------------------------------------------------------------------------------


def aggregates(scores: NDArray[np.float64], seed: int = 0) -> dict[str, Estimate]:
    """Interquartile mean, mean and median over tasks and seeds, with stratified bootstrap intervals (Agarwal 2021).

    Args:
        scores: [seeds, tasks].
        seed: of the bootstrap.

    Raises:
        MissingDependencyError: without the extra ``zoomrl[stats]``.
    """
    metrics = _rliable("metrics")

    def all_of_them(values: NDArray[Any]) -> NDArray[Any]:
        return np.array(
            [metrics.aggregate_iqm(values), metrics.aggregate_mean(values), metrics.aggregate_median(values)]
        )

    return dict(zip(("iqm", "mean", "median"), _estimates({"": scores}, all_of_them, seed), strict=True))


def improvement(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Probability that a run of the first method is better than one of the second, averaged over tasks.

    Args:
        first, second: [seeds, tasks] each; the tasks are the same.
        seed: of the bootstrap.
    """
    return _estimates({"": (first, second)}, _rliable("metrics").probability_of_improvement, seed)[0]


def profiles(
    scores: Mapping[str, NDArray[np.float64]], thresholds: NDArray[np.float64], seed: int = 0
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Performance profiles: fraction of runs above each threshold, averaged over tasks, with its interval.

    Args:
        scores: method -> [seeds, tasks].
        thresholds: [K].
        seed: of the bootstrap.

    Returns:
        Method -> fraction, low and high [K] each.
    """
    with _seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, intervals = _rliable("library").create_performance_profile(scores, thresholds, reps=REPS)
    return {name: (found[name], *intervals[name]) for name in scores}


def _estimates(scores: Mapping[str, Any], function: Callable[..., Any], seed: int) -> list[Estimate]:
    with _seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arch, about how rliable calls it
        points, intervals = _rliable("library").get_interval_estimates(scores, function, reps=REPS)
    return [
        Estimate(float(value), float(low), float(high))
        for value, low, high in zip(np.atleast_1d(points[""]), *np.atleast_2d(intervals[""]), strict=True)
    ]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """rliable samples from NumPy's global stream, whatever it is given: that is seeded, and put back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _rliable(part: str) -> Any:
    import_optional("rliable", "stats")
    return import_optional(f"rliable.{part}", "stats")
