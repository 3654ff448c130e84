"""What an attack is: a number of tries, each drawn from a seed, and what they found."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.runs import Material


@dataclass(frozen=True)
class Try:
    """One try of an attack.

    Attributes:
        kind: name of the attack.
        number: of the try.
        amount: how much of the attack's unit it does, at most.
        seed: of the whole program; with kind and number it decides what is done.
        place: an empty folder of the try's own.
        material: what runs read.
    """

    kind: str
    number: int
    amount: int
    seed: int
    place: Path
    material: Material

    @property
    def rng(self) -> random.Random:
        """Randomness of this try, from its beginning."""
        return random.Random(f"{self.seed}/{self.kind}/{self.number}")

    @property
    def again(self) -> str:
        """The command that makes this try again."""
        which = f"{self.kind} --seed {self.seed} --only {self.number} --count {self.amount}"
        return f"python -m benchmarks.chaos {which} --keep"


@dataclass
class Found:
    """What one try found.

    Attributes:
        counts: what was done, and how it went, by name.
        faults: what must not be, in words.
        skipped: why nothing could be done here, if so.
    """

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    skipped: str = ""

    def fault(self, text: str) -> None:
        """Something that must not be."""
        self.faults.append(text)


@dataclass(frozen=True)
class Attack:
    """A kind of attack.

    Attributes:
        name: on the command line and in the report.
        bar: what must hold, a sentence.
        unit: the count that the bar is about.
        least: how much of it at full size.
        short: how much of it in the short version.
        per_try: how much of it one try does.
        tries: fewest tries at full size, so that every variant is met.
        attempt: makes one try.
    """

    name: str
    bar: str
    unit: str
    least: int
    short: int
    per_try: int
    attempt: Callable[[Try], Found]
    tries: int = 0
