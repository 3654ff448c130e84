"""Works off the cells of an experiment: measurements in processes of their own, then the training runs as a sweep."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zoomrl.errors import CheckpointError, DemonstrationError
from zoomrl.files import write_json
from zoomrl.machine import end_with_parent_process
from zoomrl.reproduce.cells import (
    DEMOS,
    check_configs,
    check_numbers,
    demo_sources,
    drop_stale,
    failure_file,
    keep,
    keep_trained,
    measured_cells,
    measured_with,
    outcomes,
    result_file,
    runs,
    training,
)
from zoomrl.reproduce.experiment import Arm, Cell, Experiment, Measure, Scale
from zoomrl.reproduce.sources import note_source
from zoomrl.sweep.plan import plan
from zoomrl.sweep.worker import POLL_S, Worker
from zoomrl.training.scripted import is_collected

RETRIES = 3
"""Times that a cell is begun again whose process was killed."""
KEEP_S = 2.0
"""Seconds between two looks for runs that have come to their end."""


def check_needs(experiment: Experiment, scale: str, directory: Path) -> None:
    """Build the environment of each task once, and look for the demonstrations that no script makes.

    Raises:
        ConfigError: there is no such task.
        DemonstrationError: a set is not there.
        MissingDependencyError: its simulator is not installed.
    """
    from zoomrl.envs.config import EnvConfig
    from zoomrl.envs.registry import make_env

    configs = runs(experiment, scale, directory).values()
    for source in demo_sources(experiment, scale, directory):
        if not Path(source).exists():
            needs = experiment.scale(scale).needs
            raise DemonstrationError(
                f"{experiment.name} at this scale needs {needs}, and there is no {source} here. Import the set into "
                "that folder with zoomrl demos import, or call zoomrl where it lies"
            )
    trained = {config.env.id: config.env for config in configs}
    for task in experiment.scale(scale).tasks:
        make_env(replace(trained.get(task, EnvConfig(id=task)), num_envs=1, workers="serial")).close()


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold ``directory`` against other processes.

    Raises:
        CheckpointError: another process is at it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(f"another process is at {directory}; wait for it, or choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def forget_failures(experiment: Experiment, scale: str, directory: Path) -> None:
    """Let the cells that failed be tried again.

    Raises:
        CheckpointError: a run has come to its end and cannot be read.
    """
    for cell in measured_cells(experiment, scale):
        failure_file(directory, cell).unlink(missing_ok=True)
    sweep = training(experiment, scale, directory)
    for name in sweep.runs:
        sweep.failure(name).unlink(missing_ok=True)
    for one in outcomes(experiment, scale, directory):
        if one.over and one.numbers is None and one.cell.name in sweep.runs:
            raise CheckpointError(
                f"{one.cell.name} has come to its end, and {one.problem}. Remove {sweep.run_dir(one.cell.name)} to run "
                "it again"
            )


class Collecting:
    """Tells of the demonstrations that cells collect: they do so by themselves, and the first cells wait for them.

    Args:
        directory: of the sets.
        say: prints a line.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory, self._say = directory, say
        self._began = time.time()
        self._due = 0.0
        self._told: set[Path] = set()

    def look(self) -> None:
        """Say which sets have begun or are whole since the last look; once a second at most."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + 1
        for lock in sorted(self._directory.glob(".*.lock")):
            path = self._directory / lock.name.removeprefix(".").removesuffix(".lock")
            if is_collected(path):
                if path in self._told:
                    self._told.remove(path)
                    self._say(f"collected {path}")
            # A collection that was killed has left its lock.
            elif path not in self._told and lock.stat().st_mtime > self._began - 1:
                self._told.add(path)
                self._say(f"collecting demonstrations into {path}; the cells that learn from them wait")


class Work:
    """Cells of an experiment that are not over.

    Args:
        experiment, scale, directory: which, and where; it is registered there.
        part: which of them, as :meth:`Experiment.part` has it.
        slots: cells at once.
        say: prints a line.
    """

    def __init__(
        self,
        experiment: Experiment,
        scale: str,
        directory: Path,
        slots: int,
        say: Callable[[str], None],
        part: str = "",
    ) -> None:
        self._stopping = False
        found = outcomes(experiment, scale, directory, part)
        left = [one.cell for one in found if not one.over]
        if left:
            note_source(directory)
        measured = [cell for cell in left if experiment.arm(cell.arm).measured]
        self._measuring = Measuring(experiment, experiment.scale(scale), directory, slots, measured, say)
        self._training: Worker | None = None
        self._keep: Callable[[], None] = lambda: None
        configs = runs(experiment, scale, directory)
        if configs:
            check_configs(experiment, scale, directory)
            sweep = plan(training(experiment, scale, directory).directory, configs)
            sweep.stop_file.unlink(missing_ok=True)
            drop_stale(found, directory)
            trained = [one.cell for one in found if one.cell.name in configs]
            self._keep = partial(keep_trained, experiment, sweep, trained, directory)
            if names := tuple(cell.name for cell in left if cell.name in configs):
                self._training = Worker(sweep, slots, RETRIES, say, names)

    def stop(self) -> None:
        """End soon: runs save a checkpoint, measurements under way are left."""
        self._stopping = True
        self._measuring.stop()
        if self._training is not None:
            self._training.stop()

    def run(self, on_poll: Callable[[], None] = lambda: None) -> bool:
        """Work until all of them are over or :meth:`stop` was called; whether they are."""

        due = 0.0

        def poll() -> None:
            nonlocal due
            if time.monotonic() >= due:
                self._keep()
                due = time.monotonic() + KEEP_S
            on_poll()

        done = self._measuring.run(on_poll)
        if done and self._training is not None and not self._stopping:
            done = self._training.run(poll)
        self._keep()
        return done and not self._stopping


@dataclass
class Measuring:
    """Measures cells, each in a process of its own, at most ``slots`` at once."""

    experiment: Experiment
    scale: Scale
    directory: Path
    slots: int
    left: list[Cell]
    say: Callable[[str], None]
    _context: Any = None
    _processes: dict[Cell, BaseProcess] = field(default_factory=dict)
    _killed: dict[Cell, int] = field(default_factory=dict)
    _stopping: bool = False

    def __post_init__(self) -> None:
        # Processes that know nothing of this one: threads of libraries do not survive a fork. Where there is a server
        # that forks them, it loads the libraries once.
        self._context = multiprocessing.get_context(
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        if self.experiment.measure is not None:
            multiprocessing.set_forkserver_preload([self.experiment.measure.__module__])

    def stop(self) -> None:
        """Leave what is under way."""
        self._stopping = True
        for process in self._processes.values():
            process.terminate()

    def run(self, on_poll: Callable[[], None] = lambda: None) -> bool:
        """Measure until nothing is left; False when stopped before."""
        try:
            while self._processes or (self.left and not self._stopping):
                while self.left and len(self._processes) < self.slots and not self._stopping:
                    cell = self.left.pop(0)
                    self._processes[cell] = self._start(cell)
                self._reap()
                on_poll()
                time.sleep(POLL_S / 4)
        finally:
            for process in self._processes.values():
                process.terminate()
        return not self.left and not self._stopping

    def _start(self, cell: Cell) -> BaseProcess:
        arm = self.experiment.arm(cell.arm)
        process = self._context.Process(
            target=measure_one, args=(self.experiment.measure, arm, cell, self.scale, self.directory)
        )
        with _one_thread():
            process.start()
        return process

    def _reap(self) -> None:
        for cell, process in list(self._processes.items()):
            if process.is_alive():
                continue
            process.join()
            del self._processes[cell]
            if result_file(self.directory, cell).exists():
                self.say(f"{cell.name}: measured")
            elif failure_file(self.directory, cell).exists():
                self.say(f"{cell.name}: failed: see {failure_file(self.directory, cell)}")
            elif not self._stopping:
                self._again(cell, process.exitcode)

    def _again(self, cell: Cell, status: int | None) -> None:
        self._killed[cell] = self._killed.get(cell, 0) + 1
        what = f"its process ended with status {status}"
        if self._killed[cell] > RETRIES:
            fail(self.directory, cell, f"{what}, {self._killed[cell]} times")
            return
        self.say(f"{cell.name}: {what}; it is begun again")
        self.left.insert(0, cell)


def measure_one(measure: Measure, arm: Arm, cell: Cell, scale: Scale, directory: Path) -> None:
    """Measure a cell and keep its numbers, or why there are none. For a process of its own."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to pass on
        end_with_parent_process()
    began = time.monotonic()
    try:
        numbers = check_numbers(measure(arm, cell.task, cell.seed, scale, directory / DEMOS))
    except Exception as error:  # a measurement runs simulators, which raise what they like
        fail(directory, cell, f"{type(error).__name__}: {error}")
        return
    keep(directory, cell, numbers, time.monotonic() - began, measured_with(arm, scale))


def fail(directory: Path, cell: Cell, message: str) -> None:
    """Keep that a measurement is not to be tried again, and why."""
    path = failure_file(directory, cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"message": message, "date": datetime.now(UTC).isoformat(timespec="seconds")})


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started here use one thread each."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
