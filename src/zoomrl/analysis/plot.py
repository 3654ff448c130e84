"""Learning curves of one or several runs, as an image."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoomrl.analysis.groups import experiments
from zoomrl.analysis.metrics import Counter, Metric, Point, Run, read_run
from zoomrl.errors import CheckpointError, ConfigError, plural, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")

# Okabe and Ito's palette: told apart with every common form of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ON_DARK = ("#56B4E9", "#E69F00", "#35C79B", "#E79AC6", "#FF8A4C", "#4C9FE0", "#E4E8EC")
"""The same for a dark page."""
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
    """Plot the evaluations of runs against environment steps (updates, for runs on demonstrations alone).

    Runs that differ only in their seed share a colour: each is a thin line, their mean a thick one over the steps at
    which all of them have been evaluated. Diamonds are the evaluations after training, with fresh seeds and more
    episodes, at the step where training ended; those of runs of other lengths are averaged with none. A figure has one
    kind of band, which its legend names: with several seeds of anything the range of the seeds, else the 95 % interval
    of each evaluation. A dashed line in a plot of returns is the return from which the task's benchmark counts it as
    solved.

    Args:
        directories: of the runs; they may still be going on.
        out: image to write; its suffix (.png, .pdf or .svg) names the format.
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
    if not directories:
        raise ConfigError("a plot needs at least one run directory, and none came")
    if metric is not None and metric not in _LABELS:
        raise unknown_name("metric", str(metric), _LABELS)
    runs = [read_run(directory) for directory in directories]
    metric = _metric(runs, metric)
    for run in runs:
        if not run.curve(metric) and run.final(metric) is None:
            made = run.config.get("eval", {}).get("final_episodes", 1)
            why = "holds no evaluation yet; plot it after the first one"
            none = "makes no episodes, and there is nothing to plot: its losses are in metrics.jsonl and TensorBoard"
            raise CheckpointError(f"{run.directory} {why if made else none}")
    from matplotlib import rc_context

    with rc_context(style()):
        figure = curves(runs, metric)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def curves(runs: Sequence[Run], metric: Metric, title: str = "") -> Figure:
    """The figure of :func:`plot_runs`, of runs that were read, each of which has an evaluation."""
    # Figure without pyplot: no global state, and no window system is asked for.
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    colours = [one["color"] for one in rcParams["axes.prop_cycle"]]
    figure = Figure(figsize=(7.2, _HEIGHT), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    groups = experiments(runs)
    alone = len(groups) == 1
    seeds = any(len(members) > 1 for members in groups.values())
    for index, (name, members) in enumerate(groups.items()):
        colour = colours[index % len(colours)]
        prefix = "" if alone else f"{name}: "
        if len(members) > 1:
            _plot_seeds(axes, members, metric, colour, prefix)
        else:
            _plot_run(axes, members[0], metric, colour, prefix, banded=not seeds)
        # Where there is no curve, nothing else names the runs.
        unnamed = prefix if not any(run.curve(metric) for run in members) else ""
        _plot_finals(axes, members, metric, colour, unnamed, banded=not seeds)
    points = [p for run in runs for p in (*run.curve(metric), *_listed(run.final(metric)))]
    if seeds or any(p.high > p.low for p in points):
        axes.fill_between([], [], [], color="0.5", alpha=0.3, linewidth=0, label=_BANDS[seeds])
    if metric == "return":
        _plot_bars(axes, runs)
    counters = {run.counter for run in runs}
    axes.set_xlabel(" or ".join(_COUNTERS[counter] for counter in sorted(counters)))
    _dress(figure, axes, metric, title or (next(iter(groups)) if alone else "Learning curves"))
    return figure


def style(dark: bool = False) -> dict[Any, Any]:
    """Options of matplotlib in which figures are made: on white, or on whatever dark page lies behind."""
    from cycler import cycler

    if not dark:
        return {"grid.color": "0.9", "axes.prop_cycle": cycler(color=COLOURS)}
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#e4e8ec")
    clear = {"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none"}
    lines = {"axes.edgecolor": "#9aa5b1", "grid.color": "#343c45", "axes.prop_cycle": cycler(color=ON_DARK)}
    return {**ink, **clear, **lines}


def load_plotting() -> None:
    """Plot an empty figure, so that the memory that plotting takes is in use before a run measures its own."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    figure.add_subplot().set_title("0")
    figure.savefig(io.BytesIO(), format="png")


def _metric(runs: Sequence[Run], asked: Metric | None) -> Metric:
    silent = [str(run.directory) for run in runs if not run.reports_success]
    if asked == "success" and silent:
        raise ConfigError(f"the environment of {', '.join(silent)} reports no success; plot --metric return")
    return asked or ("return" if silent else "success")


def _plot_run(axes: Axes, run: Run, metric: Metric, colour: str, prefix: str, banded: bool) -> None:
    """One run: its evaluations, with the interval of each where the figure's bands are intervals."""
    points = run.curve(metric)
    if not points:
        return
    steps = [p.step for p in points]
    if banded:
        _plot_band(axes, steps, [p.low for p in points], [p.high for p in points], colour)
    label = f"{prefix}seed {run.config['seed']}, {_episodes(points)} per evaluation"
    values = [p.value for p in points]
    axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=4, label=label)


