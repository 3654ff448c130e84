"""What the states of a demonstration set say without a simulator: entries that never change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.check.findings import Finding
from zoomrl.nets.constant import is_constant
from zoomrl.spec import EnvSpec

_PART = 1 << 17
"""Numbers that are summed at once."""


class StateSpread:
    """Mean and standard deviation of each state entry, episode by episode."""

    def __init__(self) -> None:
        self._count = 0
        self._origin: NDArray[np.float64] = np.zeros(0)
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, states: NDArray[Any]) -> None:
        """Take in the states [T, S] of an episode."""
        if not self._count:
            # Sums of squares about a value that occurs: of a constant they are exactly 0.
            self._origin = states[0].astype(np.float64)
        self._count += len(states)
        # In parts: at once, a long episode would take six times its memory.
        rows = max(1, _PART // states.shape[1]) if states.shape[1] else len(states)
        for first in range(0, len(states), rows):
            away = states[first : first + rows] - self._origin
            self._sum = self._sum + away.sum(0)
            self._squares = self._squares + (away**2).sum(0)

    def constant(self) -> tuple[int, ...]:
        """Entries with a constant value; none before any episode."""
        if not self._count:
            return ()
        away = self._sum / self._count
        std = np.sqrt(np.maximum(self._squares / self._count - away**2, 0))
        return tuple(int(index) for index in np.flatnonzero(is_constant(self._origin + away, std)))


def constant_entries(states: Sequence[NDArray[Any]]) -> tuple[int, ...]:
    """Entries with a constant value in all of ``states`` ([T, S] each)."""
    spread = StateSpread()
    for part in states:
        spread.add(part)
    return spread.constant()


def name_entries(indices: Sequence[int], spec: EnvSpec) -> str:
    """Numbers of state entries, and what the environment calls them where it says: ``4-6, 9 (goal, hand[2])``."""
    listed = ", ".join(_run(run) for run in _runs(indices))
    names, chosen, first = [], set(indices), 0
    for entry in spec.state_entries:
        places = [place for place in range(entry.size) if first + place in chosen]
        if len(places) == entry.size:
            names.append(entry.name)
        elif places:
            names.append(f"{entry.name}[{', '.join(_run(run) for run in _runs(places))}]")
        first += entry.size
    return f"{listed} ({', '.join(names)})" if names else listed


def state_findings(constant: Sequence[int], spec: EnvSpec) -> Iterator[Finding]:
    """A note where state entries have one constant value in all demonstrations."""
    if constant:
        yield Finding(
            "note",
            "constant-state",
            f"{len(constant)} of {spec.state_dim} state entries have a constant value in all demonstrations: "
            f"{name_entries(constant, spec)}",
            "nothing can be learnt from them; with --agent.normalize demos they are scaled by their magnitude, at "
            "least 1, so that a small shift of them later stays small",
        )


def _runs(indices: Sequence[int]) -> Iterator[list[int]]:
    """Stretches of neighbouring numbers."""
    for _, group in groupby(enumerate(sorted(indices)), lambda pair: pair[1] - pair[0]):
        yield [index for _, index in group]


def _run(run: Sequence[int]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"
