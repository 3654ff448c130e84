"""Hyperparameters that Optuna proposes: trials are runs of a sweep, and unpromising ones end early.

The study lies in the sweep's directory, as a journal that several processes may write to. Trial 7 of a search over
seeds 1 and 2 is the runs ``t7-s1`` and ``t7-s2``; its value is the mean of their scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from zoomrl.errors import ConfigError, import_optional
from zoomrl.sweep.plan import Sweep, plan, read_sweep
from zoomrl.sweep.state import finished
from zoomrl.training.callbacks import Callback
from zoomrl.training.config import TrainConfig

if TYPE_CHECKING:
    from zoomrl.training.callbacks import Run
    from zoomrl.training.evaluate import Evaluation

JOURNAL = "optuna.log"
LOCK = ".search.lock"
STUDY = "sweep"
PRUNER = "zoomrl.sweep.search:Pruning"
_NAME = re.compile(r"t(\d+)-s(\d+)")
_SPACE = re.compile(r"(log|int|float|logint)\(([^,]+),([^,]+)\)")


@dataclass(frozen=True)
class Axis:
    """One option that is searched.

    Attributes:
        kind: ``float``, ``log``, ``int``, ``logint`` or ``choice``.
        low, high: of a range.
        choices: the values of a choice.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    def proposed(self, trial: Any, name: str) -> Any:
        """The value that ``trial`` takes."""
        if self.kind == "choice":
            # Optuna keeps plain values alone.
            return self.choices[trial.suggest_categorical(name, list(range(len(self.choices))))]
        log = self.kind.startswith("log")
        if self.kind.endswith("int"):
            return trial.suggest_int(name, round(self.low), round(self.high), log=log)
        return trial.suggest_float(name, self.low, self.high, log=log)


def axis_of(name: str, values: Sequence[Any]) -> Axis:
    """``log(1e-5,1e-3)``, ``int(2,8)`` and the like as a range; several values as a choice.

    Raises:
        ConfigError: a range whose ends are no numbers, or the wrong way round.
    """
    found = _SPACE.fullmatch(str(values[0]).replace(" ", "")) if len(values) == 1 else None
    if found is None:
        return Axis("choice", choices=tuple(values))
    try:
        low, high = float(found[2]), float(found[3])
    except ValueError as error:
        raise ConfigError(f"{name}: the ends of {values[0]} must be numbers") from error
    if not low < high or (found[1].startswith("log") and low <= 0):
        raise ConfigError(f"{name}: {values[0]} must rise, and begin above 0 where it is logarithmic")
    return Axis(found[1], low, high)


def search(
    directory: Path,
    trials: int,
    space: Mapping[str, Axis],
    runs_of: Callable[[Mapping[str, Any]], Mapping[int, TrainConfig]],
    work: Callable[[Sweep, tuple[str, ...]], bool],
    *,
    at_once: int = 1,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> bool:
    """Make ``trials`` trials in all; whether they were made. A search that was killed goes on.

    Args:
        directory: of the sweep.
        trials: in all, those that were made before among them.
        space: full name of an option -> where it is searched.
        runs_of: the configs of a trial by seed, from the values that it proposes.
        work: trains runs of the sweep by name; whether all are done.
        at_once: trials that are proposed before their results are known, so that all workers have work.
        seed: of the proposals.
        say: prints a line.

    Raises:
        MissingDependencyError: without the extra ``zoomrl[search]``.
        ConfigError: another process searches there.
    """
    plan(directory, {})  # nobody else's directory, from here on
    with _alone(directory):
        return _search(directory, trials, space, runs_of, work, at_once, seed, say)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process proposes: two would tell the study of one another's trials."""
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process searches in {directory}; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def _search(
    directory: Path,
    trials: int,
    space: Mapping[str, Axis],
    runs_of: Callable[[Mapping[str, Any]], Mapping[int, TrainConfig]],
    work: Callable[[Sweep, tuple[str, ...]], bool],
    at_once: int,
    seed: int,
    say: Callable[[str], None],
) -> bool:
    """Search as :func:`search` says, while no other process does."""
    study = open_study(directory, seed)
    states = import_optional("optuna", "search").trial.TrialState

    def running() -> list[int]:
        return [trial.number for trial in study.get_trials(deepcopy=False) if trial.state == states.RUNNING]

    held = set(map(_number, read_sweep(directory).runs))
    for number in set(running()) - held:  # a process was killed between asking and writing down
        study.tell(number, state=states.FAIL)
    while True:
        while len(study.get_trials(deepcopy=False)) < trials and len(running()) < at_once:
            trial = study.ask()
            values = {name: axis.proposed(trial, name) for name, axis in space.items()}
            runs = {_run(trial.number, seed): config for seed, config in runs_of(values).items()}
            # Of several seeds, no one of them can end a trial.
            plan(directory, {name: _prunable(config) if len(runs) == 1 else config for name, config in runs.items()})
            say(f"trial {trial.number}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
        begun = running()
        if not begun:
            return True
        sweep = read_sweep(directory)
        if not work(sweep, tuple(name for name in sweep.runs if _number(name) in begun)):
            return False
        for number in begun:
            _tell(study, number, sweep, say)


def open_study(directory: Path, seed: int = 0) -> Any:
    """The study of the sweep in ``directory``; it is begun where there is none."""
    optuna = import_optional("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = import_optional("optuna.storages.journal", "search")
    directory.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(directory / JOURNAL)))
    study = optuna.create_study(
        study_name=STUDY,
        storage=storage,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        direction="maximize",
        load_if_exists=True,
    )
    # A search that goes on proposes other values than those that it began with.
    made = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=seed * 100_000 + made, constant_liar=True)
    return study


