"""Actors of a Ray cluster. Weights are put into its object store once for each version, whoever asks for them.

Ray runs code that is sent to it: a cluster is to be reached by people alone who may run code on it.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoomrl.envs.processes import CLOSE_TIMEOUT_S, unanswered
from zoomrl.errors import ZoomrlError
from zoomrl.training.collect.actor import Actor, Job
from zoomrl.training.collect.ticket import ActorLostError, Collected, Greeting, Ticket
from zoomrl.training.ray_cluster import joined

_LOOK_S = 1.0
"""Seconds between looks whether the handle was closed, while an actor waits for room on the cluster."""


class Cluster:
    """The cluster that runs here or that ``RAY_ADDRESS`` names; begun on this machine where there is none.

    Args:
        job: what actors are built from.

    Raises:
        MissingDependencyError: without the extra ``zoomrl[ray]``.
    """

    def __init__(self, job: Job) -> None:
        self.ray, self._began = joined()
        self.job = self.ray.put(job)
        self._lag = job.config.collect.lag
        self._lock = threading.Lock()
        self._versions: dict[int, Any] = {}

    def handle(self) -> RayHandle:
        """An actor that is not yet started."""
        return RayHandle(self)

    def reference(self, version: int, weights: Tensor) -> Any:
        """Where the store has these weights."""
        with self._lock:
            if version not in self._versions:
                # Tickets go out in their order: what is long behind is not asked for again.
                for old in sorted(self._versions)[: -(self._lag + 1)]:
                    del self._versions[old]
                self._versions[version] = self.ray.put(weights.numpy())
            return self._versions[version]

    def close(self) -> None:
        """Leave the cluster, where it was entered here."""
        if self._began:
            self.ray.shutdown()


class RayHandle:
    """An actor on some node of the cluster. Ray does not start it again by itself: a lost ticket is given to another.

    Args:
        cluster: where.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ray = cluster.ray
        self._actor: Any = None
        self._released = self._started = False

    def start(self) -> Greeting:
        """Ask for an actor, and wait until the cluster has room for it and it is built."""
        self._kill()
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0)(Worker).remote(self._cluster.job)
        greeting: Greeting = self._get(self._actor.greeting.remote(), None)
        self._started = True
        return greeting

    def run(self, ticket: Ticket, weights: Tensor | None, deadline_s: float) -> Collected:
        """Its answer to ``ticket``."""
        reference = None if weights is None else self._cluster.reference(ticket.version, weights)
        found: Collected = self._get(self._actor.run.remote(ticket, reference), deadline_s)
        return _own(found)

    def release(self) -> None:
        """Whatever waits for it sees this within a second."""
        self._released = True

    def close(self) -> None:
        """Let it close its environment, and end it."""
        self._released = True
        if self._actor is not None and self._ray.is_initialized():
            self._ray.wait([self._actor.close.remote()], timeout=CLOSE_TIMEOUT_S if self._started else 0)
        self._kill()

    def _kill(self) -> None:
        actor, self._actor, self._started = self._actor, None, False
        if actor is not None and self._ray.is_initialized():
            self._ray.kill(actor)

    def _get(self, reference: Any, timeout_s: float | None) -> Any:
        waited = 0.0
        while not self._released:
            done, _ = self._ray.wait([reference], timeout=_LOOK_S)
            if done:
                break
            waited += _LOOK_S
            if timeout_s is not None and waited >= timeout_s:
                self._kill()
                raise ActorLostError(unanswered(timeout_s))
        if self._released:
            raise ActorLostError("ended")
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, ZoomrlError) else error from None
        except self._ray.exceptions.RayError as error:
            raise ActorLostError(str(error).strip().splitlines()[0]) from None


def _own(found: Collected) -> Collected:
    """The same with arrays of its own: those of the object store are read-only, and are held there as long."""
    episode = found.episode
    if episode is None:
        return found
    observations = {name: array.copy() for name, array in episode.observations.items()}
    return replace(
        found,
        episode=replace(
            episode, observations=observations, actions=episode.actions.copy(), rewards=episode.rewards.copy()
        ),
    )


class Worker:
    """What runs on the cluster."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        self._job = job

    def greeting(self) -> Greeting:
        """Build the actor, and what it says of itself. Not built before: what is raised there arrives as it is."""
        self._envs = self._job.make_envs()
        self._actor = Actor(self._job, self._envs, self._job.make_source(self._envs, print))
        return self._actor.greeting()

    def close(self) -> None:
        """Close its environment."""
        self._envs.close()

    def run(self, ticket: Ticket, weights: Any) -> Collected:
        """The episode of ``ticket``."""
        # What the store gives must not be written to.
        found = self._actor.run(ticket, None if weights is None else torch.from_numpy(weights.copy()))
        assert found is not None
        return found
