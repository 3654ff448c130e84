"""Means of metrics between two rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class Means:
    """Adds up metrics by name, each over the updates that have it. Nothing waits for a GPU until they are taken."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, torch.Tensor]) -> None:
        """Add 0-d tensors."""
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> tuple[dict[str, float], dict[str, int]]:
        """The means, and of how many values each is one; then begin anew."""
        means = {name: float(total / self._counts[name]) for name, total in self._sums.items()}
        counts = self._counts
        self._sums, self._counts = {}, {}
        return means, counts

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts so far."""
        return {"sums": dict(self._sums), "summed": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; other entries are left alone."""
        self._sums, self._counts = dict(state["sums"]), dict(state["summed"])
