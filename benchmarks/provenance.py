"""Where a result comes from: command, commit, date, hardware, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

import psutil

LEARNING = ("torch", "torchrl", "tensordict", "numpy")
SIMULATORS = ("gymnasium", "mujoco", "dm-control", "metaworld", "bigym", "humanoid_bench")
RESULTS = Path(__file__).parent / "results"


def provenance(command: list[str], commit: str | None = None) -> dict[str, Any]:
    """Fields that every result file carries."""
    return {
        "command": shlex.join(command),
        "commit": commit or _git("rev-parse", "HEAD"),
        "date": datetime.date.today().isoformat(),
        "hardware": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version()}
        | {p: _version(p) for p in (*LEARNING, *SIMULATORS) if _version(p)},
    }


def keep(result: dict[str, Any]) -> Path:
    """Write ``result`` into the file of its name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['name']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or None
