"""Flow matching: a velocity field that carries noise to data along straight lines.

Paper: Lipman et al., "Flow Matching for Generative Modeling" (2023), section 4.1, with a spread of 0 at the data.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def flow_pair(start: Tensor, end: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Where a straight line from ``start`` to ``end`` is at ``time``, and its velocity.

    ``x_t = (1 - t) start + t end`` and ``v = end - start``.

    Args:
        start, end: [...].
        time: broadcastable to them, from 0 (start) to 1 (end).
    """
    return (1 - time) * start + time * end, end - start


def follow_flow(velocity: Callable[[Tensor, float], Tensor], start: Tensor, steps: int) -> Tensor:
    """Where ``start`` [...] is carried from time 0 to 1, by Euler's method in ``steps`` equal steps.

    Args:
        velocity: of a point [...] at a time.
        start: [...].
        steps: 1 or more.
    """
    point = start
    for step in range(steps):
        point = point + velocity(point, step / steps) / steps
    return point
