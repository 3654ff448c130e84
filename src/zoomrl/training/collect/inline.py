"""Tickets worked off in this process, one by one, when their turn comes."""

from __future__ import annotations

from torch import Tensor

from zoomrl.errors import WorkerError
from zoomrl.training.collect.actor import Actor
from zoomrl.training.collect.ticket import ActorLostError, Collected, Ticket

TRIES = 5
"""Times that an episode is begun before what keeps spoiling it is an error."""


class InlineDesk:
    """One actor, in this process.

    Args:
        actor: makes the episodes.
    """

    mixed: tuple[str, ...] = ()

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._weights: dict[int, Tensor] = {}
        self._tickets: dict[int, Ticket] = {}

    def publish(self, version: int, weights: Tensor) -> None:
        """Keep weights."""
        self._weights[version] = weights

    def retire(self, version: int) -> None:
        """Forget weights before ``version``."""
        self._weights = {number: kept for number, kept in self._weights.items() if number >= version}

    def issue(self, ticket: Ticket) -> None:
        """Give out a ticket."""
        self._tickets[ticket.index] = ticket

    def take(self, index: int) -> Collected | None:
        """Make episode ``index`` now; None when asked to stop."""
        ticket = self._tickets[index]
        for tried in range(TRIES):
            try:
                found = self._actor.run(ticket, self._weights.get(ticket.version))
            except ActorLostError as error:
                if tried + 1 == TRIES:
                    raise gave_up(ticket, str(error)) from error
                continue
            if found is not None:
                del self._tickets[index]
            return found
        raise AssertionError("unreachable")


def gave_up(ticket: Ticket, last: str) -> WorkerError:
    """What is raised of a ticket that came to nothing :data:`TRIES` times."""
    return WorkerError(
        f"training episode {ticket.index} was begun {TRIES} times and never came to its end (last: {last}). If it was "
        "killed for want of memory, use fewer collect.actors; if it merely takes long, raise collect.deadline; "
        "collect.backend=inline shows the fault itself"
    )
