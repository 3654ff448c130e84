"""Where a result comes from: command, commit, date, hardware, versions."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zoomrl.machine import hardware

LEARNING = ("torch", "torchrl", "tensordict", "numpy")
SIMULATORS = ("gymnasium", "mujoco", "dm-control", "metaworld", "bigym", "humanoid_bench")
RESULTS = Path(__file__).parent / "results"


def provenance(command: list[str], commit: str | None = None) -> dict[str, Any]:
    """Fields that every result file carries."""
    return {
        "command": shlex.join(command),
        "commit": commit or _git("rev-parse", "HEAD"),
        "date": datetime.date.today().isoformat(),
        "hardware": hardware(),
        "versions": {"python": platform.python_version()}
        | {p: _version(p) for p in (*LEARNING, *SIMULATORS) if _version(p)},
    }


def keep(result: dict[str, Any]) -> Path:
    """Write ``result`` into the file of its name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['name']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def measure(name: str, description: str | None, summary: Callable[[], dict[str, Any]], **facts: Any) -> None:
    """The command line of a benchmark on one thread: measure, print, and write the file unless told not to.

    Args:
        name: of the result.
        description: the docstring of the benchmark.
        summary: does the measuring.
        facts: what else a reader must know.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    origin = provenance(["python", f"benchmarks/{Path(sys.argv[0]).name}"])
    result = {"name": name, **origin, "threads": 1, **facts, "summary": summary()}
    print(json.dumps(result["summary"], indent=1))
    if not options.no_write:
        keep(result)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or None