class Pruning(Callback):
    """Tells Optuna each evaluation of a trial, and ends the run where the median of the others was better by then."""

    def __init__(self) -> None:
        self._trial: Any = None

    def on_start(self, run: Run) -> None:
        """Find the trial that the run is, by its directory."""
        number = _number(run.directory.name)
        if number is None:
            raise ConfigError(f"{PRUNER} is for the runs of a search, and {run.directory.name} is none")
        optuna = import_optional("optuna", "search")
        study = open_study(run.directory.parents[1])
        trial = study.get_trials(deepcopy=False)[number]
        self._trial = optuna.trial.Trial(study, trial._trial_id)

    def on_evaluation(self, run: Run, evaluation: Evaluation, row: Mapping[str, Any]) -> None:
        """Report it; a step that was reported before a kill is not reported again."""
        if evaluation.score is None:
            return
        step = run.counters["env_steps"] or run.counters["updates"]
        rate = evaluation.success_rate
        self._trial.report(evaluation.return_mean if rate is None else rate, step)
        if self._trial.should_prune():
            run.end(f"pruned at step {step:,}: the median of the trials before was better")


def _prunable(config: TrainConfig) -> TrainConfig:
    return replace(config, callback=(*config.callback, PRUNER))


def _tell(study: Any, number: int, sweep: Sweep, say: Callable[[str], None]) -> None:
    """Tell the study what came of trial ``number``."""
    optuna = import_optional("optuna", "search")
    scores, pruned = [], False
    for name in (name for name in sweep.runs if _number(name) == number):
        result = finished(sweep.run_dir(name), sweep.runs[name])
        if result is None:  # it failed
            study.tell(number, state=optuna.trial.TrialState.FAIL)
            say(f"trial {number}: failed")
            return
        rate = result.get("success_rate")
        scores.append(float(rate if rate is not None else result["return_mean"]))
        pruned |= str(result.get("end_reason", "")).startswith("pruned")
    value = sum(scores) / len(scores)
    study.tell(number, value, state=optuna.trial.TrialState.PRUNED if pruned else None)
    say(f"trial {number}: {value:.4g}{', pruned' if pruned else ''}; best so far {_best(study)}")


def _best(study: Any) -> str:
    try:
        return f"{study.best_value:.4g} (trial {study.best_trial.number})"
    except ValueError:
        return "none"


def best_values(directory: Path, space: Mapping[str, Axis]) -> tuple[dict[str, Any], float] | None:
    """The options of the best trial and its value; None where no trial was completed."""
    study = open_study(directory)
    try:
        found = study.best_trial
    except ValueError:
        return None
    values = {
        name: axis.choices[found.params[name]] if axis.kind == "choice" else found.params[name]
        for name, axis in space.items()
    }
    return values, float(found.value)


def _run(number: int, seed: int) -> str:
    return f"t{number}-s{seed}"


def _number(name: str) -> int | None:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None
