"""A callback that ends the unpromising runs of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoomrl.errors import ConfigError, import_optional
from zoomrl.sweep.search import open_study, trial_of
from zoomrl.training.callbacks import Callback

if TYPE_CHECKING:
    from zoomrl.training.callbacks import Run
    from zoomrl.training.evaluate import Evaluation


class Pruning(Callback):
    """Tells Optuna each evaluation of a trial, and ends the run where the median of the others was better by then."""

    def __init__(self) -> None:
        self._trial: Any = None

    def on_start(self, run: Run) -> None:
        """Find the trial that the run is, by its directory."""
        number = trial_of(run.directory.name)
        if number is None:
            raise ConfigError(f"this callback is for the runs of a search, and {run.directory.name} is none")
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
