"""How many CPU threads learn fastest here: measured, since more are often slower on shared cores."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from zoomrl.machine import usable_cores

HOPELESS = 3.0
"""Times the fastest so far: an update that takes as long ends the measuring."""


def fastest_threads(update: Callable[[], object], repeats: int = 5) -> tuple[int, dict[int, float]]:
    """Time ``update`` under 1, 2, 4 ... threads.

    Returns:
        The number with the smallest median, and all medians in seconds. More threads must win by a tenth; where they
        are much slower, as on cores that others use too, no more are tried.
    """
    cores = usable_cores()
    before = torch.get_num_threads()
    medians: dict[int, float] = {}
    count, hopeless = 1, False
    try:
        while count <= cores and not hopeless:
            torch.set_num_threads(count)
            update()
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                update()
                times.append(time.perf_counter() - start)
                hopeless = bool(medians) and min(times) > HOPELESS * min(medians.values())
                if hopeless:
                    break
            medians[count] = sorted(times)[len(times) // 2]
            count *= 2
    finally:
        torch.set_num_threads(before)
    best = 1
    for count, median in medians.items():
        if median < 0.9 * medians[best]:
            best = count
    return best, medians
