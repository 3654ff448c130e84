"""Performance profiles of several methods, as an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoomrl.analysis.compare import matrix_of
from zoomrl.analysis.plot import FORMATS, style
from zoomrl.analysis.scores import Scores
from zoomrl.analysis.statistics import profiles
from zoomrl.errors import ConfigError

THRESHOLDS = 51


def plot_profiles(methods: Sequence[Scores], out: str | Path) -> Path:
    """Plot, for each method, the fraction of its runs that score above each threshold (Agarwal 2021).

    A curve that lies above another everywhere belongs to the better method; where they cross, it depends on what counts
    as enough. Bands are 95 % stratified bootstrap intervals.

    Args:
        methods: of one metric.
        out: image to write; its suffix (.png, .pdf or .svg) names the format.

    Returns:
        ``out``.

    Raises:
        ConfigError: for another suffix.
    """
    path = Path(out)
    if path.suffix not in FORMATS:
        raise ConfigError(f"a plot is written as {', '.join(FORMATS)}, got {path.name!r}; change its suffix")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    scores = {one.name: matrix_of(one)[0] for one in methods}
    success = methods[0].metric == "success"
    low = 0.0 if success else min(float(matrix.min()) for matrix in scores.values())
    high = 1.0 if success else max(float(matrix.max()) for matrix in scores.values())
    thresholds = np.linspace(low, high, THRESHOLDS)
    with rc_context(style()):
        figure = Figure(figsize=(6.0, 4.0), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for name, (fraction, lowest, highest) in profiles(scores, thresholds).items():
            # A label that begins with _ would be left out of the legend.
            (line,) = axes.plot(thresholds, fraction, linewidth=2, label=f" {name}")
            axes.fill_between(thresholds, lowest, highest, color=line.get_color(), alpha=0.16, linewidth=0)
        axes.set_xlabel("Success rate of a run" if success else "Return of a run")
        axes.set_ylabel("Fraction of runs above it, mean over tasks")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(True, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, title="shaded: 95 % intervals", title_fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return path
