"""Published figures, each with its source and its conditions, to compare runs with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from zoomrl.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Figure:
    """One published result.

    Attributes:
        env_steps: simulator control steps after which it was measured.
        mean: over seeds; a success rate lies between 0 and 1.
        std: population standard deviation over seeds; None where it is not told.
        seeds: how many; 0 where it is not told.
        low, high: published interval; None without one.
    """

    env_steps: int
    mean: float
    std: float | None = None
    seeds: int = 0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Reference:
    """The results of one method on one benchmark.

    Attributes:
        name: ``benchmark/method``.
        benchmark: in words.
        source: where the figures come from.
        metric: ``success`` or ``return``.
        conditions: full name of an option -> its value; ``observed`` is ``state`` or ``images``.
        tasks: environment id -> figures, by steps.
    """

    name: str
    benchmark: str
    source: str
    metric: str
    conditions: Mapping[str, Any]
    tasks: Mapping[str, tuple[Figure, ...]]

    def nearest(self, task: str, steps: int) -> Figure:
        """The figure of ``task`` at the steps nearest to ``steps``."""
        return min(self.tasks[task], key=lambda figure: abs(figure.env_steps - steps))


def reference(name: str) -> Reference:
    """The published figures called ``benchmark/method``; ConfigError with the nearest names when there are none."""
    benchmark, slash, method = name.partition("/")
    files = {file.name.removesuffix(".json"): file for file in _files()}
    if not slash and benchmark in files:
        methods = json.loads(files[benchmark].read_text(encoding="utf-8"))["methods"]
        listed = ", ".join(f"{benchmark}/{one}" for one in methods)
        raise ConfigError(f"the reference {name!r} has figures of several methods; name one: {listed}")
    if not slash or benchmark not in files:
        raise unknown_name("reference", name, reference_names())
    data = json.loads(files[benchmark].read_text(encoding="utf-8"))
    if method not in data["methods"]:
        raise unknown_name("reference", name, [f"{benchmark}/{one}" for one in data["methods"]])
    tasks = {task: tuple(Figure(**figure) for figure in rows) for task, rows in data["methods"][method].items()}
    return Reference(name, data["benchmark"], data["source"], data["metric"], data["conditions"], tasks)


def reference_names() -> list[str]:
    """All of them."""
    found = []
    for file in _files():
        methods = json.loads(file.read_text(encoding="utf-8"))["methods"]
        found += [f"{file.name.removesuffix('.json')}/{method}" for method in methods]
    if not found:
        raise ConfigError("the published figures are missing from this installation of zoomrl; install it again")
    return found


def _files() -> list[Any]:
    here = resources.files(__name__)
    return sorted((file for file in here.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
