"""Numbers of a run, from its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from zoomrl.errors import CheckpointError
from zoomrl.training.rows import METRICS, read_rows
from zoomrl.training.run_files import read_config

SUCCESS, EPISODES = "success", "episodes"
"""Metric of a success rate, and of how many episodes it is one."""
FRACTIONS = frozenset({SUCCESS, "auc", "first_quarter", "last_quarter"})
"""Metrics that lie within 0 .. 1."""
_FINAL = {
    "success_rate": SUCCESS,
    "return_mean": "return",
    "value_overestimation": "overestimation",
    "value_predicted": "predicted",
    "value_realised": "realised",
    "value_auc": "auc",
    "value_rank": "rank",
    "value_error": "value_error",
}


def final_numbers(directory: Path) -> dict[str, float]:
    """Of the evaluation at the end: ``success``, ``return``, ``episodes``, and what predicted values were worth, where
    these are told.

    Raises:
        CheckpointError: there was no such evaluation, or all its episodes were lost.
    """
    return _final(directory, read_rows(directory / METRICS))


def _final(directory: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    row = next((row for row in reversed(rows) if row["kind"] == "final"), None)
    if row is None or not row.get("episodes"):
        raise CheckpointError(f"{directory} has no result of an evaluation at its end")
    found = {name: float(row[key]) for key, name in _FINAL.items() if row.get(key) is not None}
    return {**found, EPISODES: float(row["episodes"])}


def practice_numbers(directory: Path) -> dict[str, float]:
    """Those of :func:`final_numbers`, and of the episodes of training, where any had a result.

    Returns:
        Also ``solved``, the number of episodes that were solved, and the success rates ``first_quarter`` and
        ``last_quarter`` of those that ended within the first and the last quarter of the steps.

    Raises:
        CheckpointError: as of :func:`final_numbers`.
    """
    rows, steps = read_rows(directory / METRICS), read_config(directory).steps
    found = _final(directory, rows)
    episodes = [row for row in rows if row["kind"] == "episode" and row.get("success") is not None]
    if not episodes:
        return found
    found["solved"] = float(sum(row["success"] for row in episodes))
    for name, low, high in (("first_quarter", 0, steps / 4), ("last_quarter", steps * 3 / 4, steps)):
        within = [float(row["success"]) for row in episodes if low < row["env_steps"] <= high]
        if within:
            found[name] = fmean(within)
    return found
