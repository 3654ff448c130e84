"""``zoomrl report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoomrl.errors import ConfigError


@dataclass(frozen=True)
class ReportPage:
    """Write one page about runs: results, curves, what differs, failures, videos, provenance."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUNS ...", help_behavior_hint="(required)")]
    """Run directories, sweeps, or folders of runs; they may still be going on."""
    out: Path = Path("report.html")
    """HTML file to write; it needs no network and no other file."""
    csv: Path | None = None
    """Table to write as well, with a line for each run."""

    def run(self) -> int:
        """Write it."""
        if not self.runs:
            raise ConfigError("a report needs at least one run directory, for example: zoomrl report runs/*")
        from zoomrl.analysis.report import report

        print(report(self.runs, self.out, table=self.csv))
        return 0
