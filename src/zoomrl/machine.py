"""The machine that this process runs on."""

from __future__ import annotations

import multiprocessing
import os
import platform
import threading
from pathlib import Path
from typing import Any

import psutil


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GB, and operating system, as results name them."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def end_with_parent_process() -> None:
    """Let this process of :mod:`multiprocessing` end when the one that asked for it has died, however it died.

    Under a fork server the system's parent is the server, which lives as long as any of its children.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
