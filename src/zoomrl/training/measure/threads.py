"""How many CPU threads learn fastest here: measured, since more are often slower on shared cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch


def fastest_threads(update: Callable[[], object], repeats: int = 5) -> tuple[int, dict[int, float]]:
    """Time ``update`` under 1, 2, 4 ... threads.

    Returns:
        The number with the smallest median, and all medians in seconds. More threads must win by a tenth.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = torch.get_num_threads()
    medians: dict[int, float] = {}
    count = 1
    try:
        while count <= cores:
            torch.set_num_threads(count)
            update()
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                update()
                times.append(time.perf_counter() - start)
            medians[count] = sorted(times)[repeats // 2]
            count *= 2
    finally:
        torch.set_num_threads(before)
    best = 1
    for count, median in medians.items():
        if median < 0.9 * medians[best]:
            best = count
    return best, medians
