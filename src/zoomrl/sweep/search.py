"""Hyperparameters that Optuna proposes: trials are runs of a sweep, and unpromising ones end early.

The study lies in the sweep's directory, as a journal that several processes may write to. Trial 7 of a search over
seeds 1 and 2 is the runs ``t7-s1`` and ``t7-s2``; its value is the mean of their scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zoomrl.errors import ConfigError, import_optional
from zoomrl.sweep.plan import Sweep, plan, read_sweep
from zoomrl.sweep.space import Axis
from zoomrl.sweep.state import finished
from zoomrl.training.config import TrainConfig

JOURNAL = "optuna.log"
LOCK = ".search.lock"
STUDY = "sweep"
_OF = "of"
PRUNER = "zoomrl.sweep.pruning:Pruning"
_NAME = re.compile(r"t(\d+)-s(\d+)")


def search(
    directory: Path,
    trials: int,
    space: Mapping[str, Axis],
    runs_of: Callable[[Mapping[str, Any]], Mapping[int, TrainConfig]],
    work: Callable[[Sweep, tuple[str, ...]], bool],
    *,
    fixed: Mapping[str, str] | None = None,
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
        fixed: what all trials share, by name: a search goes on with the same alone.
        at_once: trials that are proposed before their results are known, so that all workers have work.
        seed: of the proposals.
        say: prints a line.

    Raises:
        MissingDependencyError: without the extra ``zoomrl[search]``.
        ConfigError: another process searches there, or what was searched there is something else.
    """
    plan(directory, {})  # nobody else's directory, from here on
    with _alone(directory):
        study = open_study(directory, seed)
        _check_same(study, {**(fixed or {}), **{name: axis.text for name, axis in space.items()}})
        states = import_optional("optuna", "search").trial.TrialState

        def running() -> list[int]:
            return [trial.number for trial in study.get_trials(deepcopy=False) if trial.state == states.RUNNING]

        held = set(map(trial_of, read_sweep(directory).runs))
        for number in set(running()) - held:  # a process was killed between asking and writing down
            study.tell(number, state=states.FAIL)
        while True:
            while len(study.get_trials(deepcopy=False)) < trials and len(running()) < at_once:
                trial = study.ask()
                values = {name: axis.proposed(trial, name) for name, axis in space.items()}
                runs = {_run(trial.number, seed): config for seed, config in runs_of(values).items()}
                # Of several seeds, no one of them can end a trial.
                planned = {name: _prunable(one) if len(runs) == 1 else one for name, one in runs.items()}
                plan(directory, planned, repeats=True)
                say(f"trial {trial.number}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
            begun = running()
            if not begun:
                return True
            sweep = read_sweep(directory)
            if not work(sweep, tuple(name for name in sweep.runs if trial_of(name) in begun)):
                return False
            for number in begun:
                _tell(study, number, sweep, say)


def _check_same(study: Any, now: Mapping[str, str]) -> None:
    """Keep what is searched, and what is fixed, with the study; ConfigError where it is not what is kept there."""
    before = study.user_attrs.get(_OF)
    if before is None:
        study.set_user_attr(_OF, dict(now))
        return
    names = sorted(before.keys() | now.keys())
    changed = [f"{name}: {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]
    if changed:
        raise ConfigError(
            "the search that is there was of something else, with which its trials cannot be compared: "
            f"{'; '.join(changed)}. Choose another directory with --out"
        )


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


def _prunable(config: TrainConfig) -> TrainConfig:
    return replace(config, callback=(*config.callback, PRUNER))


def _tell(study: Any, number: int, sweep: Sweep, say: Callable[[str], None]) -> None:
    """Tell the study what came of trial ``number``."""
    optuna = import_optional("optuna", "search")
    scores, pruned = [], False
    for name in (name for name in sweep.runs if trial_of(name) == number):
        result = finished(sweep.run_dir(name), sweep.runs[name])
        if result is None:  # it failed
            study.tell(number, state=optuna.trial.TrialState.FAIL)
            say(f"trial {number}: failed")
            return
        rate = result.get("success_rate")
        score = rate if rate is not None else result.get("return_mean")
        if score is None:
            study.tell(number, state=optuna.trial.TrialState.FAIL)
            say(f"trial {number}: all episodes of its evaluation were lost")
            return
        scores.append(float(score))
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


def trial_of(name: str) -> int | None:
    """Number of the trial that the run ``name`` is one of; None for other runs."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None
