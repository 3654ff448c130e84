"""What a diagnosis says, and what it takes to say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zoomrl.training.diagnosis.facts import Facts

BEGUN = 100
"""Updates before which inputs have hardly been seen."""
SETTLED = 500
"""Updates after which most things can be told."""
LEARNT = 1000
"""Updates after which imitation must show: a narrow network in small batches told no bins apart for 700."""


@dataclass(frozen=True)
class Finding:
    """A cause, the evidence for it, and what to change.

    Attributes:
        cause: its short name, stable between versions.
        evidence: what was seen, with numbers.
        advice: the option to change, or what to look at.
    """

    cause: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.evidence}. {self.advice}"


@dataclass(frozen=True)
class Rule:
    """A rule, and the evidence without which it cannot judge.

    Attributes:
        cause: that it names.
        look: finds it, or nothing.
        metrics: that rows of learning must hold.
        updates: that must have been made.
        rows: of learning that must be there; of some rules that depends on the run.
        demos: it is about demonstrations.
        episodes: of training that must be there.
        evaluated: an evaluation that reports success must be there.
    """

    cause: str
    look: Callable[[Facts], Finding | None]
    metrics: tuple[str, ...] = ()
    updates: int = 0
    rows: int | Callable[[Facts], int] = 1
    demos: bool = False
    episodes: int = 0
    evaluated: bool = False

    def judges(self, facts: Facts) -> bool:
        """Whether the evidence is there."""
        counts = [facts.courses[name].count if name in facts.courses else 0 for name in self.metrics]
        rows = self.rows if isinstance(self.rows, int) else self.rows(facts)
        return (
            all(count >= rows for count in counts)
            and facts.updates >= self.updates
            and len(facts.episodes) >= self.episodes
            and (bool(facts.demos) or not self.demos)
            and (facts.tested is not None or not self.evaluated)
        )
