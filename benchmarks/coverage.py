"""How often the printed 95 % interval of a mean return holds the true mean, by simulation.

Returns are drawn from a normal distribution, and their interval is made by the very function that makes those that are
printed, plotted and written (zoomrl.training.intervals.mean_interval). Beside it: 1.96 standard errors on either side,
with the standard deviation that evaluations are written with, as was printed before.

Usage: python benchmarks/coverage.py [--no-write]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from provenance import measure
from zoomrl.training.intervals import mean_interval

COUNTS = (2, 3, 5, 10)
"""Episodes, or seeds, that a mean is taken over."""
SAMPLES = 40_000
MEAN, STD, SEED = 300.0, 80.0, 0
Interval = Callable[[float, float, int], tuple[float, float] | None]


def coverage(interval: Interval, count: int, samples: int = SAMPLES) -> float:
    """Fraction of ``samples`` intervals of ``count`` normal returns that hold the true mean."""
    returns = np.random.default_rng([SEED, count]).normal(MEAN, STD, (samples, count))
    held = 0
    for mean, std in zip(returns.mean(1), returns.std(1), strict=True):
        ends = interval(float(mean), float(std), count)
        held += ends is not None and ends[0] <= MEAN <= ends[1]
    return held / samples


def normal_interval(mean: float, std: float, count: int) -> tuple[float, float]:
    """1.96 standard errors on either side."""
    half = 1.96 * std / math.sqrt(count)
    return mean - half, mean + half


def summary() -> dict[str, Any]:
    """Coverage by number of returns; a simulated one strays by 0.2 % (two standard errors)."""
    return {
        "covered_by_printed_interval": {str(count): round(coverage(mean_interval, count), 4) for count in COUNTS},
        "covered_by_1.96_standard_errors": {str(count): round(coverage(normal_interval, count), 4) for count in COUNTS},
        "wanted": 0.95,
    }


if __name__ == "__main__":
    facts = {"draws": SAMPLES, "distribution": f"normal, mean {MEAN:g}, standard deviation {STD:g}", "seed": SEED}
    measure("interval_coverage", __doc__, summary, **facts)
