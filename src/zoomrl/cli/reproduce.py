"""``zoomrl reproduce``: an experiment of a paper, registered, run and judged."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import to_type, when_stopped
from zoomrl.errors import plural
from zoomrl.machine import usable_cores

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.reproduce.cells import Outcome
    from zoomrl.reproduce.experiment import Experiment, Scale

_COLOURS = {"agrees": "green", "differs": "red", "underpowered": "yellow", "unfinished": "cyan"}
_SAY_S = 60.0
"""Seconds between two lines on how far it is."""


@dataclass(frozen=True)
class Reproduce:
    """Repeat an experiment of a paper, or list them: registered first, judged by what was registered.

    The same command goes on where it was; when all is finished, it writes verdict and page again.
    """

    name: Annotated[Positional[str], arg(metavar="[NAME]")] = ""
    """Experiment; without it, all are listed."""
    scale: Literal["small", "full"] = "small"
    """Small for two cores and state, or full for the paper's tasks, which need their simulators."""
    out: Path | None = None
    """Directory; runs/reproduce/NAME-SCALE without it."""
    workers: int = 0
    """Cells at once, each on one core; 0 is as many as there are cores."""
    retry_failed: FlagCreatePairsOff[bool] = False
    """Try again the cells that failed before."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Say what would be run, and begin nothing."""

    def run(self) -> int:
        """Register, work, judge; 1 when a cell failed."""
        from zoomrl.reproduce.registry import find

        if not self.name:
            return _list()
        experiment = find(self.name)
        out = self.out or Path("runs") / "reproduce" / f"{experiment.name}-{self.scale}"
        if self.dry_run:
            return _say_cells(experiment, self.scale, out)
        return self._reproduce(experiment, out)

    def _reproduce(self, experiment: Experiment, out: Path) -> int:
        from zoomrl.reproduce.cells import outcomes
        from zoomrl.reproduce.page import write_page
        from zoomrl.reproduce.registration import register
        from zoomrl.reproduce.verdict import conclude
        from zoomrl.reproduce.work import Work, alone, check_needs, forget_failures

        with alone(out):
            if not (out / "registration.json").exists():
                check_needs(experiment, self.scale, out)
            register(experiment, self.scale, out)
            if self.retry_failed:
                forget_failures(experiment, self.scale, out)
            progress = _Progress(experiment, self.scale, out)
            progress.say_counts(outcomes(experiment, self.scale, out))
            work = Work(experiment, self.scale, out, self.workers or usable_cores(), progress.say)
            with when_stopped(work.stop):
                done = work.run(progress.poll)
            verdict = conclude(experiment, self.scale, out, self._command(experiment))
            write_page(verdict, out)
        _say_verdict(verdict)
        print(f"{out / 'verdict.json'}\n{out / 'index.html'}")
        if not done:
            print(f"stopped; the same command goes on: {to_type('reproduce', *sys.argv[2:])}", file=sys.stderr)
            return 128 + signal.SIGINT
        return 1 if verdict["missing"] else 0

    def _command(self, experiment: Experiment) -> str:
        where = () if self.out is None else ("--out", self.out)
        return to_type("reproduce", experiment.name, "--scale", self.scale, *where)


class _Progress:
    """What happens, a line each, and once a minute how far it is."""

    def __init__(self, experiment: Experiment, scale: str, out: Path) -> None:
        self._of = (experiment, scale, out)
        self._due = time.monotonic() + _SAY_S

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def poll(self) -> None:
        from zoomrl.reproduce.cells import outcomes

        if time.monotonic() >= self._due:
            self.say_counts(outcomes(*self._of))
            self._due = time.monotonic() + _SAY_S

    def say_counts(self, found: Sequence[Outcome]) -> None:
        over = sum(one.over for one in found)
        failed = sum(one.over and one.numbers is None for one in found)
        self.say(f"{over} of {plural(len(found), 'cell')} over" + (f", {failed} of them failed" if failed else ""))


def _list() -> int:
    from rich.console import Console

    from zoomrl.reproduce.registry import experiments

    console = Console(width=None if sys.stdout.isatty() else 140, emoji=False)
    console.print(_listed(experiments()))
    return 0


def _listed(found: Any) -> Table:
    from rich.table import Table

    table = Table(caption="cells, and predicted hours on one core (?: a guess); zoomrl reproduce NAME runs one")
    for heading in ("experiment", "asks", "small", "full"):
        table.add_column(heading, no_wrap=heading != "asks")
    for experiment in found:
        sizes = [_size(experiment, experiment.scales[name]) for name in ("small", "full")]
        table.add_row(experiment.name, experiment.title, *sizes)
    return table


def _size(experiment: Experiment, scale: Scale) -> str:
    count = len(list(experiment.cells(scale)))
    hours = count * scale.seconds / 3600
    return f"{count}: {hours:.1f} h{' ?' if scale.guessed else ''}" if hours < 100 else f"{count}: {hours:,.0f} h ?"


def _say_cells(experiment: Experiment, scale: str, out: Path) -> int:
    from zoomrl.reproduce.cells import outcomes

    size = experiment.scale(scale)
    print(f"{experiment.title} ({_size(experiment, size)} on one core)")
    for one in outcomes(experiment, scale, out):
        print(f"  {one.cell.name}: {'done' if one.numbers is not None else one.problem}")
    if size.needs:
        print(f"it needs {size.needs}")
    print("nothing was begun")
    return 0


def _say_verdict(verdict: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    from zoomrl.reproduce.page import failures, in_words

    console = Console(width=None if sys.stdout.isatty() else 140, emoji=False)
    failed, coming = failures(verdict)
    for one in verdict["claims"]:
        if one["pairs"] == 0 and coming:
            continue
        mark = f"[{_COLOURS[one['verdict']]}]{one['verdict']}[/]"
        console.print(f"{mark}  {escape(one['name'])}: {escape(in_words(one))}", highlight=False)
    for one in failed:
        console.print(f"{escape(one['cell'])}: {escape(one['why'])}", highlight=False)
    if coming:
        print(f"{plural(coming, 'cell')} to come")
