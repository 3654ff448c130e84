"""Numbers of a run, from its directory."""

from __future__ import annotations

from pathlib import Path

from zoomrl.errors import CheckpointError
from zoomrl.training.rows import METRICS, read_rows

SUCCESS, EPISODES = "success", "episodes"
"""Metric of a success rate, and of how many episodes it is one."""
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
    row = next((row for row in reversed(read_rows(directory / METRICS)) if row["kind"] == "final"), None)
    if row is None or not row.get("episodes"):
        raise CheckpointError(f"{directory} has no result of an evaluation at its end")
    found = {name: float(row[key]) for key, name in _FINAL.items() if row.get(key) is not None}
    return {**found, EPISODES: float(row["episodes"])}
