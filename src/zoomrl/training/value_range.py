"""Whether the values to be learnt fit the atoms that a categorical critic has for them.

Targets beyond the atoms are moved to the outermost one: learning goes on and looks well, and what is learnt is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from zoomrl.data.episode import Episode, discounted_returns
from zoomrl.training.config import TrainConfig

Say = Callable[[str], None]


def check_returns(config: TrainConfig, episodes: Iterable[Episode], say: Say) -> None:
    """Warn, before training, where discounted returns of the demonstrations lie outside the agent's atoms."""
    support = config.agent.support
    returns = [discounted_returns(e.rewards, config.replay.discount) for e in episodes if e.is_demo]
    if support is None or not returns:
        return
    v_min, v_max, atoms = support
    low, high = float(min(r.min() for r in returns)), float(max(r.max() for r in returns))
    # Half an atom away from the outermost one, an error of the support is as small as that of its resolution.
    slack = (v_max - v_min) / (atoms - 1) / 2
    if low < v_min - slack or high > v_max + slack:
        say(
            f"warning: discounted returns of the demonstrations reach from {low:.3g} to {high:.3g}, beyond "
            f"agent.v_min={v_min:g} and agent.v_max={v_max:g}: such values cannot be learnt. {range_advice(low, high)}"
        )


def propose(low: float, high: float) -> tuple[float, float]:
    """Round numbers around ``low``, ``high`` and 0, which an episode without rewards returns."""
    v_min, v_max = 0.0 - _rounded_up(-min(low, 0.0)), _rounded_up(max(high, 0.0))  # 0 and not -0
    return (v_min, v_max) if v_max > v_min else (0.0, 1.0)


def range_advice(low: float, high: float) -> str:
    """Options under which an agent's atoms hold values from ``low`` to ``high``."""
    v_min, v_max = propose(low, high)
    return f"use --agent.v-min {v_min:.15g} --agent.v-max {v_max:.15g}, or --agent.value scalar"


def _rounded_up(size: float) -> float:
    """``size``, which is not negative, rounded up to two digits."""
    if size == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(size)) - 1)
    # Rounding of float32 must not turn 1.0 into 1.1.
    return math.ceil(size / unit - 1e-3) * unit
