"""``zoomrl diagnose``."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.errors import plural


@dataclass(frozen=True)
class Diagnose:
    """Say what is wrong with a run, by what it has logged, and which option to change; also while it goes on."""

    run_dir: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Print what was found, the likeliest cause first."""
        from zoomrl.training.diagnosis.facts import read_facts
        from zoomrl.training.diagnosis.rules import RULES, diagnose, not_judged

        facts = read_facts(self.run_dir)
        found, unknown = diagnose(facts), not_judged(facts)
        if self.json:
            findings = [asdict(finding) for finding in found]
            seen = {"updates": facts.updates, "evaluations": facts.evaluations, "findings": findings}
            seen["not_judged"] = unknown
            print(json.dumps(seen, indent=2))
            return 0
        if not facts.updates and not found:
            print(_nothing(self.run_dir))
            return 0
        for finding in found:
            print(finding.cause)
            for text in (f"{finding.evidence}.", f"{finding.advice}."):
                print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  "))
        judged = f"{len(RULES) - len(unknown)} of {len(RULES)} causes could be judged"
        looked = f"{judged}, after {plural(facts.updates, 'update')} and {plural(facts.evaluations, 'evaluation')}"
        print(looked if found else f"nothing was found; {looked}")
        if unknown:
            text = f"nothing is known yet, or of this agent, of {', '.join(unknown)}"
            print(textwrap.fill(text, 100, subsequent_indent="  "))
        return 0


def _nothing(directory: Path) -> str:
    """Why nothing can be judged: a run that has just begun, or one whose rows are gone."""
    from zoomrl.training.rows import METRICS
    from zoomrl.training.run_place import CHECKPOINTS

    if not any((directory / CHECKPOINTS).glob("*.pt")):
        return "no update has been made: there is nothing to judge yet"
    path = directory / METRICS
    what = "holds no row that can be read" if path.exists() else "is not there"
    return f"{path} {what}, though the run has checkpoints: nothing can be judged without what it has logged"
