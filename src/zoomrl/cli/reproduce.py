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
from zoomrl.errors import ConfigError, plural
from zoomrl.machine import usable_cores

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.reproduce.cells import Outcome
    from zoomrl.reproduce.experiment import Contrast, Experiment, Scale

_COLOURS = {
    "agrees": "green",
    "differs": "red",
    "underpowered": "yellow",
    "incomplete": "magenta",
    "unfinished": "cyan",
}
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
    part: Annotated[str, arg(metavar="K/N")] = ""
    """A part of the cells, such as 2/3 on the second of three machines; all without it. With the files of cells/ of all
    parts in one directory, the same command without it judges them."""
    retry_failed: FlagCreatePairsOff[bool] = False
    """Try again the cells that failed before."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Say what would be run, and begin nothing."""

    def run(self) -> int:
        """Register, work, judge; 1 when a cell failed."""
        from zoomrl.reproduce.registry import find

        if self.workers < 0:
            raise ConfigError(f"--workers must be at least 0, got {self.workers}")
        if not self.name:
            if self != Reproduce():
                raise ConfigError(
                    "options are of one experiment: zoomrl reproduce NAME ...; without any, all are listed"
                )
            return _list()
        experiment = find(self.name)
        experiment.part(experiment.scale(self.scale), self.part)  # refused before anything is written
        out = self.out or Path("runs") / "reproduce" / f"{experiment.name}-{self.scale}"
        if self.dry_run:
            return _say_what_would_be_run(experiment, self.scale, out, self.part)
        return self._reproduce(experiment, out)

    def _reproduce(self, experiment: Experiment, out: Path) -> int:
        from zoomrl.reproduce.cells import TRAINING, outcomes
        from zoomrl.reproduce.page import failures, write_page
        from zoomrl.reproduce.registration import register, registration_for
        from zoomrl.reproduce.verdict import conclude
        from zoomrl.reproduce.work import Work, alone, check_needs, forget_failures

        registration_for(experiment, self.scale, out)  # before a lock is laid where something else lies
        with alone(out):
            slots = self.workers or usable_cores()
            progress = _Progress(experiment, self.scale, out, slots, self.part)
            begun = registration_for(experiment, self.scale, out) is not None and (out / TRAINING).exists()
            if not begun and not all(one.over for one in outcomes(experiment, self.scale, out, self.part)):
                tasks = plural(len(experiment.scale(self.scale).tasks), "task")
                progress.say(f"looking for what {tasks} need, before anything is run ...")
                check_needs(experiment, self.scale, out)
            register(experiment, self.scale, out)
            if self.retry_failed:
                forget_failures(experiment, self.scale, out)
            progress.say_counts(outcomes(experiment, self.scale, out, self.part))
            work = Work(experiment, self.scale, out, slots, progress.say, self.part)
            with when_stopped(work.stop):
                done = work.run(progress.poll)
            verdict = conclude(experiment, self.scale, out, self._command(experiment))
            write_page(verdict, out)
        _say_verdict(verdict)
        print(f"{out / 'verdict.json'}\n{out / 'index.html'}")
        if not done:
            part = ("--part", self.part) if self.part else ()
            print(f"stopped; the same command goes on: {self._command(experiment, *part)}", file=sys.stderr)
            return 128 + signal.SIGINT
        failed, coming = failures(verdict)
        if coming:
            print(
                f"part {self.part} is over. With the files of {out / 'cells'} of all parts in one directory, the same "
                "command judges them without --part"
            )
        return 1 if failed else 0

    def _command(self, experiment: Experiment, *more: str) -> str:
        where = () if self.out is None else ("--out", self.out)
        return to_type("reproduce", experiment.name, "--scale", self.scale, *where, *more)


