"""A run: its parts, put together from the config, and its course."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from rich.console import Console

from zoomrl.agents.contract import Agent
from zoomrl.control.controller import Controller
from zoomrl.control.scaling import make_scaler
from zoomrl.envs.registry import can_step
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.errors import ConfigError, plural
from zoomrl.intervention.corrector import Corrector, make_source
from zoomrl.intervention.source import Recording
from zoomrl.training.announce import announce_cameras, announce_demonstrated, announce_steps
from zoomrl.training.build.agent import build_agent, check_agent, choose_device
from zoomrl.training.build.collect import build_ahead, build_stepwise
from zoomrl.training.build.control import build_controller
from zoomrl.training.build.demos import (
    check_demonstrated,
    check_no_episodes,
    choose_episodes,
    hold_out,
    load_demos,
)
from zoomrl.training.build.replay import build_replay, build_validation
from zoomrl.training.build.threads import set_threads
from zoomrl.training.callbacks import Callback, Callbacks, make_callbacks
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.claim import check_same, claim
from zoomrl.training.config import TrainConfig, changed_evaluations, run_directory
from zoomrl.training.diagnosis.facts import Facts, demo_facts
from zoomrl.training.diagnosis.watch import Watch
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.evaluator import Evaluator
from zoomrl.training.finish import RunEnd, finish
from zoomrl.training.fork import Origin, plant, read_origin
from zoomrl.training.init_from import init_from
from zoomrl.training.lock import run_lock
from zoomrl.training.logger import Logger
from zoomrl.training.measure.memory import expected_memory, peak_rss, readable
from zoomrl.training.measure.trial import Trial
from zoomrl.training.progress import Progress, ProgressLine
from zoomrl.training.result import RunResult
from zoomrl.training.rows import METRICS, read_rows
from zoomrl.training.run_files import read_config, run_id, write_run_files
from zoomrl.training.seeds import derive
from zoomrl.training.signals import StopRequest
from zoomrl.training.sinks.make import check_sinks, make_sinks
from zoomrl.training.trainer import Trainer
from zoomrl.training.updater import Updater


def run_session(
    config: TrainConfig,
    make_env: Callable[[], gymnasium.Env[Any, Any]] | None,
    callbacks: Sequence[Callback],
    console: Console | None,
) -> RunResult:
    """Train as :func:`zoomrl.training.run.train` says."""
    console = console or Console(stderr=True, emoji=False)
    directory = run_directory(config)
    users = [*make_callbacks(config.callback), *callbacks]

    def say(text: str) -> None:
        console.print(text, highlight=False)

    with ExitStack() as stack:
        # A run that is refused below leaves no directory behind; one that is there is held, and refused, at once.
        fresh = not directory.exists()
        if not fresh:
            lock = stack.enter_context(run_lock(directory))
            claim(config, directory)
        check_sinks(config)
        steppable = make_env is not None or can_step(config.env.id)
        if not steppable:
            check_no_episodes(config)
        stop = stack.enter_context(StopRequest())
        envs = stack.enter_context(make_vector_env(config.env, factory=make_env))
        spec = envs.env_spec
        # A page of an actor's belongs to its own process.
        elsewhere = config.collect.backend != "inline" and config.intervene.source == "keyboard"
        source = None if elsewhere else make_source(config.intervene, envs, say)
        if source is not None:
            stack.callback(source.close)
        announce_steps(config, say)
        announce_cameras(config.env, spec, console)
        device = choose_device(config.device)
        check_agent(config, spec, device, console)
        eval_envs = envs  # where nothing is stepped; a set is not read twice
        if steppable:
            eval_envs = stack.enter_context(
                make_vector_env(config.env, config.eval.num_envs, make_env, apart_from=envs)
            )
        demos = load_demos(config, spec, make_env is not None, console)
        episodes, held = hold_out(choose_episodes(config, demos, say), config.demos.validation)
        scaler = make_scaler(config.control, spec.action, episodes, spec.action_meaning)
        check_demonstrated(config, episodes)
        announce_demonstrated(config, spec, episodes, scaler, say)
        agent = build_agent(config, spec, episodes, device, scaler)
        fingerprint = {
            "demos_sha256": demos.sha256 if demos else "",
            "corrections_sha256": source.sha256 if isinstance(source, Recording) else "",
        }

        def begin_from() -> Origin | None:
            """What a run without a checkpoint of its own begins from."""
            if config.init_from:
                init_from(config, agent, scaler, say)
            return read_origin(config, agent, fingerprint, device, scaler, spec) if config.fork else None

        origin = None
        if fresh:
            origin = begin_from()
            lock = stack.enter_context(run_lock(directory))
            claim(config, directory)
        run = run_id(directory)
        checkpoints = Checkpoints(directory, config.checkpoint.keep, run, lock)
        replay = build_replay(config, spec, agent, episodes, scaler, directory, console, device)
        validation = build_validation(config, spec, agent, held, scaler, device)
        known = demo_facts(episodes, config.replay.discount, scaler.to_unit)
        facts = Facts(config, known, spec)
        del demos, episodes, held  # the replay holds their frames now
        set_threads(config, spec, directory, console, device)
        loaded = checkpoints.load()
        if loaded is not None:
            check_same(directory, fingerprint, device, scaler, spec)
            facts.add_all(read_rows(directory / METRICS))
            _check_goes_on(config, directory, loaded[0], say)
        elif not fresh:
            origin = begin_from()
        write_run_files(config, directory, spec, scaler, fingerprint, device.type, run, facts.demos)
        if origin is not None:
            plant(origin, checkpoints)
            loaded = checkpoints.load()
            left = config.steps - origin.state["env_steps"]
            say(f"a fork of {config.fork}" + ("" if left else ", which made all its steps: raise --steps to learn on"))

        def tester(*stream: Any) -> Controller:
            return build_controller(config, agent, scaler, config.eval.num_envs, derive(config.seed, *stream))

        corrector = None
        if config.intervene.source != "none":
            corrector = Corrector(source, config.intervene.env, spec, scaler, replay, directory, say)
        logger = Logger(directory, partial(make_sinks, config, directory), say)
        stack.callback(logger.close)
        episodes_of = _evaluation(config, eval_envs, tester, stop.asked)
        evaluator = Evaluator(episodes_of, agent, replay, validation)
        ahead = None
        if config.collect.lag:
            ahead = build_ahead(
                *(config, envs, make_env, agent, scaler, replay, source, corrector, stop.asked, say, stack)
            )
        with ProgressLine(console, config.log.every) as line:
            trainer = Trainer(
                config,
                ahead.collector if ahead else build_stepwise(config, envs, agent, scaler, replay, corrector, say),
                Updater(config, agent, replay, directory),
                evaluator,
                checkpoints,
                Callbacks([Watch(facts, say), logger, Progress(line)], users),
                stop.asked,
                say,
            )
            if loaded is None:
                _prepare(config, envs, corrector, steppable)
            else:
                checkpoints.restore_replay(loaded[0], replay)
                trainer.load_state_dict(loaded[0])
                say(f"resuming at {_at(trainer)} from {loaded[1]}")
                if trainer.end_reason:
                    say(f"this run was ended early: {trainer.end_reason}")
            del loaded
            memory = expected_memory(
                *(config, replay, envs, eval_envs, partial(Trial, config, spec, device, config.precision)),
                *((ahead.actors, ahead.published) if ahead else ()),
            )
            say(memory.line())
            finished = trainer.run()
        seconds, outcome = trainer.seconds, None
        if finished:
            counters = {**trainer.counters, **_use_best(config, trainer, checkpoints, agent, say)}
            ended = tester("eval_ties")
            if config.eval.final_episodes:
                say(f"evaluating the result on {plural(config.eval.final_episodes, 'fresh episode')} ...")
            held_out = evaluator.validated()
            outcome = finish(
                *(config, directory, ended, eval_envs, logger, counters, held_out, trainer.end_reason, seconds),
                memory.total,
                ahead.collector.mixed if ahead else [],
                stop.asked,
                say,
            )
        if outcome is None:
            say(
                f"stopped by {stop.signal.name if stop.signal else 'request'} at {_at(trainer)}; saved. "
                "Run the same command again to resume."
            )
            return RunResult(directory, False, None, seconds, None, None, stop.signal)
        say(f"memory: {readable(peak_rss())} at most; {readable(memory.total)} were expected")
        return _result(directory, seconds, outcome)


def _evaluation(
    config: TrainConfig, envs: VectorEnv, tester: Callable[..., Controller], stop: Callable[[], bool]
) -> Callable[[int], Evaluation | None]:
    """An evaluation with the same seeds each time, at the given environment step."""
    seeds = [derive(config.seed, "eval_env", index) for index in range(config.eval.episodes)]

    def evaluation(step: int) -> Evaluation | None:
        return evaluate(tester("eval_ties", step), envs, seeds, discount=config.replay.discount, stop=stop)

    return evaluation


def _check_goes_on(config: TrainConfig, directory: Path, state: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Refuse fewer steps or updates than were made, and name evaluations that go on with other options."""
    env_steps, updates = state["env_steps"], state["updates"]
    if not config.steps and config.offline_updates < updates:
        raise ConfigError(
            f"{directory} has made {updates} updates already, beyond offline_updates={config.offline_updates}. Ask for "
            "more, or choose another --run-dir."
        )
    if config.steps < env_steps:
        raise ConfigError(
            f"{directory} is at step {env_steps} already, beyond steps={config.steps}. "
            "Ask for more steps, or choose another --run-dir."
        )
    if changed := changed_evaluations(read_config(directory), config):
        say(f"evaluations go on, and are made again at the end, with other options: {', '.join(changed)}")


