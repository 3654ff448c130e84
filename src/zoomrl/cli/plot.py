"""``zoomrl plot``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from zoomrl.errors import ConfigError


@dataclass(frozen=True)
class Plot:
    """Plot the learning curves of one or several runs, also while they go on."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...", help_behavior_hint="(required)")]
    """Run directories. Runs that differ only in their seed are plotted as one curve with its range."""
    out: Path = Path("plot.png")
    """Image to write: .png, .pdf or .svg."""
    metric: Literal["auto", "success", "return", "overestimation"] = "auto"
    """What to plot; auto takes success where the environment reports it, else return. overestimation is the value
    that the agent predicted at the first agent step, less the discounted return that followed."""

    def run(self) -> int:
        """Write the image."""
        if not self.runs:
            raise ConfigError("plot needs at least one run directory, for example: zoomrl plot runs/*")
        from zoomrl.analysis.plot import plot_runs

        print(plot_runs(self.runs, self.out, metric=None if self.metric == "auto" else self.metric))
        return 0
