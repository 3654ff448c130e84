"""Tickets: which episode is to be made, with which weights; and what comes back.

A ticket says everything that its episode depends on, and all of it follows from its number and from what was learnt of
earlier episodes. Who makes the episode, when, and how often, is nowhere in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoomrl.agents.contract import Agent
from zoomrl.data.episode import Episode
from zoomrl.errors import ZoomrlError


@dataclass(frozen=True)
class Ticket:
    """An episode to be made.

    Attributes:
        index: number of the episode, from 0; seeds of the environment, of ties and of noise are derived from it.
        version: of the weights it is made with: those from before the learner took episode ``version``.
        start: environment step at which it is taken to begin; schedules of exploration depend on it.
        executed: actions [T, A] of an episode that was made already, and is to be repeated with these; None otherwise.
        seed: reset seed of an episode that is to be repeated.
    """

    index: int
    version: int
    start: int
    executed: NDArray[np.float32] | None = None
    seed: int = -1


@dataclass(frozen=True)
class Collected:
    """What came of a ticket.

    Attributes:
        index: of the ticket.
        steps: agent steps that were taken, those of a lost episode too.
        episode: None where it was lost.
        fault: why it was lost, in words; empty otherwise.
        lost_resets: why earlier tries did not get beyond their reset.
        logged: numbers that the environment wants to see in the episode's row.
        corrected: [T], agent steps in which a person acted; empty without corrections.
    """

    index: int
    steps: int
    episode: Episode | None
    fault: str = ""
    lost_resets: tuple[str, ...] = ()
    logged: Mapping[str, float] | None = None
    corrected: tuple[bool, ...] = ()


class Greeting(NamedTuple):
    """What an actor says of itself before its first ticket.

    Attributes:
        where: machine and process.
        versions: of Python, zoomrl, PyTorch and NumPy.
        agent: hash of actions and values for fixed observations and weights.
        simulator: hash of what the simulator answers to fixed actions; empty where it was not asked.
        memory: resident set of its process, in bytes.
    """

    where: str
    versions: Mapping[str, str]
    agent: str
    simulator: str
    memory: int

    def differs(self, other: Greeting) -> str:
        """How it differs from ``other``, in words; empty where both compute the same."""
        names = [name for name, value in self.versions.items() if other.versions.get(name) != value]
        if names:
            pairs = (
                f"{name} {self.versions[name]} there and {other.versions.get(name, 'none')} here" for name in names
            )
            return f"it has {', '.join(pairs)}"
        if self.agent != other.agent:
            return "its agent computes other actions from the same weights and observations (another processor)"
        if self.simulator != other.simulator:
            return (
                "its simulator answers otherwise to the same seeds and actions (another version or renderer, or it "
                "never answers alike: see `zoomrl env check`)"
            )
        return ""


class ActorLostError(ZoomrlError):
    """An actor died, was silent for too long, or lost its simulator: its ticket is to be given to another."""


class Desk(Protocol):
    """Where tickets are given out and episodes come in. The learner's side; who makes them is behind it."""

    def publish(self, version: int, weights: Tensor) -> None:
        """Keep the weights of :func:`packed` that tickets name ``version``."""
        ...

    def retire(self, version: int) -> None:
        """Forget the weights of versions before ``version``."""
        ...

    def issue(self, ticket: Ticket) -> None:
        """Give out a ticket."""
        ...

    def take(self, index: int) -> Collected | None:
        """What came of ticket ``index``, once and when it is there; None when asked to stop before.

        Raises:
            ZoomrlError: it cannot be made; what an environment or an agent raises arrives unchanged.
        """
        ...

    @property
    def mixed(self) -> Sequence[str]:
        """Actors that compute other numbers and were allowed to."""
        ...


def packed(agent: Agent) -> Tensor:
    """All weights of an agent as bytes, uint8 [B] on the CPU: a copy."""
    parts = [tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for _, tensor in _ordered(agent)]
    return torch.cat(parts)


def unpack(agent: Agent, weights: Tensor) -> None:
    """Load the bytes of :func:`packed` into an agent of the same config.

    Raises:
        ValueError: they are of another agent.
    """
    ordered = _ordered(agent)
    sizes = [tensor.numel() * tensor.element_size() for _, tensor in ordered]
    if sum(sizes) != len(weights):
        raise ValueError(f"the weights take {len(weights):,} bytes, and this agent's {sum(sizes):,}")
    with torch.no_grad():
        for (_, tensor), part in zip(ordered, weights.split(sizes), strict=True):
            # A copy begins at an address that suits every type.
            tensor.copy_(part.clone().view(tensor.dtype).reshape(tensor.shape))


def _ordered(agent: Agent) -> list[tuple[str, Tensor]]:
    return sorted(agent.weights("all").items())


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """A hash of arrays: their bytes, types and shapes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
