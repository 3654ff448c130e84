"""From a config to a finished run."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from zoomrl.control.scaling import ActionScaler, make_scaler
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.errors import CheckpointError, ConfigError, import_optional
from zoomrl.intervention.corrector import Corrector, make_source
from zoomrl.intervention.source import Recording
from zoomrl.spec import EnvSpec
from zoomrl.training import builders
from zoomrl.training.announce import announce_demonstrated
from zoomrl.training.callbacks import Callback, Callbacks, make_callbacks
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.config import TrainConfig, changed_evaluations, differences, run_directory
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.finish import finish
from zoomrl.training.lock import run_lock
from zoomrl.training.logger import Logger, make_sinks
from zoomrl.training.measure.memory import expected_memory, peak_rss, readable
from zoomrl.training.measure.trial import Trial
from zoomrl.training.progress import ProgressLine
from zoomrl.training.rows import METRICS
from zoomrl.training.run_files import (
    CONFIG,
    POLICY,
    RESULT,
    THREADS,
    read_config,
    read_policy_file,
    read_threads,
    run_id,
    write_run_files,
)
from zoomrl.training.seeds import derive
from zoomrl.training.signals import StopRequest
from zoomrl.training.trainer import Trainer


@dataclass(frozen=True)
class RunResult:
    """Outcome of :func:`train`.

    Attributes:
        directory: of the run.
        finished: False when a signal stopped it; running the same config again resumes.
        evaluation: the evaluation at the end; None when stopped.
        training_seconds: wall time of the run's learning so far, evaluations during training included.
        video: the video that was made.
        video_problem: why there is none.
        stopped_by: the signal that stopped it, if one did.
    """

    directory: Path
    finished: bool
    evaluation: Evaluation | None
    training_seconds: float
    video: Path | None
    video_problem: str | None
    stopped_by: signal.Signals | None = None


def train(
    config: TrainConfig,
    *,
    make_env: builders.Factory | None = None,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
) -> RunResult:
    """Train as ``config`` says, or continue the run that its directory holds.

    Args:
        config: the run; see :mod:`zoomrl.recipes` for presets.
        make_env: builds one environment of your own (any Gymnasium environment with Box spaces), in place of
            ``config.env.id``.
        callbacks: hooks into the run, besides those that ``config.callback`` names.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: an option or combination that cannot work.
        DemonstrationError: the demonstrations are damaged or do not fit the environment.
        CheckpointError: the run directory holds another config, or cannot be read or written.
        NonFiniteLossError: learning diverged.
    """
    console = console or Console(stderr=True)
    directory = run_directory(config)
    hooks = Callbacks([*make_callbacks(config.callback), *callbacks])
    with ExitStack() as stack:
        # A run that is refused below leaves no directory behind; one that is there is held, and refused, at once.
        fresh = not directory.exists()
        if not fresh:
            lock = stack.enter_context(run_lock(directory))
            _claim(config, directory)
        if config.log.wandb:
            import_optional("wandb", "wandb")  # said before anything slow is done
        stop = stack.enter_context(StopRequest())
        envs = stack.enter_context(make_vector_env(config.env, factory=make_env))
        spec = envs.env_spec

        def say(text: str) -> None:
            console.print(text, highlight=False)

        source = make_source(config.intervene, envs, say)
        if source is not None:
            stack.callback(source.close)
        builders.announce_cameras(config.env, spec, console)
        device = builders.choose_device(config.device)
        builders.check_agent(config, spec, device, console)
        eval_envs = stack.enter_context(make_vector_env(config.env, config.eval.num_envs, make_env, apart_from=envs))
        demos = builders.load_demos(config, spec, make_env is not None, console)
        episodes, held = builders.hold_out(builders.choose_episodes(config, demos), config.demos.validation)
        scaler = make_scaler(config.control, spec.action, episodes, spec.action_meaning)
        builders.check_demonstrated(config, episodes)
        announce_demonstrated(config, spec, episodes, scaler, say)
        agent = builders.build_agent(config, spec, episodes, device, scaler)
        if fresh:
            lock = stack.enter_context(run_lock(directory))
            _claim(config, directory)
        run = run_id(directory)
        checkpoints = Checkpoints(directory, config.checkpoint.keep, run, lock)
        replay = builders.build_replay(config, spec, agent, episodes, scaler, directory, console, device)
        validation = builders.build_validation(config, spec, agent, held, scaler, device)
        fingerprint = {
            "demos_sha256": demos.sha256 if demos else "",
            "corrections_sha256": source.sha256 if isinstance(source, Recording) else "",
        }
        del demos, episodes, held  # the replay holds their frames now
        builders.set_threads(config, spec, directory, console, device)
        loaded = checkpoints.load()
        if loaded is not None:
            _check_same(directory, fingerprint, device, scaler, spec)
            if config.steps < loaded[0]["env_steps"]:
                raise ConfigError(
                    f"{directory} is at step {loaded[0]['env_steps']} already, beyond steps={config.steps}. "
                    "Ask for more steps, or choose another --run-dir."
                )
            if changed := changed_evaluations(read_config(directory), config):
                say(f"evaluations go on, and are made again at the end, with other options: {', '.join(changed)}")
        write_run_files(config, directory, spec, scaler, fingerprint, device.type, run)
        state = loaded[0] if loaded else {}
        sinks = make_sinks(config, directory, state.get("env_steps", 0))
        logger = Logger(directory, state.get("log_position", 0), sinks, state.get("log_sha256", ""), say)
        del state
        stack.callback(logger.close)
        eval_seeds = [derive(config.seed, "eval_env", index) for index in range(config.eval.episodes)]

        def evaluator(step: int) -> Evaluation | None:
            ties = derive(config.seed, "eval_ties", step)
            tester = builders.build_controller(config, agent, scaler, config.eval.num_envs, ties)
            return evaluate(tester, eval_envs, eval_seeds, discount=config.replay.discount, stop=stop.asked)

        corrector = None
        if source is not None:
            corrector = Corrector(source, config.intervene.env, spec, scaler, replay, directory, say)
        ties, explorer = derive(config.seed, "ties"), builders.build_explorer(config)
        with ProgressLine(console, config.log.every) as progress:
            trainer = Trainer(
                config,
                directory,
                agent=agent,
                replay=replay,
                controller=builders.build_controller(config, agent, scaler, envs.num_envs, ties, explorer),
                envs=envs,
                evaluator=evaluator,
                validation=validation,
                corrector=corrector,
                callbacks=hooks,
                checkpoints=checkpoints,
                logger=logger,
                progress=progress,
                stop=stop.asked,
                say=say,
            )
            if loaded is None:
                if corrector is not None:
                    corrector.clear()
                if "rgb" in spec.observations:
                    for index in range(envs.num_envs):  # renderers are built at the first image: before measuring
                        envs.reset(index, derive(config.seed, "train_env", index, 0))
            else:
                checkpoints.restore_replay(loaded[0], replay)
                trainer.load_state_dict(loaded[0])
                console.print(f"resuming at step {trainer.env_steps} from {loaded[1]}", highlight=False)
            del loaded
            trial = partial(Trial, config, spec, device, config.precision)
            memory = expected_memory(config, replay, envs, eval_envs, trial)
            console.print(memory.line(), highlight=False)
            finished = trainer.run()
        seconds = trainer.seconds
        outcome = None
        if finished:
            counters = trainer.counters
            best = checkpoints.load_best(trainer.state_dict(), ended=True) if config.eval.keep_best else None
            if best is not None:
                agent.load_state_dict(best["agent"])
                counters = {**counters, "best_env_steps": best["env_steps"], "best_updates": best["updates"]}
                console.print(
                    f"best evaluation: after {best['env_steps']:,} steps and {best['updates']:,} updates; these "
                    "weights are used",
                    highlight=False,
                )
            tester = builders.build_controller(
                config, agent, scaler, config.eval.num_envs, derive(config.seed, "eval_ties")
            )
            outcome = finish(config, directory, tester, eval_envs, logger, counters, seconds, memory.total, stop.asked)
        if outcome is None:
            console.print(
                f"stopped by {stop.signal.name if stop.signal else 'request'} at step {trainer.env_steps}; saved. "
                "Run the same command again to resume.",
                highlight=False,
            )
            return RunResult(directory, False, None, seconds, None, None, stop.signal)
        console.print(
            f"memory: {readable(peak_rss())} at most; {readable(memory.total)} were expected", highlight=False
        )
        return RunResult(directory, True, outcome.evaluation, seconds, outcome.video, outcome.video_problem)


def _claim(config: TrainConfig, directory: Path) -> None:
    """Refuse a directory that holds another run, or of this run something but nothing that can be resumed."""
    checkpoints = Checkpoints(directory, config.checkpoint.keep)
    traces = [*checkpoints.traces(), *(name for name in (METRICS, RESULT) if _has_content(directory / name))]
    if not (directory / CONFIG).exists():
        if traces:
            raise CheckpointError(
                f"{directory} holds a run ({', '.join(traces)}) but no {CONFIG}, by which it would be known. Restore "
                "that file from a copy, or choose another --run-dir"
            )
        return
    changed = differences(read_config(directory), config)
    if changed:
        raise CheckpointError(
            f"{directory} holds a run with another config, which is not overwritten. Its {CONFIG} differs in:\n  "
            + "\n  ".join(changed)
            + "\nChoose another --run-dir, or delete that directory."
        )
    if not config.resume:
        raise CheckpointError(
            f"{directory} holds this run already, and resume is off. Choose another --run-dir, or delete "
            f"that directory."
        )
    if traces and checkpoints.newest() is None:
        raise CheckpointError(
            f"{directory} holds a run ({', '.join(traces)}) but no checkpoint to resume it from. Restore one from a "
            "copy, or choose another --run-dir; nothing was changed"
        )
    if checkpoints.newest() is not None and not config.threads and read_threads(directory) is None:
        raise CheckpointError(
            f"{directory} has no {THREADS} any more: with how many CPU threads it was trained is unknown, and sums "
            "depend on it. Restore that file from a copy, or say --threads"
        )


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _check_same(
    directory: Path, fingerprint: Mapping[str, str], device: torch.device, scaler: ActionScaler, spec: EnvSpec
) -> None:
    """Refuse to go on in another environment, with other demonstrations, corrections or action range, or elsewhere."""
    held = read_policy_file(directory)
    before = held.env_spec(directory / POLICY)
    changed = before.mismatches(spec)
    for name in ("reports_success", "reward", "time_limit", "image_fit", "image_crop", "camera_sizes"):
        was, now = getattr(before, name), getattr(spec, name)
        changed += [f"{name} {was!r} against {now!r}"] if was != now else []
    if changed:
        raise CheckpointError(
            f"the environment is not the one that {directory} was trained in:\n  "
            + "\n  ".join(changed)
            + "\n(then against now). Bring that environment back, in its versions of then, or choose another --run-dir"
        )
    for name, value in fingerprint.items():
        if getattr(held, name) != value:
            raise CheckpointError(
                f"the {name.partition('_')[0].replace('demos', 'demonstrations')} are not those that {directory} was "
                "trained with (their contents differ). Restore them to resume, or choose another --run-dir."
            )
    if (held.action_low, held.action_high) != (scaler.low.tolist(), scaler.high.tolist()):
        raise CheckpointError(
            f"{directory} was trained with another range of actions, by a version of zoomrl that took it from the "
            "demonstrations in another way: its replay and weights mean other actions. Continue it with that version "
            f"({held.zoomrl or 'not recorded'}), or choose another --run-dir."
        )
    if held.device != device.type:
        raise CheckpointError(
            f"{directory} was trained on {held.device}, and device=auto now stands for {device.type}: the run would "
            "go on with other random numbers and other rounding. Choose another --run-dir."
        )
