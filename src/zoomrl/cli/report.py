"""What is shown when a run has finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomrl.analysis.curve import plot_curve
from zoomrl.analysis.metrics import read_run
from zoomrl.analysis.plot import plot_runs
from zoomrl.cli.command import to_type
from zoomrl.cli.rendering import rendering_fix
from zoomrl.envs.registry import can_step, code_named
from zoomrl.errors import CheckpointError, plural
from zoomrl.files import as_record, read_json
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.config import TrainConfig, differences
from zoomrl.training.intervals import mean_in_words
from zoomrl.training.result import is_final
from zoomrl.training.run_files import RESULT, read_config
from zoomrl.training.video import STOPPED, in_one_line


def finished_before(config: TrainConfig, directory: Path) -> bool:
    """Whether ``directory`` holds the result of this very config, so that there is nothing left to do."""
    newest = Checkpoints(directory, config.checkpoint.keep).newest()
    if not config.resume or newest is None or not (directory / RESULT).exists():
        return False
    held = read_config(directory)
    result = _result(directory)
    return (
        not differences(held, config)
        and is_final(result, config)
        and result["episodes"] + result.get("episodes_lost", 0) == config.eval.final_episodes
        # A checkpoint beyond the result belongs to a run that was extended and then interrupted.
        and int(newest.stem.split("_")[1]) <= result["env_steps"]
    )


def report(directory: Path, config: TrainConfig) -> None:
    """Print the result of a finished run and where its files are, and plot its curve."""
    run, result = read_run(directory), _result(directory)
    metric = run.natural_metric
    print(f"{_outcome(result)}\n")
    if not can_step(config.env.id):
        _report_recorded(directory, config)
        return
    try:
        plot = str(plot_runs([directory], directory / f"{metric}.png"))
    except Exception as error:  # a result is worth more than its plot
        plot = f"none: {in_one_line(error)}"
    points = run.curve(metric)
    if len(points) > 1:
        steps, values = [p.step for p in points], [p.value for p in points]
        bounds = (0.0, 1.0) if metric == "success" else None
        unit = run.counter.replace("env_steps", "environment steps")
        print(f"{plot_curve(steps, values, bounds=bounds, percent=metric == 'success', unit=unit)}\n")
    checkpoints = Checkpoints(directory, config.checkpoint.keep)
    best = config.eval.keep_best and checkpoints.best.exists()
    checkpoint = checkpoints.best if best else checkpoints.newest()
    for name, value in (
        ("run", directory),
        ("plot", plot),
        ("video", _video(directory, config, result.get("video_problem"))),
        ("checkpoint", checkpoint),
    ):
        print(f"{name:<11} {value}")
    print(f"{'next':<11} {_evaluation(directory, config)}")


def _report_recorded(directory: Path, config: TrainConfig) -> None:
    """Where the files of a run without episodes are, and what can be done with it."""
    for name, value in (
        ("run", directory),
        ("checkpoint", Checkpoints(directory, config.checkpoint.keep).newest()),
        ("next", to_type("export", directory, "--out", Path("bundles") / directory.name)),
    ):
        print(f"{name:<11} {value}")


def _evaluation(directory: Path, config: TrainConfig, *more: object) -> str:
    """The command that evaluates the run. It was made here, so what it names may run again."""
    return to_type("eval", directory, *(["--trust"] if code_named(config.env) else []), *more)


def _result(directory: Path) -> dict[str, Any]:
    path = directory / RESULT
    result = read_json(path)
    found = as_record(result, _Result, str(path))
    if found.episodes and (found.return_mean is None or found.return_std is None):
        raise CheckpointError(f"{path} does not hold what it should: {found.episodes} episodes without a return")
    return result


@dataclass(frozen=True)
class _Result:
    """What must be in ``result.json``; no return where all episodes were lost, no success where none is reported."""

    env_steps: int
    episodes: int
    training_seconds: float
    episodes_lost: int = 0
    return_mean: float | None = None
    return_std: float | None = None
    success_rate: float | None = None
    success_low: float | None = None
    success_high: float | None = None
    validation_loss: float | None = None
    end_reason: str = ""
    successes: list[bool] | None = None


def _outcome(result: dict[str, Any]) -> str:
    count, seconds = result["episodes"], result["training_seconds"]
    lost = result.get("episodes_lost", 0)
    if not count and not lost:
        loss = result.get("validation_loss")
        held = "" if loss is None else f"; loss on demonstrations held out: {loss:.4g}"
        text = f"no episodes were made (eval.final_episodes is 0){held};"
    elif not count:
        text = f"no result: the simulator showed NaN or infinity in all {lost} fresh episodes"
    elif all(result.get(name) is not None for name in ("success_rate", "success_low", "success_high", "successes")):
        low, high = result["success_low"], result["success_high"]
        text = (
            f"success {result['success_rate']:.0%} ({sum(result['successes'])} of {plural(count, 'fresh episode')}; "
            f"95 % interval {low:.0%} to {high:.0%})"
        )
    else:
        mean = mean_in_words(result["return_mean"], result["return_std"], count)
        text = f"return {mean} over {plural(count, 'fresh episode')}"
    duration = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
    if lost and count:
        text += f" ({lost} more were lost: the simulator showed NaN or infinity)"
    return f"{text} after {duration} of training"


def _video(directory: Path, config: TrainConfig, problem: str | None) -> str:
    path = directory / "video.mp4"
    # One that is newer than the result was made by `zoomrl eval`, as advised below.
    if path.exists() and (problem is None or path.stat().st_mtime > (directory / RESULT).stat().st_mtime):
        return str(path)
    if not config.eval.video:
        return "none, since eval.video is off"
    later = _evaluation(directory, config, "--video", path)
    if problem is None:
        return f"none; `zoomrl doctor` says whether images can be rendered here. If so: {later}"
    if problem == STOPPED:
        return f"none: {problem}. {later} writes it"
    return f"none: {problem}\n{'':<12}{rendering_fix(problem)}\n{'':<12}Then: {later}"
