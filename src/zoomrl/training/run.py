"""From a config to a finished run: demonstrations, parts, resuming, the loop, the result."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console

import zoomrl
from zoomrl.agents.base import Agent
from zoomrl.agents.registry import make_agent
from zoomrl.control.controller import Controller
from zoomrl.control.explore import Explorer
from zoomrl.control.scaling import ActionScaler, make_scaler
from zoomrl.data.episode import Episode
from zoomrl.data.replay import Replay
from zoomrl.demos.fit import check_fit
from zoomrl.demos.store import DemoSet, read_demos
from zoomrl.envs.vector import VectorEnv, make_vector_env
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.math.grid import snap
from zoomrl.spec import EnvSpec
from zoomrl.training.checkpoint import Checkpoints, write_atomically
from zoomrl.training.config import TrainConfig, differences
from zoomrl.training.evaluate import Evaluation, evaluate
from zoomrl.training.logger import Logger, make_sinks
from zoomrl.training.progress import ProgressLine
from zoomrl.training.scripted import scripted_demos
from zoomrl.training.seeds import Stream, derive
from zoomrl.training.signals import StopRequest
from zoomrl.training.threads import fastest_threads
from zoomrl.training.trainer import Trainer
from zoomrl.training.video import write_video

logging.getLogger("torchrl").setLevel(logging.WARNING)

Factory = Callable[[], gymnasium.Env[Any, Any]]


@dataclass(frozen=True)
class RunResult:
    """Outcome of :func:`train`.

    Attributes:
        directory: of the run.
        finished: False when a signal stopped it; running the same config again resumes.
        evaluation: the evaluation at the end; None when stopped.
        training_seconds: wall time of this call's learning, evaluations during training included.
        video: the film that was made.
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


def run_directory(config: TrainConfig) -> Path:
    """Where ``config`` writes."""
    if config.run_dir:
        return Path(config.run_dir)
    name = config.env.id.replace(":", "-").replace("/", "-")
    return Path("runs") / f"{config.preset}-{name}-s{config.seed}"


def train(config: TrainConfig, *, make_env: Factory | None = None, console: Console | None = None) -> RunResult:
    """Train as ``config`` says, or continue the run that its directory holds.

    Args:
        config: the run; see :mod:`zoomrl.recipes` for presets.
        make_env: builds one environment of your own (any Gymnasium environment with Box spaces), in place of ``config.env.id``.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: an option or combination that cannot work.
        DemonstrationError: the demonstrations are damaged or do not fit the environment.
        CheckpointError: the run directory holds another config, or cannot be read or written.
        NonFiniteLossError: learning diverged.
    """
    console = console or Console(stderr=True)
    directory = run_directory(config)
    _claim(config, directory)
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        envs = stack.enter_context(make_vector_env(config.env, factory=make_env))
        spec = envs.env_spec
        demos = _demonstrations(config, spec, console)
        episodes = _chosen(config, demos)
        scaler = make_scaler(config.control, spec.action, episodes)
        agent = _agent(config, spec, episodes)
        replay = _replay(config, spec, agent.horizon, episodes, scaler, directory, console)
        _set_threads(config, spec, episodes, replay, directory, console)
        generator = torch.Generator().manual_seed(derive(config.seed, "noise"))
        levels, bins = config.agent.levels, config.agent.bins
        explorer = Explorer(config.control, lambda a: snap(a, levels, bins), generator)
        controller = _controller(config, agent, scaler, envs.num_envs, derive(config.seed, "ties"), explorer)
        checkpoints = Checkpoints(directory, config.checkpoint.keep)
        loaded = checkpoints.load()
        position = loaded[0]["log_position"] if loaded else 0
        sinks = make_sinks(config, directory, loaded[0]["env_steps"] if loaded else 0)
        logger = Logger(directory, position, sinks)
        stack.callback(logger.close)
        eval_envs = stack.enter_context(_LazyEnvs(config, make_env))

        def evaluator(env_steps: int) -> Evaluation | None:
            ties = derive(config.seed, "eval_ties", env_steps)
            tester = _controller(config, agent, scaler, config.eval.num_envs, ties)
            return evaluate(tester, eval_envs.get(), _seeds(config, "eval_env", config.eval.episodes), stop=lambda: bool(stop))

        if loaded:
            _check_same_demos(directory, demos)
        _write_run_files(config, directory, spec, scaler, demos)
        with ProgressLine(console) as progress:
            trainer = Trainer(
                config,
                directory,
                agent=agent,
                replay=replay,
                controller=controller,
                envs=envs,
                evaluator=evaluator,
                checkpoints=checkpoints,
                logger=logger,
                progress=progress,
                stop=lambda: bool(stop),
                say=lambda text: console.print(text, highlight=False),
            )
            if loaded:
                checkpoints.restore_replay(loaded[0], replay)
                trainer.load_state_dict(loaded[0])
                console.print(f"resuming at step {trainer.env_steps} from {loaded[1]}", highlight=False)
            started = time.perf_counter()
            finished = trainer.run()
            seconds = time.perf_counter() - started
        if not finished:
            console.print(
                f"stopped by {stop.signal.name if stop.signal else 'request'} at step {trainer.env_steps}; saved. "
                "Run the same command again to resume.",
                highlight=False,
            )
            return RunResult(directory, False, None, seconds, None, None, stop.signal)
        return _finish(config, directory, agent, scaler, eval_envs.get(), logger, trainer, seconds)


