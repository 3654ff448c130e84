"""``zoomrl demos check``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import FlagCreatePairsOff, Positional

from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError, DemonstrationError, plural

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.demos.check.findings import EpisodeAccount, Finding, Report, Rollout
    from zoomrl.demos.check.survey import Survey

_UNASKED = EnvConfig(id="")
_MARKS = {"error": "[red]error[/]", "warning": "[yellow]warning[/]", "note": "[cyan]note[/]"}
_ROWS = 30
_ALIKE = 5


@dataclass(frozen=True)
class CheckDemos:
    """Play demonstrations again in their environment, and look for what would spoil learning from them."""

    path: Positional[Path]
    """Folder of the set."""
    episodes: int = 0
    """Replay the first ones only; 0 replays all. The other checks always cover the whole set."""
    levels: int = 3
    """Zoom levels of the grid that the actions are held against."""
    bins: int = 5
    """Bins per level of the grid."""
    idle: int = 20
    """Steps without motion from which on a pause is reported."""
    no_replay: FlagCreatePairsOff[bool] = False
    """Leave the simulator out; check only what is stored."""
    no_write: FlagCreatePairsOff[bool] = False
    """Leave the set's manifest.json as it is."""
    mark_failed: FlagCreatePairsOff[bool] = False
    """Write the set again, with demonstrations that fail on replay no longer flagged as such."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON instead of tables."""
    env: EnvConfig = field(default_factory=lambda: _UNASKED)

    def run(self) -> int:
        """Check, print and write the manifest; 1 when there is an error among the findings."""
        from zoomrl.demos.check.survey import conclude, survey_set, unmark

        if self.episodes < 0:
            raise ConfigError(f"--episodes must be 0 (all) or more, got {self.episodes}")
        if self.mark_failed and (self.no_replay or self.no_write):
            raise ConfigError("--mark-failed writes down what the replay shows: leave out --no-replay and --no-write")
        survey = survey_set(self.path)
        replays, found = ({}, []) if self.no_replay else self._replay(survey)
        grid = {"levels": self.levels, "bins": self.bins, "idle": self.idle}
        report = conclude(survey, replays, found, **grid)
        failed = report.failed_demos() if self.mark_failed else []
        said = []
        if failed:
            try:
                unmark(survey, failed)
            except (OSError, DemonstrationError):
                self._show(report)  # what was found is not lost with what cannot be written
                raise
            survey = survey_set(self.path)
            report = conclude(survey, replays, found, **grid)
            listed = ", ".join(map(str, failed))
            said.append(f"no longer flagged as demonstrations: {plural(len(failed), 'episode')} ({listed})")
        self._show(report)
        said.append(self._manifest(report, survey))
        if not self.json:
            print(*said, sep="\n")
        return 0 if report.passed else 1

    def _show(self, report: Report) -> None:
        from rich.console import Console

        if self.json:
            print(json.dumps(report.to_dict(), indent=2))
            return
        # Into a pipe or file nothing limits the width; rich would cut the lines short at 80 columns.
        console = Console(width=None if sys.stdout.isatty() else 120, emoji=False)
        for table in _tables(report):
            console.print(table)
        for line in _verdict(report):
            console.print(line, highlight=False, markup=False)

    def _replay(self, survey: Survey) -> tuple[dict[int, Rollout], list[Finding]]:
        from rich.console import Console
        from rich.progress import Progress

        from zoomrl.demos.check.survey import replay_survey

        total = min(self.episodes or len(survey.episodes), len(survey.replayable()))
        with Progress(console=Console(stderr=True, emoji=False), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("replaying", total=total)

            def note(index: int, _: Rollout) -> None:
                progress.update(task, advance=1, description=f"episode {index}")

            return replay_survey(survey, count=self.episodes, asked=self.env, default=_UNASKED, on_episode=note)

    def _manifest(self, report: Report, survey: Survey) -> str:
        from zoomrl.demos.check.manifest import read_manifest, write_manifest

        if self.no_write:
            return "no manifest was written, as asked"
        if survey.spec is None:
            return "no manifest was written: the set cannot be opened"
        with suppress(DemonstrationError):  # one that cannot be read is written anew
            old = read_manifest(self.path)
            same = old is not None and old["sha256"] == report.sha256
            if old is not None and same and old["verdict"] != "passed" and old["replayed"] > report.replayed:
                return "manifest.json is left as it is: the check that it records failed, and replayed more episodes"
        try:
            return f"written: {write_manifest(self.path, report, survey.spec)}"
        except OSError as error:
            text = f"the manifest could not be written: {error.strerror or error}. --no-write checks without one"
            raise OSError(error.errno, text, str(self.path)) from error


def _tables(report: Report) -> Iterator[Table]:
    from rich.markup import escape
    from rich.table import Table

    if report.episodes:
        yield _episodes(report)
    if report.grid is not None:
        yield _actions(report)
    if not report.findings:
        return
    table = Table(title="Findings", show_lines=False)
    table.add_column("", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("what, and what to do", overflow="fold")
    seen: Counter[str] = Counter()
    for finding in report.findings:
        seen[finding.kind] += 1
        if seen[finding.kind] <= _ALIKE:
            text = escape(finding.message) + (f"\n[cyan]{escape(finding.remedy)}[/]" if finding.remedy else "")
            table.add_row(_MARKS[finding.severity], _place(finding), text)
    for kind, count in seen.items():
        if count > _ALIKE:
            table.add_row("", "", f"and {count - _ALIKE} more of {kind}; --json lists them all")
    yield table


def _episodes(report: Report) -> Table:
    from rich.table import Table

    wrong = {f.episode for f in report.findings if f.severity != "note"}
    shown = [a for a in report.episodes if len(report.episodes) <= _ROWS or a.index in wrong][:_ROWS]
    title = f"Demonstrations of {report.env}"
    if len(shown) < len(report.episodes):
        title += f" ({len(shown)} of {plural(len(report.episodes), 'episode')}; the others are in order, or in --json)"
    table = Table(title=title)
    for heading in ("episode", "steps", "demo", "success", "replayed", "differs from", "by", "rewards", "replayed"):
        table.add_column(heading, justify="right")
    for account in shown:
        table.add_row(*_row(account))
    return table


def _row(account: EpisodeAccount) -> list[str]:
    if not account.sha256:
        return [str(account.index), "damaged"]
    success = "assumed" if account.success and account.assumed else _yes(account.success)
    stored = [str(account.index), str(account.length), _yes(account.is_demo), success]
    replay = account.replay
    if replay is None:
        return [*stored, "-", "", "", f"{account.rewards_sum:.4g}", ""]
    differs = "never" if replay.divergence is None else f"step {replay.divergence}"
    largest = max(replay.largest.values(), default=0.0)
    outcome = "stopped" if replay.problem else _yes(replay.success)
    return [*stored, outcome, differs, f"{largest:.2g}", f"{account.rewards_sum:.4g}", f"{replay.rewards_sum:.4g}"]


def _actions(report: Report) -> Table:
    from rich.table import Table

    assert report.grid is not None
    levels, bins = report.grid.levels, report.grid.bins
    table = Table(title=f"Demonstrated actions on a grid of {levels} levels with {bins} bins ({bins**levels} cells)")
    for heading in ("dim", "min", "max", "range / 98 %", "beyond, bounds", "error", "beyond, own range", "error"):
        table.add_column(heading, justify="right")
    for dim, (bounds, own) in enumerate(zip(report.grid.bounds, report.grid.own, strict=True)):
        spread = report.grid.spread[dim]
        table.add_row(
            str(dim),
            *(f"{value:.3g}" for value in (bounds.min, bounds.max)),
            "-" if spread is None else f"{spread:.3g}",
            f"{bounds.beyond_outermost:.1%}",
            f"{bounds.max_error:.2g}",
            *(("-", "-") if own is None else (f"{own.beyond_outermost:.1%}", f"{own.max_error:.2g}")),
        )
    return table


def _verdict(report: Report) -> list[str]:
    counts = ", ".join(plural(count, name) for name, count in report.counts.items())
    how = f"{report.replayed} of {plural(len(report.episodes), 'episode')} replayed"
    if not report.passed:
        verdict = "NOT fit to train on until the errors are mended"
    elif report.replayed:
        verdict = "fit for training"
    else:
        found = "no error was found" if report.counts["warning"] else "nothing found against it"
        verdict = f"{found}, but no episode was replayed in its environment"
    return [f"{counts}; {how}", f"{report.path}: {verdict}"]


def _place(finding: Finding) -> str:
    parts = (("episode", finding.episode), ("step", finding.step), ("dim", finding.dimension))
    return ", ".join(f"{name} {number}" for name, number in parts if number is not None) or "the set"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
