"""Actors in processes of this machine. Weights and episodes travel through memory that both sides share."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
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
from zoomrl.envs.processes import START_TIMEOUT_S, exit_reason, pickled, unanswered
from zoomrl.errors import WorkerError, ZoomrlError
from zoomrl.training.collect.actor import Job
from zoomrl.training.collect.arrays import read_arrays, write_arrays
from zoomrl.training.collect.ticket import ActorLostError, Collected, Greeting, Ticket


class ProcessHandle:
    """An actor in a process of its own, which ends with this one however this one ends.

    Args:
        job: what it is built from.
    """

    def __init__(self, job: Job) -> None:
        self._job = base64.b64encode(pickled(job)).decode()
        self._start_timeout_s = max(START_TIMEOUT_S, job.config.env.timeout)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._files: tuple[int, int] = (-1, -1)
        self._version = -1
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id; None where there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> Greeting:
        """Start the process, and wait until its environment and agent are built."""
        self._let_go()
        ours, theirs = socket.socketpair()
        self._channel, self._files, self._version = Channel(ours), (nameless_file(), nameless_file()), -1
        with theirs:  # only the actor may hold this end, or its death would not close the connection
            descriptors = (theirs.fileno(), *self._files)
            path = os.pathsep.join(dict.fromkeys(filter(None, sys.path)))
            environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "zoomrl.training.collect.serve", *map(str, descriptors)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    env=environment,
                    process_group=0,  # Ctrl-C is for the learner, which decides what it means
                )
            except OSError as error:
                raise WorkerError(f"an actor could not be started: {error}. Use fewer collect.actors") from error
        if self._closed:  # meanwhile, by another thread
            self.close()
        self._send({"job": self._job})
        answer = self._receive(self._start_timeout_s)
        return Greeting(**answer["greeting"])

    def run(self, ticket: Ticket, weights: Tensor | None, deadline_s: float) -> Collected:
        """Hand the ticket over and wait for its episode."""
        ours, theirs = self._files
        arrays: dict[str, Any] = {}
        if weights is not None and ticket.executed is None and ticket.version != self._version:
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

    def close(self) -> None:
        """End the process."""
        self._closed = True
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError):  # it may be gone by itself
                process.send_signal(signal.SIGKILL)
            process.wait()

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
            self._end()
            raise ActorLostError(exit_reason(self._process.returncode)) from None
        if "lost" in answer:
            raise ActorLostError(answer["lost"])
        if "failure" in answer:
            raise _error(**answer["failure"])
        return answer

    def _end(self) -> None:
        assert self._process is not None
        # Where it has closed its end it is about to exit, and its code says why.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _let_go(self) -> None:
        if self._process is not None:
            self._end()
        if self._channel is not None:
            self._channel.close()
            for descriptor in self._files:
                os.close(descriptor)
            self._channel = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._let_go()


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
