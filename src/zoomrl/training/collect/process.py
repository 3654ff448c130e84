"""Actors in processes of this machine. Weights and episodes travel through memory that both sides share."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
from torch import Tensor

from zoomrl import errors
from zoomrl.data.episode import Episode
from zoomrl.envs.isolation.channel import Channel, nameless_file
from zoomrl.envs.processes import CLOSE_TIMEOUT_S, START_TIMEOUT_S, exit_reason, pickled, unanswered
from zoomrl.errors import ConfigError, WorkerError, ZoomrlError
from zoomrl.training.collect.actor import Job
from zoomrl.training.collect.arrays import read_arrays, write_arrays
from zoomrl.training.collect.ticket import ActorLostError, Collected, Greeting, Ticket

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from zoomrl.training.collect.serve import main; main(*map(int, sys.argv[2:]))"
)


class ProcessHandle:
    """An actor in a process of its own, which ends with this one however this one ends.

    Args:
        job: what it is built from.
    """

    def __init__(self, job: Job) -> None:
        self._job = np.frombuffer(pickled(job), np.uint8)
        self._start_timeout_s = max(START_TIMEOUT_S, job.config.env.timeout)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._files: tuple[int, int] = (-1, -1)
        self._version = -1
        self._released = False

    def start(self) -> Greeting:
        """Start the process, and wait until its environment and agent are built."""
        self._let_go()
        ours, theirs = socket.socketpair()
        self._channel, self._files, self._version = Channel(ours), (nameless_file(), nameless_file()), -1
        with theirs:  # only the actor may hold this end, or its death would not close the connection
            descriptors = (theirs.fileno(), *self._files)
            # Modules are found where this process finds them, and in no other order.
            words = [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), *map(str, descriptors)]
            try:
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    process_group=0,  # Ctrl-C is for the learner, which decides what it means
                )
            except OSError as error:
                raise WorkerError(f"an actor could not be started: {error}. Use fewer collect.actors") from error
        if self._released:  # meanwhile, by another thread
            self.release()
        self._send({"job": write_arrays(self._files[0], {"job": self._job})})
        try:
            answer = self._receive(self._start_timeout_s)
        except ConfigError as error:
            raise ConfigError(
                f"{error}\n(This was in an actor. Actors do not run the program that starts them: give what it makes "
                "as make_env, or name an environment of your own as gym:<module>:<registered id>)"
            ) from error
        return Greeting(**answer["greeting"])

    def run(self, ticket: Ticket, weights: Tensor | None, deadline_s: float) -> Collected:
        """Hand the ticket over and wait for its episode."""
        ours, theirs = self._files
        arrays: dict[str, Any] = {}
        if weights is not None and ticket.version != self._version:
            arrays["weights"] = weights.numpy()
        if ticket.executed is not None:
            arrays["executed"] = ticket.executed
        places = write_arrays(ours, arrays)
        numbers = {"index": ticket.index, "version": ticket.version, "start": ticket.start, "seed": ticket.seed}
        self._send({"ticket": numbers, "arrays": places})
        answer = self._receive(deadline_s)
        if "weights" in arrays:
            self._version = ticket.version
        found = read_arrays(theirs, answer["arrays"])
        return collected_of(answer["collected"], found)

    def release(self) -> None:
        """Hang up: the actor closes its environment and ends."""
        self._released = True
        if self._channel is not None:
            with contextlib.suppress(OSError):  # it may be gone by itself
                self._channel.shut_down()

    def close(self) -> None:
        """Wait for its end, and tidy up."""
        self.release()
        self._let_go(CLOSE_TIMEOUT_S)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._channel is not None
        # A failed send means a dead process, which receiving its answer then finds out.
        with contextlib.suppress(OSError):
            self._channel.send(message)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        assert self._channel is not None
        assert self._process is not None
        try:
            answer = self._channel.receive(time.monotonic() + timeout_s)
        except TimeoutError:
            self._end()
            raise ActorLostError(unanswered(timeout_s)) from None
        except EOFError:
            self._end(CLOSE_TIMEOUT_S if self._released else 1.0)
            raise ActorLostError(exit_reason(self._process.returncode)) from None
        if "lost" in answer:
            raise ActorLostError(answer["lost"])
        if "failure" in answer:
            raise _error(**answer["failure"])
        return answer

    def _end(self, patience_s: float = 1.0) -> None:
        assert self._process is not None
        # Where it has closed its end it is about to exit, and its code says why.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _let_go(self, patience_s: float = 1.0) -> None:
        if self._process is not None:
            self._end(patience_s)
        if self._channel is not None:
            self._channel.close()
            for descriptor in self._files:
                os.close(descriptor)
            self._channel = None


def collected_of(numbers: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> Collected:
    """A :class:`Collected` of its numbers and its arrays, as :func:`zoomrl.training.collect.serve.taken_apart` made
    them."""
    episode = None
    if (flags := numbers.pop("episode")) is not None:
        observations = {name.removeprefix("obs/"): array for name, array in arrays.items() if name.startswith("obs/")}
        episode = Episode(observations, arrays["actions"], arrays["rewards"], **flags)
    numbers["lost_resets"], numbers["corrected"] = tuple(numbers["lost_resets"]), tuple(numbers["corrected"])
    return Collected(episode=episode, **numbers)


def _error(kind: str, text: str, trace: str) -> ZoomrlError:
    """What an actor raised; zoomrl's own errors arrive as they are."""
    own = getattr(errors, kind, None)
    if isinstance(own, type) and issubclass(own, ZoomrlError):
        return own(text)
    return WorkerError(f"an actor raised {kind}: {text}\n\nIts traceback:\n{trace}")
