"""Learning curves of one or several runs, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoomrl.analysis.groups import experiments
from zoomrl.analysis.metrics import Counter, Metric, Point, Run, read_run
from zoomrl.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")

# Okabe and Ito's palette: told apart with every common form of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LABELS: dict[Metric, str] = {
    "success": "Successful episodes",
    "return": "Return of an episode",
    "overestimation": "Predicted value minus realised return",
}
# Inches.
_HEIGHT, _LEGEND_LINE = 4.2, 0.16
_FEW = 4
_COUNTERS: dict[Counter, str] = {"env_steps": "Environment steps", "updates": "Updates"}


def plot_runs(directories: Sequence[str | Path], out: str | Path, *, metric: Metric | None = None) -> Path:
    """Draw the evaluations of runs against environment steps (updates, for runs on demonstrations alone).

    Runs that differ only in their seed share a colour: each is a thin line, their mean a thick one within
    the range that they span. A run of its own is drawn with the 95 % interval of each evaluation. Diamonds,
    right of the curves, are the evaluations after training, with fresh seeds and more episodes. A dashed line in a
    plot of returns is the return from which the task's benchmark counts it as solved.

    Args:
        directories: of the runs; they may still be going on.
        out: picture to write; its suffix (.png, .pdf or .svg) names the format.
        metric: None takes success where all runs report it, else return.

    Returns:
        ``out``.

    Raises:
        CheckpointError: a directory holds no run, or a run without any evaluation.
        ConfigError: for another suffix, success of runs that do not report it, or values that were not predicted.
    """
    path = Path(out)
    if path.suffix not in FORMATS:
        raise ConfigError(f"a plot is written as {', '.join(FORMATS)}, got {path.name!r}; change its suffix")
    runs = [read_run(directory) for directory in directories]
    metric = _metric(runs, metric)
    for run in runs:
        if not run.curve(metric) and run.final(metric) is None:
            raise CheckpointError(f"{run.directory} holds no evaluation yet; plot it after the first one")
    # Figure without pyplot: no global state, and no window system is asked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, _HEIGHT), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    groups = experiments(runs)
    alone = len(groups) == 1
    last = max(p.step for run in runs for p in (*run.curve(metric), *_present(run.final(metric))))
    for index, (name, members) in enumerate(groups.items()):
        colour = COLOURS[index % len(COLOURS)]
        draw = _draw_run if len(members) == 1 else _draw_seeds
        draw(axes, members, metric, colour, "" if alone else f"{name}: ")
        # Right of the curves, side by side: on them, diamonds and lines would hide each other.
        _draw_final(axes, members, metric, colour, at=last + max(last, 1) * (0.03 + 0.025 * index))
    if metric == "return":
        _draw_bars(axes, runs)
    counters = {run.counter for run in runs}
    axes.set_xlabel(" or ".join(_COUNTERS[counter] for counter in sorted(counters)))
    _dress(figure, axes, metric, next(iter(groups)) if alone else "Learning curves")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _metric(runs: Sequence[Run], asked: Metric | None) -> Metric:
    silent = [str(run.directory) for run in runs if not run.reports_success]
    if asked == "success" and silent:
        raise ConfigError(f"the environment of {', '.join(silent)} reports no success; plot --metric return")
    return asked or ("return" if silent else "success")


def _draw_run(axes: Axes, members: Sequence[Run], metric: Metric, colour: str, prefix: str) -> None:
    """One run: its evaluations with the interval of each."""
    points = members[0].curve(metric)
    if not points:
        return
    steps = [p.step for p in points]
    _draw_band(axes, steps, [p.low for p in points], [p.high for p in points], colour)
    shaded = " (shaded: 95 % interval)" if any(p.high > p.low for p in points) else ""
    label = f"{prefix}seed {members[0].config['seed']}, {points[0].episodes} episodes per evaluation{shaded}"
    values = [p.value for p in points]
    axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=4, label=label)


def _draw_seeds(axes: Axes, members: Sequence[Run], metric: Metric, colour: str, prefix: str) -> None:
    """Several seeds: each of them thin, and their mean where all have been evaluated."""
    curves = [{p.step: p.value for p in run.curve(metric)} for run in members]
    for curve in curves:
        axes.plot(list(curve), list(curve.values()), color=colour, linewidth=0.8, alpha=0.5)
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    columns = [[curve[step] for curve in curves] for step in shared]
    _draw_band(axes, shared, [min(c) for c in columns], [max(c) for c in columns], colour)
    seeds = "seeds" if len({run.config["seed"] for run in members}) == len(members) else "runs"
    label = f"{prefix}mean of {len(members)} {seeds} (shaded: their range)"
    axes.plot(shared, [sum(c) / len(c) for c in columns], color=colour, linewidth=2.4, label=label)


def _draw_band(axes: Axes, steps: list[int], low: list[float], high: list[float], colour: str) -> None:
    axes.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)


def _draw_final(axes: Axes, members: Sequence[Run], metric: Metric, colour: str, at: float) -> None:
    """The evaluation at the end: its 95 % interval for one run, mean and range for several seeds."""
    finals = [final for run in members for final in _present(run.final(metric))]
    if not finals:
        return
    value = sum(final.value for final in finals) / len(finals)
    low = finals[0].low if len(members) == 1 else min(final.value for final in finals)
    high = finals[0].high if len(members) == 1 else max(final.value for final in finals)
    written = f"{value:.0%}" if metric == "success" else f"{value:.4g}"
    per_seed = "" if len(members) == 1 else " per seed"
    axes.errorbar(
        [at],
        [value],
        yerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
        color=colour,
        marker="D",
        markersize=7,
        markeredgecolor="white",
        linestyle="none",
        capsize=3,
        zorder=5,
        label=f"after training: {written}, {finals[0].episodes} fresh episodes{per_seed}",
    )


def _draw_bars(axes: Axes, runs: Sequence[Run]) -> None:
    """A line at each return that counts as success, labelled with the environments it belongs to."""
    tasks: dict[float, dict[str, None]] = {}
    for run in runs:
        if run.success_bar is not None:
            tasks.setdefault(run.success_bar, {})[run.config["env"]["id"]] = None
    for bar, names in sorted(tasks.items()):
        label = f"counts as success from {bar:.5g} on ({', '.join(names)})"
        axes.axhline(bar, color="0.35", linewidth=1.2, linestyle="--", label=label)


def _present(point: Point | None) -> list[Point]:
    return [] if point is None else [point]


def _dress(figure: Figure, axes: Axes, metric: Metric, title: str) -> None:
    from matplotlib.ticker import EngFormatter, PercentFormatter

    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_ylabel(_LABELS[metric])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if metric == "success":
        # A little beyond 0 and 100 %, where markers would be cut in half.
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if metric == "overestimation":
        axes.axhline(0, color="0.4", linewidth=1)
    axes.margins(x=0.03)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    wrapped = [textwrap.fill(label, 95) for label in labels]
    # Many runs make the picture taller, not the curves flatter.
    lines = sum(label.count("\n") + 1 for label in wrapped)
    figure.set_figheight(_HEIGHT + _LEGEND_LINE * max(0, lines - _FEW))
    figure.legend(handles, wrapped, loc="outside lower center", fontsize=8, frameon=False)
