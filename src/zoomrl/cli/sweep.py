"""``zoomrl sweep``, and ``status`` and ``stop`` of one."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zoomrl.cli.command import to_type, when_stopped
from zoomrl.errors import ConfigError, plural
from zoomrl.machine import usable_cores
from zoomrl.recipes.grid import Grid, parse_option, parse_seeds, read_grid

if TYPE_CHECKING:
    from rich.table import Table

    from zoomrl.sweep.plan import Sweep as Planned
    from zoomrl.sweep.predict import Needs
    from zoomrl.sweep.state import RunState
    from zoomrl.training.config import TrainConfig

_MARKS = {"finished": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "waiting": "dim"}
_ROWS = 40
_REFRESH_S = 2.0


@dataclass(frozen=True)
class Sweep:
    """Train every combination of presets, algorithms, environments, options and seeds (also: sweep status, sweep stop).

    Any number of workers may run the same command at once, on all machines that see the directory, and may be killed.
    """

    file: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None
    """TOML file with preset, agent, env, seeds and a table set, in place of the options of these names."""
    preset: tuple[str, ...] = ("quickstart",)
    """Recipes that the other options come from."""
    agent: tuple[str, ...] = ()
    """Algorithms; the preset's own without it."""
    env: tuple[str, ...] = ()
    """Environments; the preset's own without it."""
    seeds: str = "1-4"
    """Seeds, as in 1-8 or 1,2,5."""
    set: Annotated[tuple[str, ...], arg(metavar="[NAME=VALUES ...]")] = ()
    """Options by their full names, with one value or several: steps=20000 agent.lr=1e-3,3e-4."""
    search: Literal["none", "optuna"] = "none"
    """Let Optuna propose values instead of training all: of the options of --set with several values, or with a range
    as log(1e-5,1e-3), float(0,1), int(1,4) or logint(32,512)."""
    trials: int = 20
    """Trials of a search, in all."""
    out: Path = Path("runs/sweep")
    """Directory of the sweep."""
    backend: Literal["local", "ray", "slurm"] = "local"
    """Where runs are trained: in processes of this machine, as tasks of a Ray cluster, or as jobs of SLURM."""
    workers: int = 0
    """Runs at once; 0 is as many as there are cores and memory for."""
    retries: int = 3
    """Times that a run is begun again whose process was killed."""
    retry_failed: FlagCreatePairsOff[bool] = False
    """Try again the runs that ended with an error before."""
    ray_address: str = ""
    """Address of the Ray cluster; empty takes the one that runs here, or begins one on this machine."""
    slurm_partition: str = ""
    """Partition of SLURM to submit to; empty for the cluster's default."""
    slurm_minutes: int = 1440
    """Minutes of each job of SLURM; runs of one that is over go on in the next."""
    slurm_jobs: int = 1
    """Jobs of SLURM; each works on as many runs at once as --workers says."""
    slurm_cluster: Literal["slurm", "local"] = "slurm"
    """local runs the jobs of SLURM on this machine, to try it."""
    slurm_set: Annotated[tuple[str, ...], arg(metavar="[NAME=VALUE ...]")] = ()
    """Further options of sbatch."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Say what would be run and what it takes, and begin nothing."""

    def run(self) -> int:
        """Lay out, predict, and work; 1 when a run failed."""
        from zoomrl.sweep.plan import plan
        from zoomrl.sweep.space import axis_of

        if self.search != "none":
            return self._search()
        grid = self.grid()
        for name, values in grid.options.items():
            if axis_of(name, values).kind != "choice":
                raise ConfigError(f"{name}={values[0]} is a range, which is searched: add --search optuna")
        runs = grid.runs()
        sweep = plan(self.out, runs, write=False)
        if self.retry_failed and not self.dry_run:
            for name in runs:
                sweep.failure(name).unlink(missing_ok=True)
        left = _left(sweep)
        print(f"{plural(len(sweep.runs), 'run')} in {self.out}, {len(left)} of them to be trained")
        needs, slots = self._room(sweep, left)
        if self.dry_run:
            _say_needs(sweep, needs)
            print(f"{plural(slots, 'run')} at once; nothing was begun")
            return 0
        plan(self.out, runs)
        sweep.stop_file.unlink(missing_ok=True)
        if left:
            done = self._work(sweep, left, needs, slots)
            if not done:
                print(f"stopped; the same command goes on: {to_type('sweep', *sys.argv[2:])}", file=sys.stderr)
                return 128 + signal.SIGINT
        return _conclusion(sweep) if self.backend != "slurm" or not left else 0

    def _search(self) -> int:
        """Make the trials, and print the best."""
        from zoomrl.sweep.search import best_values, search
        from zoomrl.sweep.space import axis_of

        grid = self.grid()
        if self.backend == "slurm" or self.dry_run:
            raise ConfigError("a search waits for results: use --backend local or ray, and leave --dry-run out")
        if self.retry_failed:
            raise ConfigError("a trial that failed is over, and others are proposed: leave --retry-failed out")
        if self.trials < 1:
            raise ConfigError(f"--trials must be at least 1, got {self.trials}")
        axes = {name: axis_of(name, values) for name, values in grid.options.items()}
        space = {name: axis for name, axis in axes.items() if axis.kind != "choice" or len(axis.choices) > 1}
        if not space or max(map(len, (grid.preset, grid.agent, grid.env))) > 1:
            raise ConfigError(
                "a search is of options of one preset, agent and environment: give one of each, and several values or "
                "a range, as in --set agent.lr=log(1e-5,1e-3)"
            )

        def runs_of(values: Mapping[str, Any]) -> dict[int, TrainConfig]:
            options = {**grid.options, **{name: (value,) for name, value in values.items()}}
            found = {config.seed: config for config in replace(grid, options=options).runs().values()}
            if not all(config.eval.final_episodes for config in found.values()):
                raise ConfigError("a search chooses by the last evaluation of a run: eval.final_episodes must not be 0")
            return found

        def work(sweep: Planned, names: tuple[str, ...]) -> bool:
            left = [name for name in _left(sweep) if name in names]
            needs, slots = self._room(sweep, left)
            return not left or self._work(sweep, left, needs, slots)

        (self.out / "stop").unlink(missing_ok=True)
        at_once = max(1, (self.workers or usable_cores()) // len(grid.seeds))
        fixed = {name: str(value) for name, value in grid.options.items() if name not in space}
        fixed |= {"preset": grid.preset[0], "agent": str(grid.agent), "env": str(grid.env)}
        if not search(self.out, self.trials, space, runs_of, work, fixed=fixed, at_once=at_once, say=print):
            print(f"stopped; the same command goes on: {to_type('sweep', *sys.argv[2:])}", file=sys.stderr)
            return 128 + signal.SIGINT
        best = best_values(self.out, space)
        if best is None:
            print("no trial came to its end", file=sys.stderr)
            return 1
        values, score = best
        print(f"best: {score:.4g} with " + " ".join(f"{name}={value}" for name, value in values.items()))
        return 0

    def grid(self) -> Grid:
        """What is varied."""
        if self.file is not None:
            given = self.preset != ("quickstart",) or self.agent or self.env or self.seeds != "1-4" or self.set
            if given:
                raise ConfigError(
                    f"{self.file} says what is varied: leave --preset, --agent, --env, --seeds, --set out"
                )
            return read_grid(self.file)
        options = dict(parse_option(text) for text in self.set)
        if len(options) < len(self.set):
            raise ConfigError("--set names an option twice; write its values together: NAME=VALUE,VALUE")
        return Grid(self.preset, self.agent, self.env, parse_seeds(self.seeds), options)

    def _room(self, sweep: Planned, left: Sequence[str]) -> tuple[Mapping[str, Needs], int]:
        """What the runs take, and how many are trained at once; refuses what does not fit."""
        import psutil

        from zoomrl.sweep.predict import check_room, fitting_slots, predict

        needs = predict(sweep, left, lambda text: print(text, file=sys.stderr))
        memory = psutil.virtual_memory().available if self.backend == "local" else sys.maxsize
        there = next(folder for folder in (self.out, *self.out.absolute().parents) if folder.is_dir())
        disk = shutil.disk_usage(there).free
        cores = max((config.cores for config in sweep.runs.values()), default=1)
        slots = self.workers or max(1, usable_cores() // cores)
        if not self.workers and needs:
            fitting = fitting_slots(list(needs.values()), memory)
            if fitting and fitting < slots:
                print(f"memory is enough for {plural(fitting, 'run')} at once", file=sys.stderr)
                slots = fitting
        check_room(list(needs.values()), slots, memory, disk, self.out)
        return needs, slots

    def _work(self, sweep: Planned, left: Sequence[str], needs: Mapping[str, Needs], slots: int) -> bool:
        if self.backend == "slurm":
            from zoomrl.sweep.on_slurm import SlurmOptions, submit

            extra = dict(_pair(text) for text in self.slurm_set)
            options = SlurmOptions(self.slurm_partition, self.slurm_minutes, self.slurm_cluster, extra)
            memory = slots * max((one.memory for one in needs.values()), default=0) / 1e9
            jobs = submit(sweep, self.slurm_jobs, slots, memory, options, self.retries)
            print(f"submitted: {', '.join(job.job_id for job in jobs)}")
            print(f"see how they do: {to_type('sweep', 'status', self.out)}")
            return True
        with _Display(sweep) as display:
            if self.backend == "ray":
                from zoomrl.sweep.on_ray import work

                with when_stopped(sweep.stop_file.touch):  # runs on other machines too
                    return work(
                        sweep,
                        tuple(left),
                        needs,
                        address=self.ray_address,
                        retries=self.retries,
                        say=display.say,
                        on_poll=display.refresh,
                    )
            from zoomrl.sweep.worker import Worker

            worker = Worker(sweep, slots, self.retries, display.say, tuple(left) if self.search != "none" else ())
            with when_stopped(worker.stop):
                return worker.run(display.refresh)


@dataclass(frozen=True)
class SweepStatus:
    """Show how far each run of a sweep has come."""

    directory: Annotated[Positional[Path], arg(metavar="SWEEP")]
    """Directory of the sweep."""
    all: FlagCreatePairsOff[bool] = False
    """List all runs, however many they are."""

    def run(self) -> int:
        """Print the table."""
        from rich.console import Console

        from zoomrl.sweep.plan import read_sweep
        from zoomrl.sweep.state import states

        found = states(read_sweep(self.directory))
        console = Console(width=None if sys.stdout.isatty() else 140, emoji=False)
        console.print(_table(found, None if self.all else _ROWS))
        for state in found:
            if state.state == "failed":
                print(f"{state.name} failed: {state.detail}")
        return 0


@dataclass(frozen=True)
class SweepStop:
    """Ask all workers of a sweep, on whatever machine, to save their runs and end."""

    directory: Annotated[Positional[Path], arg(metavar="SWEEP")]
    """Directory of the sweep."""

    def run(self) -> int:
        """Leave the word that they look for."""
        from zoomrl.sweep.plan import read_sweep

        sweep = read_sweep(self.directory)
        sweep.stop_file.touch()
        print("asked to stop; the command that began the sweep goes on where it was")
        return 0


class _Display:
    """A live table on a terminal; elsewhere one line for each change."""

    def __init__(self, sweep: Planned) -> None:
        from rich.console import Console
        from rich.live import Live

        self._sweep = sweep
        self._console = Console(stderr=True, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._due = 0.0
        self._said: dict[str, str] = {}

    def __enter__(self) -> _Display:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._due = 0.0
        self.refresh()
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def refresh(self) -> None:
        """Show what has changed, at most every two seconds."""
        from zoomrl.sweep.state import states

        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _REFRESH_S
        found = states(self._sweep)
        if self._live is not None:
            self._live.update(_table(found, _ROWS), refresh=True)
            return
        for one in found:
            if one.state != self._said.get(one.name, "waiting") and one.state != "interrupted":
                self.say(f"{one.name}: {one.state}{_result(one)}")
            self._said[one.name] = one.state


def _left(sweep: Planned) -> list[str]:
    """Runs that are neither finished nor failed."""
    from zoomrl.sweep.state import finished

    return [
        name
        for name, config in sweep.runs.items()
        if not sweep.failure(name).exists() and finished(sweep.run_dir(name), config) is None
    ]


def _conclusion(sweep: Planned) -> int:
    """Say how the sweep ended; 1 when a run failed."""
    from zoomrl.sweep.state import states

    found = states(sweep)
    counts = Counter(one.state for one in found)
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    for one in found:
        if one.state == "failed":
            print(f"{one.name} failed: {one.detail} ({sweep.log(one.name)})", file=sys.stderr)
    if counts["failed"]:
        print("--retry-failed tries them again", file=sys.stderr)
    else:
        print(f"plot them with: {to_type('plot', sweep.directory / 'runs')}/*")
    return 1 if counts["failed"] else 0


def _say_needs(sweep: Planned, needs: Mapping[str, Needs]) -> None:
    for name in sweep.runs:
        if name in needs:
            print(f"{name}: {needs[name].memory / 1e9:.2f} GB of memory, {needs[name].disk / 1e9:.2f} GB on disk")
        else:
            print(f"{name}: done")


def _table(found: Sequence[RunState], most: int | None) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from zoomrl.sweep.state import seconds_in_words

    counts = Counter(one.state for one in found)
    table = Table(caption=", ".join(f"{count} {state}" for state, count in counts.items()))
    table.add_column("run", overflow="fold")
    for heading in ("state", "step", "of steps", "success", "return", "time left"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("worker, or error", overflow="fold")
    # Those that something happens to come first where not all are shown.
    order = ("running", "failed", "interrupted", "finished", "waiting")
    shown = (
        list(found) if most is None or len(found) <= most else sorted(found, key=lambda s: order.index(s.state))[:most]
    )
    for one in shown:
        table.add_row(
            escape(one.name),
            f"[{_MARKS[one.state]}]{one.state}[/]",
            f"{one.step:,}",
            f"{one.steps:,}",
            "" if one.success is None else f"{one.success:.0%}",
            "" if one.mean_return is None else f"{one.mean_return:.4g}",
            seconds_in_words(one.seconds_left) if one.state == "running" else "",
            escape(one.detail) if one.state in ("running", "failed") else "",
        )
    return table


def _result(one: RunState) -> str:
    if one.state == "failed":
        return f": {one.detail}"
    if one.state != "finished":
        return ""
    return f", success {one.success:.0%}" if one.success is not None else f", return {one.mean_return or 0:.4g}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigError(f"an option of sbatch is written NAME=VALUE, got {text!r}")
    return name, value
