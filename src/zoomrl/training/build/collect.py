"""What collects the training episodes: the loop itself, or actors ahead of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import gymnasium

from zoomrl.agents.contract import Agent
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import plural
from zoomrl.intervention.corrector import Corrector
from zoomrl.intervention.source import Intervention, Recording
from zoomrl.training.build.control import build_controller, build_explorer
from zoomrl.training.collect.actor import Actor, Job
from zoomrl.training.collect.ahead import AheadCollector
from zoomrl.training.collect.inline import InlineDesk
from zoomrl.training.collect.pool import Handle, Pool
from zoomrl.training.collect.stepwise import StepwiseCollector
from zoomrl.training.collect.ticket import Desk, packed
from zoomrl.training.config import TrainConfig
from zoomrl.training.seeds import derive


@dataclass(frozen=True)
class Ahead:
    """Collection ahead of learning.

    Attributes:
        collector: what the loop sees of it.
        actors: memory of the actors' processes on this machine, in bytes.
        published: memory of the weights that tickets may name, in bytes.
    """

    collector: AheadCollector
    actors: int
    published: int


def build_stepwise(
    config: TrainConfig,
    envs: VectorEnv,
    agent: Agent,
    scaler: ActionScaler,
    replay: ReplayBuffer,
    corrector: Corrector | None,
    say: Callable[[str], None],
) -> StepwiseCollector:
    """The collector that acts with the newest weights."""
    explorer = build_explorer(config, derive(config.seed, "noise"))
    controller = build_controller(config, agent, scaler, envs.num_envs, derive(config.seed, "ties"), explorer)
    return StepwiseCollector(config.seed, envs, controller, replay, corrector, say)


def build_ahead(
    config: TrainConfig,
    envs: VectorEnv,
    make_env: Callable[[], gymnasium.Env[Any, Any]] | None,
    agent: Agent,
    scaler: ActionScaler,
    replay: ReplayBuffer,
    source: Intervention | None,
    corrector: Corrector | None,
    stop: Callable[[], bool],
    say: Callable[[str], None],
    stack: ExitStack,
) -> Ahead:
    """The collector that takes episodes from actors.

    Actors have started when it returns, and end with ``stack``.

    Raises:
        ConfigError: no actor can be used.
        MissingDependencyError: of ``collect.backend=ray``, without Ray.
    """
    recording = source if isinstance(source, Recording) else None
    job = Job(config, make_env, envs.env_spec, scaler.low, scaler.high, recording)
    actor = Actor(job, envs, source, stop)
    reference = actor.greeting(simulator=config.collect.backend != "inline")
    memory, count, options = 0, config.collect.actors, config.collect
    desk: Desk
    if options.backend == "inline":
        desk = InlineDesk(actor)
    else:
        if count > options.lag + 1:
            say(f"with collect.lag={options.lag} at most {plural(options.lag + 1, 'actor')} of {count} can be at work")
        desk = pool = Pool(_handles(job, stack), reference, options.deadline, options.allow_mixed, stop, say)
        stack.callback(pool.close)
        greeting = pool.wait_ready()
        if options.backend == "process" and greeting is not None:
            memory = count * greeting.memory
    collector = AheadCollector(*(options.lag, envs.env_spec, agent, replay, desk, reference.agent, corrector, say))
    return Ahead(collector, memory, (options.lag + 1) * len(packed(agent)))


def _handles(job: Job, stack: ExitStack) -> list[Handle]:
    count = job.config.collect.actors
    if job.config.collect.backend == "ray":
        from zoomrl.training.collect.on_ray import Cluster

        cluster = Cluster(job)
        stack.callback(cluster.close)
        return [cluster.handle() for _ in range(count)]
    from zoomrl.training.collect.process import ProcessHandle

    return [ProcessHandle(job) for _ in range(count)]
