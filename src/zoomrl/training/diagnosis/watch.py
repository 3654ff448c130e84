"""Warnings while a run is under way: the rules of a diagnosis, asked at each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zoomrl.data.episode import Episode
from zoomrl.training.callbacks import Callback, Run
from zoomrl.training.diagnosis.facts import Facts
from zoomrl.training.diagnosis.rules import diagnose
from zoomrl.training.evaluate import Evaluation


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