def _plot_seeds(axes: Axes, members: Sequence[Run], metric: Metric, colour: str, prefix: str) -> None:
    """Several seeds: each of them thin, and their mean where all have been evaluated."""
    curves = [{p.step: p.value for p in run.curve(metric)} for run in members]
    for curve in curves:
        axes.plot(list(curve), list(curve.values()), color=colour, linewidth=0.8, alpha=0.5)
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    columns = [[curve[step] for curve in curves] for step in shared]
    _plot_band(axes, shared, [min(c) for c in columns], [max(c) for c in columns], colour)
    seeds = "seeds" if len({run.config["seed"] for run in members}) == len(members) else "runs"
    label = f"{prefix}mean of {len(members)} {seeds}"
    if any(set(curve) != set(shared) for curve in curves):
        # Runs of other lengths, or evaluated at other steps: the thin lines go on, the mean does not.
        label += f", over the {plural(len(shared), 'step')} at which all of them were evaluated"
    axes.plot(shared, [sum(c) / len(c) for c in columns], color=colour, linewidth=2.4, label=label)


def _plot_band(axes: Axes, steps: list[int], low: list[float], high: list[float], colour: str) -> None:
    axes.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)


def _plot_finals(axes: Axes, members: Sequence[Run], metric: Metric, colour: str, prefix: str, banded: bool) -> None:
    """The evaluations at the end, at the step where training ended. Only runs of one length share a diamond."""
    finals: dict[int, list[Point]] = {}
    for run in members:
        for final in _listed(run.final(metric)):
            finals.setdefault(final.step, []).append(final)
    for step, points in sorted(finals.items()):
        value = sum(p.value for p in points) / len(points)
        low = points[0].low if banded else min(p.value for p in points)
        high = points[0].high if banded else max(p.value for p in points)
        axes.errorbar(
            [step],
            [value],
            yerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            color=colour,
            marker="D",
            markersize=7,
            markeredgecolor="white",
            linestyle="none",
            capsize=3,
            zorder=5,
            label=prefix + _final_label(points, metric, len(members), f" at {step:,}" if len(finals) > 1 else ""),
        )


def _final_label(points: Sequence[Point], metric: Metric, runs: int, at: str) -> str:
    value = sum(p.value for p in points) / len(points)
    written = f"{value:.0%}" if metric == "success" else f"{value:.4g}"
    if len(points) > 1 or runs > 1:
        of = str(len(points)) if len(points) == runs else f"{len(points)} of {runs}"
        written += f", mean of {of} seeds" if len(points) > 1 else f", {of} seeds"
    chosen = {p.weights_of for p in points if p.weights_of is not None}
    best = f" (best weights, those of {' and '.join(f'{step:,}' for step in sorted(chosen))})" if chosen else ""
    return f"after training{at}{best}: {written}, {_episodes(points, 'fresh episode')}{' each' * (len(points) > 1)}"


def _episodes(points: Sequence[Point], noun: str = "episode") -> str:
    """How many episodes the evaluations ``points`` took."""
    low, high = min(p.episodes for p in points), max(p.episodes for p in points)
    return plural(low, noun) if low == high else f"{low} to {plural(high, noun)}"


_BANDS = {
    False: "shaded, and bars: 95 % interval of each evaluation",
    True: "shaded, and bars: lowest to highest seed",
}
"""What the bands of a figure are, without and with several seeds."""


def _plot_bars(axes: Axes, runs: Sequence[Run]) -> None:
    """A line at each return that counts as success, labelled with the environments it belongs to."""
    tasks: dict[float, dict[str, None]] = {}
    for run in runs:
        if run.success_bar is not None:
            tasks.setdefault(run.success_bar, {})[run.config["env"]["id"]] = None
    for bar, names in sorted(tasks.items()):
        label = f"counts as success from {bar:.5g} on ({', '.join(names)})"
        axes.axhline(bar, color="0.35", linewidth=1.2, linestyle="--", label=label)


def _listed(point: Point | None) -> list[Point]:
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
    axes.grid(True, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    wrapped = [textwrap.fill(label, 95) for label in labels]
    # Many runs make the image taller, not the curves flatter.
    lines = sum(label.count("\n") + 1 for label in wrapped)
    figure.set_figheight(_HEIGHT + _LEGEND_LINE * max(0, lines - _FEW))
    figure.legend(handles, wrapped, loc="outside lower center", fontsize=8, frameon=False)