class _LazyEnvs:
    """Evaluation environments, built when first needed."""

    def __init__(self, config: TrainConfig, factory: Factory | None) -> None:
        self._build = lambda: make_vector_env(config.env, config.eval.num_envs, factory)
        self._envs: VectorEnv | None = None

    def get(self) -> VectorEnv:
        if self._envs is None:
            self._envs = self._build()
        return self._envs

    def __enter__(self) -> _LazyEnvs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._envs is not None:
            self._envs.close()


def _claim(config: TrainConfig, directory: Path) -> None:
    """Make the run directory ours: new, or holding this very config."""
    path = directory / "config.json"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        return
    held = TrainConfig.from_dict(json.loads(path.read_text()))
    changed = differences(held, config)
    if changed:
        raise CheckpointError(
            f"{directory} holds a run with another config, which is not overwritten. It differs in:\n  "
            + "\n  ".join(changed)
            + "\nChoose another --run-dir, or delete that directory."
        )
    if not config.resume:
        raise CheckpointError(
            f"{directory} holds this run already, and resume is off. Choose another --run-dir, or delete that directory."
        )


def _demonstrations(config: TrainConfig, spec: EnvSpec, console: Console) -> DemoSet | None:
    source = config.demos.source
    if source == "none":
        return None
    demos = scripted_demos(config.demos, config.env, console) if source == "scripted" else read_demos(source)
    check_fit(demos, spec)
    return demos


def _chosen(config: TrainConfig, demos: DemoSet | None) -> list[Episode]:
    """The first ``demos.episodes`` demonstrations and the failed attempts among them."""
    if demos is None:
        return []
    limit = config.demos.episodes or len(demos.episodes)
    chosen: list[Episode] = []
    for episode in demos.episodes:
        if sum(e.is_demo for e in chosen) == limit:
            break
        chosen.append(episode)
    found = sum(e.is_demo for e in chosen)
    if config.demos.episodes and found < config.demos.episodes:
        raise ConfigError(
            f"demos.episodes asks for {config.demos.episodes} demonstrations, but the set holds {found} successful ones. "
            "Ask for fewer, or for 0 to use all."
        )
    return chosen


def _agent(config: TrainConfig, spec: EnvSpec, episodes: Sequence[Episode]) -> Agent:
    return make_agent(
        config.agent,
        spec,
        frame_stack=config.replay.frame_stack,
        demos=episodes,
        seed=derive(config.seed, "agent"),
    )


def _replay(
    config: TrainConfig,
    spec: EnvSpec,
    horizon: int,
    episodes: Sequence[Episode],
    scaler: ActionScaler,
    directory: Path,
    console: Console,
) -> Replay:
    """Build the replay after saying what it takes; refuse what cannot fit."""
    # Each step is one frame, and each episode's end another: a short run needs no more than that.
    most = 2 * config.steps + spec.time_limit + 1
    settings = dataclasses.replace(config.replay, capacity=min(config.replay.capacity, most))
    needed = Replay.bytes_needed(settings, spec, sum(len(e) + 1 for e in episodes))
    free = psutil.virtual_memory().available
    console.print(
        f"replay: {_size(needed)} {'of memory' if settings.storage == 'ram' else 'on disk'} for "
        f"{settings.capacity:,} online and {sum(len(e) + 1 for e in episodes):,} demonstration frames",
        highlight=False,
    )
    if settings.storage == "ram" and needed > free:
        raise ConfigError(
            f"the replay needs {_size(needed)} of memory, but {_size(free)} are free. "
            "Lower replay.capacity, or keep it on disk with replay.storage=disk."
        )
    files = directory / "replay" / "frames" if settings.storage == "disk" else None
    return Replay(settings, spec, horizon, episodes, scaler.to_unit, derive(config.seed, "replay"), files)


