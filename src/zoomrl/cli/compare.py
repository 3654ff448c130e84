"""``zoomrl compare``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.errors import ConfigError, plural, unknown_name
from zoomrl.files import finite_or_null

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.analysis.compare import Comparison
    from zoomrl.analysis.scores import Scores
    from zoomrl.analysis.statistics import Estimate

_COLOURS = {"above": "green", "below": "red", "consistent": "cyan", "underpowered": "yellow", "not comparable": "red"}


@dataclass(frozen=True)
class Compare:
    """Compare methods over tasks and seeds by the evaluations at the ends of their runs, and with published figures."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUNS ...", help_behavior_hint="(none)")] = ()
    """Sweeps, or folders of runs: each is one method, and the first is compared with each of the others."""
    by: str = ""
    """Option that tells methods apart within them: agent.name, agent.lr."""
    reference: tuple[str, ...] = ()
    """Published figures to compare with, as benchmark/method; --list-references shows them."""
    metric: Literal["auto", "success", "return"] = "auto"
    """What is compared; auto takes success where all runs report it, else return."""
    margin: float = 0.0
    """Difference from which on it matters; 0 is 0.05 of success, or 5 percent of the second's mean return."""
    accept: tuple[str, ...] = ()
    """Conditions that may differ, by their full names: steps, env.cameras."""
    profile: Path | None = None
    """Image of performance profiles to write: the fraction of runs above each score."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of tables."""
    list_references: FlagCreatePairsOff[bool] = False
    """List the published figures."""

    def run(self) -> int:
        """Compare and print."""
        from zoomrl.analysis.compare import compare, compare_with
        from zoomrl.analysis.references import reference, reference_names
        from zoomrl.analysis.scores import CONDITIONS, read_scores

        if self.list_references:
            print("\n".join(f"{name:<28} {reference(name).benchmark}" for name in reference_names()))
            return 0
        metric = "" if self.metric == "auto" else self.metric
        known = {*CONDITIONS, *(key for name in self.reference for key in reference(name).conditions)}
        if unknown := sorted(set(self.accept) - known):
            raise unknown_name("condition", unknown[0], sorted(known))
        methods = [scores for path in self.runs for scores in read_scores(path, self.by, metric)]
        if len(set(names := [one.name for one in methods])) < len(names):
            raise ConfigError(
                f"two methods have one name ({', '.join(sorted(names))}), by which tables and plots tell them apart: "
                "rename a folder, or tell them apart by --by OPTION"
            )
        if not methods or (len(methods) == 1 and not self.reference):
            if len(methods) == 1 and self.by:
                raise ConfigError(f"all runs have the same {self.by}: there are no two methods to compare")
            raise ConfigError(
                "two methods are compared: name two sweeps or folders of runs, tell methods apart within one by --by "
                "OPTION, or name published figures with --reference"
            )
        found = [compare(methods[0], other, margin=self.margin, accept=self.accept) for other in methods[1:]]
        for name in self.reference:
            found.append(compare_with(methods[0], reference(name), margin=self.margin, accept=self.accept))
        if self.profile is not None:
            from zoomrl.analysis.profile import plot_profiles

            plot_profiles(methods, self.profile)
        if self.json:
            print(json.dumps(finite_or_null([dataclasses.asdict(one) for one in found]), indent=2))
            return 0
        _show(methods, found)
        for name in self.reference:
            print(f"{name}: {reference(name).source}")
        if self.profile is not None:
            print(f"wrote {self.profile}")
        return 0


def _show(methods: Sequence[Scores], found: Sequence[Comparison]) -> None:
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 130, emoji=False)  # `:hammer:` is a task
    console.print(_aggregates(methods))
    for one in found:
        if one.rows:
            console.print(_tasks(one))
        for line in _verdict(one):
            console.print(line, highlight=False)
    for scores in methods:
        if scores.unfinished:
            print(f"{scores.name}: {plural(len(scores.unfinished), 'run')} not at the end yet, and left out")


def _aggregates(methods: Sequence[Scores]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from zoomrl.analysis.compare import matrix_of
    from zoomrl.analysis.statistics import aggregates

    table = Table(
        title=f"{methods[0].metric.capitalize()} over tasks and seeds, with 95 % stratified bootstrap intervals"
    )
    for heading in ("method", "tasks", "seeds", "interquartile mean", "mean", "median"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    left_out = []
    for scores in methods:
        matrix, without = matrix_of(scores)
        found = aggregates(matrix)
        cells = [_written(found[name], scores.metric) for name in ("iqm", "mean", "median")]
        table.add_row(escape(scores.name), str(matrix.shape[1]), str(matrix.shape[0]), *cells)
        if without:
            left_out.append(f"{scores.name}: {plural(without, 'run')} of tasks with more seeds than others left out")
    table.caption = escape("; ".join(left_out)) or None
    return table


def _tasks(one: Comparison) -> Table:
    from rich.markup import escape
    from rich.table import Table

    names = [escape(name) for name in one.names]
    table = Table(title=f"{names[0]} against {names[1]}")
    table.add_column("task")
    for heading in ("seeds", *names, "difference"):
        table.add_column(heading, justify="right")
    for row in one.rows:
        counts = f"{row.seeds[0]}, {row.seeds[1] or 'unknown'}" if row.seeds[0] != row.seeds[1] else str(row.seeds[0])
        difference = _written(row.difference, one.metric, signed=True) + (" (paired)" if row.paired else "")
        table.add_row(row.task, counts, _written(row.first, one.metric), _written(row.second, one.metric), difference)
    return table


def _verdict(one: Comparison) -> list[str]:
    from rich.markup import escape

    lines = [f"[bold {_COLOURS[one.verdict]}]{one.verdict}[/]: " + escape(f"{one.names[0]} against {one.names[1]}")]
    if one.difference is not None:
        margin = f"{100 * one.margin:g} points" if one.metric == "success" else f"{one.margin:.4g}"
        difference = _written(one.difference, one.metric, signed=True)
        lines.append(f"difference, mean over tasks: {difference}; it matters from {margin} on")
    if one.improvement is not None:
        better = one.improvement
        lines.append(f"probability of improvement: {better.value:.2f} ({better.low:.2f} to {better.high:.2f})")
    lines += [escape(f"  {why}") for why in one.why[:10]]
    if one.seeds_needed:
        lines.append(f"about {one.seeds_needed:,} seeds of each task would narrow the interval to the margin")
    return lines


def _written(number: Estimate, metric: str, signed: bool = False) -> str:
    import math

    scale, form = (
        (100.0, "{:+.1f}" if signed else "{:.1f}") if metric == "success" else (1.0, "{:+.4g}" if signed else "{:.4g}")
    )
    value = form.format(scale * number.value)
    unit = " %" if metric == "success" and not signed else ""
    if not (math.isfinite(number.low) and math.isfinite(number.high)):
        return f"{value}{unit} (one seed)"
    if number.low == number.high:
        return f"{value}{unit}"
    return f"{value}{unit} ({form.format(scale * number.low)} to {form.format(scale * number.high)})"
