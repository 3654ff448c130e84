"""What a spec needs and a foreign set may not say: bounds, meanings, and the environment's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.fit import BOUND_TOLERANCE
from zoomrl.demos.formats.base import ImportOptions
from zoomrl.envs.base import action_bounds
from zoomrl.envs.registry import make_env
from zoomrl.errors import ConfigError, unknown_name
from zoomrl.spec import MEANINGS, ArraySpec, EnvSpec


def env_spec(options: ImportOptions) -> EnvSpec | None:
    """The spec of the environment in ``options``, which is built for it; None without one."""
    if options.env is None:
        return None
    env = make_env(options.env, num_envs=1, workers="serial")
    try:
        return env.env_spec
    finally:
        env.close()


def full_meaning(meaning: tuple[str, ...], dimensions: int) -> tuple[str, ...]:
    """``meaning`` of every action dimension; one for all is repeated. ConfigError when it cannot be."""
    for name in meaning:
        if name not in MEANINGS:
            raise unknown_name("action meaning", name, MEANINGS)
    full = meaning * dimensions if len(meaning) == 1 else meaning
    if full and len(full) != dimensions:
        raise ConfigError(f"{len(full)} meanings for {dimensions} action dimensions; give one for each, or one for all")
    return full


def recorded_bounds(actions: Sequence[NDArray[np.float32]]) -> tuple[ArraySpec, str]:
    """Bounds that hold all ``actions`` [T, A], and how they were found."""
    low = np.min([part.min(0) for part in actions], axis=0).astype(np.float64)
    high = np.max([part.max(0) for part in actions], axis=0).astype(np.float64)
    note, constant = "derived: the smallest and largest recorded", np.flatnonzero(low == high)
    if len(constant):
        # An action range of zero width cannot be scaled to [-1, 1].
        note += f"; dimensions {', '.join(map(str, constant))} never change and are given 1 to both sides"
        low[constant], high[constant] = low[constant] - 1.0, high[constant] + 1.0
    return ArraySpec(low.shape, "float32", tuple(low.tolist()), tuple(high.tolist())), note


def entries_beyond(actions: NDArray[np.float32], spec: ArraySpec) -> int:
    """How many entries of ``actions`` [T, A] lie outside the bounds by more than float32 rounding."""
    low, high = (bound.astype(np.float64) for bound in action_bounds(spec))
    slack_low, slack_high = (BOUND_TOLERANCE * np.maximum(1.0, np.abs(bound)) for bound in (low, high))
    return int(((actions < low - slack_low) | (actions > high + slack_high)).sum())


def same_array(a: ArraySpec, b: ArraySpec) -> bool:
    """Whether shape and dtype agree."""
    return (a.shape, a.dtype) == (b.shape, b.dtype)