def _set_threads(
    config: TrainConfig, spec: EnvSpec, episodes: Sequence[Episode], replay: Replay, directory: Path, console: Console
) -> None:
    """Fix the number of threads; a resumed run keeps the number that it began with, since sums depend on it."""
    path = directory / "threads.json"
    count = config.threads
    if not count and path.exists():
        count = int(json.loads(path.read_text())["threads"])
    if not count and episodes:
        trial = _agent(config, spec, episodes)
        before = replay.sampler.state_dict()
        batch = replay.sample()
        replay.sampler.load_state_dict(before)
        count, medians = fastest_threads(lambda: trial.update(batch))
        timings = ", ".join(f"{n}: {1000 * s:.1f} ms" for n, s in medians.items())
        console.print(f"threads: {count} (measured per update: {timings})", highlight=False)
    # Without data to measure on, one thread: it is never the slow choice by much, two may be.
    count = count or 1
    torch.set_num_threads(count)
    _write_json(path, {"threads": count})


def _controller(
    config: TrainConfig, agent: Agent, scaler: ActionScaler, count: int, seed: int, explorer: Explorer | None = None
) -> Controller:
    return Controller(agent, config.control, scaler, count, config.replay.frame_stack, seed, explorer)


def _seeds(config: TrainConfig, stream: Stream, count: int) -> list[int]:
    return [derive(config.seed, stream, index) for index in range(count)]


def _check_same_demos(directory: Path, demos: DemoSet | None) -> None:
    held = json.loads((directory / "policy.json").read_text())["demos_sha256"]
    if held != (demos.sha256 if demos else ""):
        raise CheckpointError(
            f"the demonstrations are not those that {directory} was trained with (their contents differ). "
            "Restore them to resume, or choose another --run-dir."
        )


def _write_run_files(
    config: TrainConfig, directory: Path, spec: EnvSpec, scaler: ActionScaler, demos: DemoSet | None
) -> None:
    """What identifies the run, and what a policy needs besides its weights."""
    policy = {
        "spec": spec.to_dict(),
        "action_low": scaler.low.tolist(),
        "action_high": scaler.high.tolist(),
        "demos_sha256": demos.sha256 if demos else "",
        "zoomrl": zoomrl.__version__,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    _write_json(directory / "policy.json", policy)
    _write_json(directory / "config.json", config.to_dict())


def _finish(
    config: TrainConfig,
    directory: Path,
    agent: Agent,
    scaler: ActionScaler,
    envs: VectorEnv,
    logger: Logger,
    trainer: Trainer,
    seconds: float,
) -> RunResult:
    """Final evaluation with fresh seeds, its film and the result file."""
    frames: list[NDArray[np.uint8]] = []
    problem: str | None = None if config.eval.video else "eval.video is off"
    if config.eval.video:
        problem = _render_problem(envs, derive(config.seed, "final_env", 0))
    seeds = _seeds(config, "final_env", config.eval.final_episodes)
    tester = _controller(config, agent, scaler, config.eval.num_envs, derive(config.seed, "eval_ties"))
    result = evaluate(tester, envs, seeds, on_frame=frames.append if problem is None else None)
    assert result is not None
    row = {"env_steps": trainer.env_steps, "agent_steps": trainer.agent_steps, "updates": trainer.updates, **result.row()}
    logger.write("final", row)
    _write_json(directory / "result.json", {**row, "training_seconds": seconds})
    video = None
    if frames:
        video = directory / "video.mp4"
        write_video(video, frames, envs.env_spec.control_hz or 30)
    return RunResult(directory, True, result, seconds, video, problem)


def _render_problem(envs: VectorEnv, seed: int) -> str | None:
    """Why environment 0 cannot be rendered, or None."""
    envs.reset(0, seed)
    try:
        envs.render(0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _write_json(path: Path, data: Any) -> None:
    write_atomically(path, lambda file: file.write((json.dumps(data, indent=2) + "\n").encode()))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