def _at(trainer: Trainer) -> str:
    """Where the run is; before its first step, in updates."""
    return f"step {trainer.env_steps}" if trainer.env_steps or not trainer.updates else f"update {trainer.updates}"


def _prepare(config: TrainConfig, envs: VectorEnv, corrector: Corrector | None, steppable: bool) -> None:
    """What a new run needs before its first step."""
    if corrector is not None:
        corrector.clear()
    if steppable and "rgb" in envs.env_spec.observations:
        for index in range(envs.num_envs):  # renderers are built at the first image: before measuring
            envs.reset(index, derive(config.seed, "train_env", index, 0))


def _use_best(
    config: TrainConfig, trainer: Trainer, checkpoints: Checkpoints, agent: Agent, say: Callable[[str], None]
) -> dict[str, int]:
    """Take the weights of the best evaluation, where they are wanted; of when they are."""
    best = checkpoints.load_best(trainer.state_dict(), ended=True) if config.eval.keep_best else None
    if best is None:
        return {}
    agent.load_state_dict(best["agent"])
    say(f"best evaluation: after {best['env_steps']:,} steps and {best['updates']:,} updates; these weights are used")
    return {"best_env_steps": best["env_steps"], "best_updates": best["updates"]}


def _result(directory: Path, seconds: float, outcome: RunEnd) -> RunResult:
    return RunResult(directory, True, outcome.evaluation, seconds, outcome.video, outcome.video_problem)
