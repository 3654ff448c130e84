"""An actor: a function from tickets to episodes, the same wherever and however often it is called."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoomrl.agents.build import make_agent, one_thread
from zoomrl.control.scaling import ActionScaler
from zoomrl.control.stack import FrameStack
from zoomrl.data.episode import EpisodeBuilder
from zoomrl.data.finite import simulator_fault
from zoomrl.envs.processes import SimulatorDied
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.envs.vector.make import make_vector_env
from zoomrl.errors import ConfigError, NonFiniteLossError, WorkerError
from zoomrl.intervention.corrector import make_source
from zoomrl.intervention.source import Intervention, Recording
from zoomrl.spec import EnvSpec
from zoomrl.training.build.control import build_controller, build_explorer
from zoomrl.training.collect.contract import LOST_RESETS, never_begins
from zoomrl.training.collect.ticket import ActorLostError, Collected, Greeting, Ticket, digest, unpack
from zoomrl.training.config import TrainConfig
from zoomrl.training.seeds import derive
from zoomrl.version import __version__

_PROBED_OBSERVATIONS = 4


@dataclass(frozen=True)
class Job:
    """What an actor is built from.

    Attributes:
        config: the run.
        make_env: builds its environment; None for that of the config.
        spec: of the learner's environment, which the actor's own must fit.
        low, high: range of the actions.
        recording: of a person's corrections, or None. A person who is there is met in the actor's own process.
    """

    config: TrainConfig
    make_env: Callable[[], gymnasium.Env[Any, Any]] | None
    spec: EnvSpec
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    recording: Recording | None = None

    def make_envs(self) -> VectorEnv:
        """The environment, in this very process.

        Raises:
            ConfigError: it is another than the learner's.
        """
        envs = make_vector_env(replace(self.config.env, workers="serial"), 1, self.make_env)
        if differences := self.spec.mismatches(envs.env_spec):
            envs.close()
            raise ConfigError(f"an actor's environment is not the learner's: {'; '.join(differences)}")
        return envs

    def make_source(self, envs: VectorEnv, say: Callable[[str], None]) -> Intervention | None:
        """Who may take over in ``envs``, where somebody may."""
        return self.recording or make_source(self.config.intervene, envs, say)


class Actor:
    """Makes the episodes of tickets, with an agent of its own on one thread of the CPU, in float32.

    Args:
        job: what it is built from.
        envs: one environment; the caller closes it.
        source: a person who may take over, or a recording of one.
        stop: asked at every step; True abandons the episode.
    """

    def __init__(
        self,
        job: Job,
        envs: VectorEnv,
        source: Intervention | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        config = job.config
        self._config = config
        self._envs = envs
        self._source = source
        self._stop = stop
        self._scaler = ActionScaler(job.low, job.high, job.spec.action)
        stack, movable = config.replay.frame_stack, self._scaler.movable
        self._agent = make_agent(config.agent, job.spec, frame_stack=stack, restoring=True, movable=movable)
        self._version = -1

    def run(self, ticket: Ticket, weights: Tensor | None) -> Collected | None:
        """Make the episode of ``ticket`` with ``weights``; None when asked to stop.

        Raises:
            ActorLostError: the simulator died.
            SimulatorError: it shows NaN at every reset.
            WorkerError: the weights that the ticket names are not there.
            NonFiniteLossError: the agent's action is NaN or infinite.
        """
        with one_thread():
            try:
                if ticket.executed is not None:
                    return self._repeat(ticket, ticket.executed)
                if ticket.version != self._version:
                    if weights is None:
                        raise WorkerError(
                            f"training episode {ticket.index} is to be made with weights {ticket.version}, and this "
                            f"actor holds weights {self._version}"
                        )
                    unpack(self._agent, weights)
                    self._version = ticket.version
                return self._make(ticket)
            except SimulatorDied as error:
                raise ActorLostError(str(error)) from error

    def greeting(self, *, simulator: bool = True) -> Greeting:
        """What this actor computes of fixed inputs, its ``simulator`` too. To be called before its first ticket."""
        steps = self._config.collect.probe_steps if simulator else 0
        with one_thread():
            agent = digest(self._probe_agent())
            answers = digest(self._probe_simulator(steps)) if steps else ""
        versions = {
            "zoomrl": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        where = f"{socket.gethostname()}, process {os.getpid()}"
        return Greeting(where, versions, agent, answers, psutil.Process().memory_info().rss)

    # ---- episodes ----------------------------------------------------------------------------------------

    def _make(self, ticket: Ticket) -> Collected | None:
        config, seed = self._config, self._config.seed
        builder, lost = self._begin(ticket.index)
        explorer = build_explorer(config, derive(seed, "ticket_noise", ticket.index))
        ties = derive(seed, "ticket_ties", ticket.index)
        controller = build_controller(config, self._agent, self._scaler, 1, ties, explorer)
        logged: dict[str, float] = {}
        corrected: list[bool] = []
        while not self._stop():
            shown = {name: array[None] for name, array in builder.last_observation.items()}
            step = len(builder)
            action = controller.act(shown, ticket.start + step * config.env.action_repeat)
            if not np.isfinite(action).all():
                raise NonFiniteLossError(
                    f"the agent's action became NaN or infinite in training episode {ticket.index}."
                )
            chosen = None if self._source is None else self._source.action(ticket.index, step, action[0])
            if chosen is not None:
                action = np.clip(chosen, self._scaler.low, self._scaler.high)[None]
                controller.replan(np.ones(1, bool))
            if self._source is not None:
                corrected.append(chosen is not None)
            fault, ended = self._step(builder, action[0], logged)
            if fault:
                why = f"{fault}; the episode is dropped"
                return Collected(ticket.index, step + 1, None, why, lost, logged, tuple(corrected))
            if ended is not None:
                episode = builder.build(terminated=ended[0], truncated=ended[1])
                return Collected(ticket.index, len(episode), episode, "", lost, logged, tuple(corrected))
        return None

    def _repeat(self, ticket: Ticket, executed: NDArray[np.float32]) -> Collected | None:
        """The episode that ``executed`` were the actions of; lost where it does not repeat."""

        def lost(why: str) -> Collected:
            text = f"did not repeat its episode in flight after resuming ({why}); the episode is dropped"
            return Collected(ticket.index, len(executed), None, text)

        observation, _ = self._envs.reset(0, ticket.seed)
        if fault := simulator_fault(observation, step=0, seed=ticket.seed):
            return lost(f"it {fault}")
        builder = EpisodeBuilder(observation, ticket.seed)
        logged: dict[str, float] = {}
        for action in executed:
            if self._stop():
                return None
            fault, ended = self._step(builder, action, logged)
            if fault:
                return lost(f"it {fault}")
            if ended is not None and len(builder) == len(executed):
                episode = builder.build(terminated=ended[0], truncated=ended[1])
                return Collected(ticket.index, len(episode), episode, logged=logged)
            if ended is not None:
                break
        return lost(f"it ended at step {len(builder)} of {len(executed)}" if ended else "it did not end")

    def _begin(self, index: int) -> tuple[EpisodeBuilder, tuple[str, ...]]:
        """An episode that has shown its first observation, and why earlier tries did not."""
        lost: list[str] = []
        for attempt in range(LOST_RESETS):
            seed = derive(self._config.seed, "ticket_env", index, attempt)
            observation, _ = self._envs.reset(0, seed)
            fault = simulator_fault(observation, step=0, seed=seed)
            if not fault:
                return EpisodeBuilder(observation, seed), tuple(lost)
            lost.append(f"{fault}; the episode is dropped")
        raise never_begins(0, self._envs.env_spec.id)

    def _step(
        self, builder: EpisodeBuilder, action: NDArray[np.float32], logged: dict[str, float]
    ) -> tuple[str, tuple[bool, bool] | None]:
        """Take an agent step; what is wrong with what it showed, and how the episode ended where it did.

        Raises:
            ActorLostError: the simulator died.
        """
        result = self._envs.step(action[None])
        if result.died:
            raise ActorLostError(f"the simulator died in step {len(builder) + 1} of the episode")
        observation = {name: array[0] for name, array in result.obs.items()}
        fault = simulator_fault(observation, result.reward[0], step=len(builder) + 1, seed=builder.seed)
        if fault:
            return fault, None
        builder.add(action, float(result.reward[0]), observation, bool(result.success[0]))
        logged.update(result.logged[0])
        terminated, truncated = bool(result.terminated[0]), bool(result.truncated[0])
        return "", (terminated, truncated) if terminated or truncated else None

    # ---- what it computes --------------------------------------------------------------------------------

    def _probe_agent(self) -> Iterator[NDArray[Any]]:
        """Actions and values for fixed observations, with fixed weights: new ones may answer zero to everything."""
        random, torch_random = np.random.default_rng(0), torch.Generator().manual_seed(0)
        for _, tensor in sorted(self._agent.weights("all").items()):
            if tensor.is_floating_point():
                # Around 1 what may be a scale, a variance or a deviation.
                noise = 0.05 * torch.randn(tensor.shape, generator=torch_random, dtype=tensor.dtype)
                tensor.copy_(noise + (tensor.ndim < 2))
        stack = FrameStack(1, self._config.replay.frame_stack)
        for _ in range(_PROBED_OBSERVATIONS):
            shown = {
                name: random.integers(0, 256, (1, *array.shape)).astype(array.dtype)
                if np.issubdtype(array.dtype, np.integer)
                else random.normal(size=(1, *array.shape)).astype(array.dtype)
                for name, array in self._envs.env_spec.observations.items()
            }
            chunk = self._agent.act(stack.push(shown), torch_random)
            yield chunk.actions.numpy()
            if chunk.value is not None:
                yield chunk.value.numpy()

    def _probe_simulator(self, steps: int) -> Iterator[NDArray[Any]]:
        """What the simulator answers to fixed actions."""
        random, ended = np.random.default_rng(0), True
        for number in range(steps):
            if ended:
                yield from self._envs.reset(0, number)[0].values()
            unit = random.uniform(-1, 1, (1, len(self._scaler.low))).astype(np.float32)
            result = self._envs.step(self._scaler.to_env(unit))
            if result.died:
                raise ActorLostError("the simulator died before the first episode")
            yield from result.obs.values()
            yield result.reward
            ended = bool(result.terminated[0] or result.truncated[0])