class _Progress:
    """What happens, a line each, and once a minute how far it is."""

    def __init__(self, experiment: Experiment, scale: str, out: Path, slots: int, part: str = "") -> None:
        from zoomrl.reproduce.cells import DEMOS
        from zoomrl.reproduce.work import Collecting

        self._of, self._slots = (experiment, scale, out, part), slots
        self._due = time.monotonic() + _SAY_S
        self._collecting = Collecting(out / DEMOS, self.say)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def poll(self) -> None:
        from zoomrl.reproduce.cells import outcomes

        self._collecting.look()
        if time.monotonic() >= self._due:
            self.say_counts(outcomes(*self._of))
            self._due = time.monotonic() + _SAY_S

    def say_counts(self, found: Sequence[Outcome]) -> None:
        from zoomrl.reproduce.cells import seconds_left
        from zoomrl.sweep.state import seconds_in_words

        over = sum(one.over for one in found)
        failed = sum(one.over and one.numbers is None for one in found)
        left = seconds_left(found, self._slots)
        told = f", about {seconds_in_words(left)} left" if left else ""
        self.say(f"{over} of {plural(len(found), 'cell')} over{f', {failed} of them failed' if failed else ''}{told}")


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
    return f"{len(list(experiment.cells(scale)))}: {_hours(experiment, scale)}"


def _hours(experiment: Experiment, scale: Scale) -> str:
    hours = len(list(experiment.cells(scale))) * scale.seconds / 3600
    if hours >= 100:
        return f"{hours:,.0f} h ?"
    # At least a tenth: no experiment takes no time.
    return f"{max(hours, 0.1):.1f} h{' ?' if scale.guessed else ''}"


def _say_what_would_be_run(experiment: Experiment, scale: str, out: Path, part: str) -> int:
    """What it needs, the cells of each arm, contrasts and stop rule; refused where something else is registered."""
    from rich.console import Console

    from zoomrl.reproduce.cells import check_configs, demo_sources, outcomes
    from zoomrl.reproduce.registration import FILE, registration_for

    size, held = experiment.scale(scale), registration_for(experiment, scale, out)
    check_configs(experiment, scale, out)
    found = outcomes(experiment, scale, out, part)
    suites = ", ".join(sorted({task.partition(":")[0] for task in size.tasks}))
    print(f"{experiment.title} ({experiment.name}, {scale} scale)")
    print(f"it needs: the simulators of {suites}{f'; {size.needs}' if size.needs else ''}")
    for source in demo_sources(experiment, scale, out):
        print(f"  {source}: {'there' if Path(source).exists() else 'not there'}")
    hours = _hours(experiment, size).replace("?", "(a guess)")
    print(f"it takes: {hours} on one core, predicted for all cells")
    registered = f"{held['date']} by zoomrl {held['zoomrl']}" if held else "not yet"
    print(f"registered: {registered}, in {out / FILE}")
    print(f"tasks: {', '.join(size.tasks)}\nseeds: {', '.join(map(str, size.seeds))}")
    console = Console(width=None if sys.stdout.isatty() else 140, emoji=False, markup=False)
    console.print(_cells_by_arm(experiment, size, found, part), _contrasts(experiment.contrasts_of(size)))
    print(f"stop rule: {experiment.stop_rule}\nnothing was begun")
    return 0


def _cells_by_arm(experiment: Experiment, scale: Scale, found: Sequence[Outcome], part: str) -> Table:
    from rich.table import Table

    which = f"part {part} of arms x tasks x seeds" if part else "arms x tasks x seeds"
    table = Table("arm", caption=f"{plural(len(found), 'cell')}: {which}")
    for heading in ("tasks", "seeds", "done", "failed", "to do"):
        table.add_column(heading, justify="right")
    for arm in experiment.arms_of(scale):
        own = [one for one in found if one.cell.arm == arm.name]
        done, over = sum(one.numbers is not None for one in own), sum(one.over for one in own)
        counts = (len(scale.tasks_of(arm.name)), len(scale.seeds), done, over - done, len(own) - over)
        table.add_row(arm.name, *map(str, counts))
    return table


def _contrasts(found: Sequence[Contrast]) -> Table:
    from rich.table import Table

    table = Table("contrast", "compares", "expected", caption="contrasts, with their thresholds")
    for one in found:
        against = f" {'/' if one.ratio else '-'} {one.right}" if one.right else ""
        table.add_row(one.name, f"{one.metric}: {one.left}{against}", f"{one.expected} {one.threshold:g}")
    return table


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
