"""The 95 % intervals that are printed, plotted and written. Loads no torch, so that plotting is quick."""

from __future__ import annotations

import math

from scipy.special import stdtrit


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a success rate (Wilson 1927); honest also at 0 and 100 %."""
    fraction = successes / trials
    centre = fraction + z * z / (2 * trials)
    spread = z * math.sqrt(fraction * (1 - fraction) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(mean: float, std: float, count: int) -> tuple[float, float] | None:
    """95 % confidence interval of a mean (Student 1908): exact for normal values, also for two of them.

    Args:
        mean: of the values.
        std: their population standard deviation (divided by ``count``), as evaluations are written with.
        count: how many values there are.

    Returns:
        Both ends; None for a single value, which says nothing of how far off it may be.
    """
    if count < 2:
        return None
    # std / sqrt(count - 1) is the standard error: the sample's standard deviation over sqrt(count).
    half = float(stdtrit(count - 1, 0.975)) * std / math.sqrt(count - 1)
    return mean - half, mean + half


def mean_in_words(mean: float, std: float, count: int) -> str:
    """A mean as it is printed, with its interval where it has one; arguments as in :func:`mean_interval`."""
    interval = mean_interval(mean, std, count)
    if interval is None:
        return f"{mean:.4g}"
    return f"{mean:.4g} (95 % interval of the mean {interval[0]:.4g} to {interval[1]:.4g})"
