"""What was done and found: a line for each kind, and the result file."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.attack import Attack, Found, Try
from benchmarks.provenance import RESULTS, provenance


@dataclass
class Account:
    """The tries of one kind, summed.

    Attributes:
        attack: the kind.
        wanted: how much of its unit was asked for.
        counts: what was done.
        faults: what must not be, each with the command that makes it again.
        skipped: reason -> how often nothing could be done for it.
        seconds: that it took.
    """

    attack: Attack
    wanted: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, trial: Try, found: Found) -> None:
        """Add what one try found."""
        self.counts.update({name: number for name, number in found.counts.items() if number})
        self.faults += [f"{fault} [{trial.again}]" for fault in found.faults]
        if found.skipped:
            self.skipped[found.skipped] += 1

    @property
    def done(self) -> int:
        """How much of the unit was done."""
        return self.counts[self.attack.unit]

    @property
    def held(self) -> bool:
        """Enough was done, and no fault was found; what cannot be done on this machine is no fault."""
        return not self.faults and (self.done >= self.wanted or bool(self.skipped))

    @property
    def outcome(self) -> str:
        """In words."""
        if self.faults:
            return f"missed: {len(self.faults)} faults"
        if self.held:
            return "held" + "".join(f"; {count} skipped: {why}" for why, count in self.skipped.items())
        return f"missed: {self.done} of {self.wanted} {self.attack.unit}"


def line(account: Account) -> str:
    """One line for a terminal."""
    counts = ", ".join(f"{number} {name}" for name, number in account.counts.items())
    return f"{account.attack.name}: {account.outcome} ({counts or 'nothing done'}; {account.seconds:.0f} s)"


def write(accounts: list[Account], seed: int, out: Path | None) -> Path:
    """Write the result file, in the form of the others."""
    result: dict[str, Any] = {
        "name": "chaos",
        **provenance(["python", "-m", "benchmarks.chaos", *sys.argv[1:]]),
        "seed": seed,
        "summary": {
            account.attack.name: {
                "bar": account.attack.bar,
                "wanted": account.wanted,
                "outcome": account.outcome,
                "counts": dict(account.counts),
                "seconds": round(account.seconds, 1),
                "faults": account.faults,
            }
            for account in accounts
        },
    }
    path = out or RESULTS / "chaos.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
