"""NaN and infinity that a simulator shows: one test and one sentence, for every place that runs episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def first_not_finite(name: str, values: NDArray[Any] | float) -> str:
    """The first entry of ``values`` that is NaN or infinite, such as ``state[3] is nan``; empty where all are finite.

    Floating-point numbers are read as float32, as they are stored and learned from: 1e300 is infinite there. Integers,
    of which images are made, cannot hold either and are not read.
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.inexact):
        return ""
    with np.errstate(over="ignore"):
        stored = array.astype(np.float32, copy=False)
    finite = np.isfinite(stored)
    if finite.all():
        return ""
    place = tuple(int(axis) for axis in np.unravel_index(int(np.argmin(finite)), array.shape))
    index = f"[{', '.join(map(str, place))}]" if place else ""
    return f"{name}{index} is {float(stored[place])}"


def simulator_fault(observation: Mapping[str, NDArray[Any]], reward: float = 0.0, *, step: int, seed: int) -> str:
    """Why an episode is lost: its simulator showed NaN or infinity; empty where all that it showed is finite.

    Such an episode is dropped wherever it is run, counted and named. Neither a mean nor the replay sees a part of it.

    Args:
        observation: what was shown, name -> array.
        reward: for reaching it.
        step: number of the step, from 1; 0 is the reset.
        seed: reset seed of the episode.

    Returns:
        The sentence's end, after the name of the environment: "showed NaN or infinite values at step 7 of ...".
    """
    named: dict[str, NDArray[Any] | float] = {**observation, "reward": reward}
    found = next(filter(None, (first_not_finite(name, values) for name, values in named.items())), "")
    if not found:
        return ""
    where = f"at step {step}" if step else "in the first observation"
    return f"showed NaN or infinite values {where} of the episode with seed {seed} ({found})"
