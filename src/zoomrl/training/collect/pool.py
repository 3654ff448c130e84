"""Tickets worked off by actors elsewhere: handed out lowest number first, taken back from the dead and the silent."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from zoomrl.errors import ConfigError, WorkerError, ZoomrlError, plural
from zoomrl.training.collect.inline import TRIES, gave_up
from zoomrl.training.collect.ticket import ActorLostError, Collected, Greeting, Ticket

_T = TypeVar("_T")
_WAKE_S = 0.1
_PATIENCE_S = 60.0
STARTS = 5
"""Starts of an actor in a row that may fail before it is given up."""


class Handle(Protocol):
    """One actor, wherever it is. Called by one thread alone, but for :meth:`release`."""

    def start(self) -> Greeting:
        """Make it, in place of the one before; wait until it is ready.

        Raises:
            ActorLostError: it died before.
            ZoomrlError: it cannot be built.
        """
        ...

    def run(self, ticket: Ticket, weights: Tensor | None, deadline_s: float) -> Collected:
        """Its answer to ``ticket``.

        Raises:
            ActorLostError: it died, or did not answer in time. It is not used again before its next start.
            ZoomrlError: the environment or the agent raised.
        """
        ...

    def release(self) -> None:
        """Ask it to end, without waiting; what waits for it raises ActorLostError. From any thread."""
        ...

    def close(self) -> None:
        """Wait until it has ended, by force where it does not end by itself. Safe to call twice."""
        ...


class Pool:
    """Actors that work off tickets, a thread of this process for each.

    No more than the issued tickets are ever outstanding, which bounds what is held of early episodes.

    Args:
        handles: the actors, not yet started.
        reference: what the learner's own process computes; actors that differ are refused.
        deadline_s: seconds for one episode.
        allow_mixed: take actors that differ, and name them in :attr:`mixed`.
        stop: asked while waiting for an episode.
        say: prints a line for the user.
    """

    def __init__(
        self,
        handles: Sequence[Handle],
        reference: Greeting,
        deadline_s: float,
        allow_mixed: bool,
        stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._handles = list(handles)
        self._reference = reference
        self._deadline_s = deadline_s
        self._allow_mixed = allow_mixed
        self._stop = stop
        self._say = say
        self._changed = threading.Condition(threading.RLock())
        self._weights: dict[int, Tensor] = {}
        self._waiting: list[tuple[int, Ticket]] = []
        self._outstanding: dict[int, int] = {}
        """Ticket -> times that it was given out and came to nothing."""
        self._found: dict[int, Collected | Exception] = {}
        self._ready: list[Greeting] = []
        self._left = len(self._handles)
        self._error: Exception | None = None
        self._closed = False
        self.mixed: list[str] = []
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True) for one in self._handles]
        for thread in self._threads:
            thread.start()

    # ---- the learner's side ------------------------------------------------------------------------------

    def wait_ready(self) -> Greeting | None:
        """Wait for the first actor, and what it said; None when asked to stop before.

        Raises:
            ZoomrlError: none can be used.
        """
        return self._wait(lambda: self._ready[0] if self._ready else None, "the first actor")

    def publish(self, version: int, weights: Tensor) -> None:
        """Keep weights."""
        with self._changed:
            self._weights[version] = weights

    def retire(self, version: int) -> None:
        """Forget weights before ``version``."""
        with self._changed:
            self._weights = {number: kept for number, kept in self._weights.items() if number >= version}

    def issue(self, ticket: Ticket) -> None:
        """Give out a ticket."""
        with self._changed:
            self._outstanding[ticket.index] = 0
            heapq.heappush(self._waiting, (ticket.index, ticket))
            self._changed.notify_all()

    def take(self, index: int) -> Collected | None:
        """What came of ticket ``index``; None when asked to stop before it is there."""
        made = self._wait(
            lambda: (self._found.pop(index),) if index in self._found else None, f"training episode {index}"
        )
        if made is None:
            return None
        (found,) = made
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End all actors."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for handle in self._handles:
            handle.release()
        for thread in self._threads:
            thread.join()

    def _wait(self, look: Callable[[], _T | None], what: str) -> _T | None:
        waited = 0.0
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                found = look()
                if found is not None or self._stop():
                    return found
                if not self._changed.wait(_WAKE_S):
                    waited += _WAKE_S
                if waited >= _PATIENCE_S:
                    waited = 0.0
                    self._say(f"waiting for {what}; {plural(len(self._ready), 'actor')} of {len(self._handles)} ready")

    # ---- the actors' side: a thread for each -------------------------------------------------------------

    def _serve(self, handle: Handle) -> None:
        try:
            greeting = self._start(handle)
            while greeting is not None and (ticket := self._next()) is not None:
                with self._changed:
                    weights = self._weights.get(ticket.version)
                try:
                    found: Collected | Exception = handle.run(ticket, weights, self._deadline_s)
                    if isinstance(found, Collected) and found.index != ticket.index:
                        found = WorkerError(f"an actor answered ticket {found.index} in place of {ticket.index}")
                except ActorLostError as error:
                    self._take_back(ticket, str(error))
                    self._gone(greeting)
                    greeting = self._start(handle)
                    continue
                except Exception as error:
                    found = _own(error)
                # An error too waits until its episode is due: whether a run meets it does not depend on who was fast.
                self._deliver(ticket.index, found)
        except Exception as error:  # it would otherwise end with this thread
            self._give_up(_own(error))
        finally:
            handle.close()

    def _start(self, handle: Handle) -> Greeting | None:
        """A started actor's greeting; None where it is refused, or the pool is closed."""
        for tried in range(STARTS):
            if self._closed:
                return None
            try:
                greeting = handle.start()
                break
            except ActorLostError as error:
                if tried + 1 == STARTS:
                    raise WorkerError(f"an actor could not be started {STARTS} times in a row: {error}") from error
        if refused := self._refuses(greeting):
            self._give_up(ConfigError(refused))
            return None
        with self._changed:
            self._ready.append(greeting)
            self._changed.notify_all()
        return greeting

    def _give_up(self, error: Exception) -> None:
        """Go on without this actor, and say why; where it was the last one, that ends the run."""
        with self._changed:
            if self._closed:
                return
            self._left -= 1
            if not self._left:
                self._error = error
                self._changed.notify_all()
                return
        self._say(f"{error} The run goes on with {plural(self._left, 'other actor')}")

    def _refuses(self, greeting: Greeting) -> str:
        """Why an actor is refused; empty where it is not."""
        why = greeting.differs(self._reference)
        if not why:
            return ""
        if not self._allow_mixed:
            return (
                f"the actor on {greeting.where} would make another run of this one: {why}. Bring it to the learner's "
                "versions and kind of machine, or allow it with --collect.allow-mixed: the run is then not exact."
            )
        if greeting.where not in self.mixed:
            self.mixed.append(greeting.where)
            self._say(f"the actor on {greeting.where} is taken although {why}: the run is not exact")
        return ""

    def _next(self) -> Ticket | None:
        """The lowest ticket that waits; None when the pool is closed."""
        with self._changed:
            while not self._closed:
                if self._waiting:
                    return heapq.heappop(self._waiting)[1]
                self._changed.wait()
        return None

    def _deliver(self, index: int, found: Collected | Exception) -> None:
        with self._changed:
            if self._outstanding.pop(index, None) is not None:  # otherwise somebody else's came first
                self._found[index] = found
                self._changed.notify_all()

    def _take_back(self, ticket: Ticket, why: str) -> None:
        with self._changed:
            if self._closed or ticket.index not in self._outstanding:
                return
            self._outstanding[ticket.index] += 1
            if self._outstanding[ticket.index] == TRIES:
                self._deliver(ticket.index, gave_up(ticket, why))
                return
            heapq.heappush(self._waiting, (ticket.index, ticket))
            self._changed.notify_all()
        self._say(f"an actor was lost ({why}); training episode {ticket.index} is made anew by another")

    def _gone(self, greeting: Greeting) -> None:
        with self._changed:
            self._ready.remove(greeting)


def _own(error: Exception) -> Exception:
    """What an actor raised, as an error of zoomrl's own."""
    if isinstance(error, ZoomrlError):
        return error
    return WorkerError(f"an actor could not be used: {type(error).__name__}: {error}")
