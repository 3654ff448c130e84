"""Warnings while a run is under way: the rules of a diagnosis, asked at each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zoomrl.data.episode import Episode
from zoomrl.training.callbacks import Callback, Run
from zoomrl.training.diagnosis.facts import Facts, Row
from zoomrl.training.diagnosis.rules import diagnose
from zoomrl.training.evaluate import Evaluation


def warnings_of(facts: Facts, rows: Iterable[Row]) -> dict[str, int]:
    """The causes that a run with these rows warns of, and the updates at which it first does.

    Args:
        facts: of the run, without its rows, which are added to it.
        rows: of the run, in order.
    """
    said: dict[str, int] = {}
    for row in rows:
        facts.add(row)
        if row["kind"] != "episode":
            for finding in diagnose(facts):
                said.setdefault(finding.cause, facts.updates)
    return said


class Watch(Callback):
    """Says each cause once in a process, as soon as its evidence is there.

    Args:
        facts: of the run: its config and demonstrations, and the rows that it has already.
        say: prints a line for the user.
    """

    def __init__(self, facts: Facts, say: Callable[[str], None]) -> None:
        self._facts = facts
        self._say = say
        self._said: set[str] = set()

    def on_episode(self, run: Run, episode: Episode, row: Mapping[str, Any]) -> None:
        """Note it; rows of learning come soon."""
        self._facts.add({"kind": "episode", **row})

    def on_metrics(self, run: Run, row: Mapping[str, float]) -> None:
        """Look at a row of learning."""
        self._look({"kind": "train", **row})

    def on_evaluation(self, run: Run, evaluation: Evaluation, row: Mapping[str, Any]) -> None:
        """Look at an evaluation."""
        self._look({"kind": "eval", **row})

    def _look(self, row: Mapping[str, Any]) -> None:
        self._facts.add(row)
        for finding in diagnose(self._facts):
            if finding.cause not in self._said:
                self._said.add(finding.cause)
                self._say(f"warning: {finding}")
