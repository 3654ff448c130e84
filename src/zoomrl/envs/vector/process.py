"""A vector environment with one worker process per environment.

A worker that dies costs its episode and nothing else: it is reported, restarted, and listed in
``StepResult.died``.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoomrl.envs.base import Env, Observation
from zoomrl.envs.processes import (
    CLOSE_TIMEOUT_S,
    DEATHS_IN_A_ROW,
    START_TIMEOUT_S,
    SimulatorDied,
    exit_reason,
    pickled,
    unanswered,
)
from zoomrl.envs.vector.base import StepOutcome, VectorEnv
from zoomrl.envs.vector.worker import HELLO, Failure, serve
from zoomrl.errors import ConfigError, SimulatorError, WorkerError, ZoomrlError
from zoomrl.spec import EnvSpec

_log = logging.getLogger("zoomrl.envs")

_UNCAUGHT = 1
"""Exit code of a Python process that ended by an exception."""
_NOT_STARTED = "ended before it could build its environment"
_MAIN_GUARD = (
    "Workers import the program that starts them. Keep it in a file, not on standard input, and put what it runs below "
    "`if __name__ == \"__main__\":`, or every worker starts it again. Without workers: workers='serial'"
)


@dataclass(frozen=True)
class _Died:
    """Why a worker will not answer any more, and the exit code of its process where there is one."""

    reason: str
    code: int | None = None


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    name: str
    env_id: str = ""
    greeted: bool = False
    """Whether it has said what it runs, so that its program could be imported and its environment built."""
    deaths: int = 0
    ticket: int = HELLO
    """Number of the latest request; replies to earlier ones are stale."""


class ProcessVectorEnv(VectorEnv):
    """Steps each environment in a process of its own.

    Args:
        factories: one per environment, pickled with cloudpickle, so closures work.
        timeout_s: seconds after which a worker that does not answer counts as dead.
        start_method: ``spawn`` or ``forkserver``. Never ``fork``: it copies locks that the threads of a
            training process hold. As always with these, a script needs ``if __name__ == "__main__":``.

    Raises:
        ConfigError: when the program came from standard input, which workers cannot import.
        SimulatorError: when an environment raises, or shows what its spec does not promise; its traceback is in the
            message.
        WorkerError: when a worker cannot be started, or dies three times in a row without completing a step. zoomrl's
            other errors arrive unchanged.
    """

    def __init__(
        self,
        factories: Sequence[Callable[[], Env]],
        timeout_s: float = 60.0,
        start_method: Literal["spawn", "forkserver"] = "spawn",
    ) -> None:
        if start_method not in ("spawn", "forkserver"):
            raise ConfigError(f"start_method must be 'spawn' or 'forkserver', got {start_method!r}")
        if not timeout_s > 0:
            raise ConfigError(f"timeout must be above 0 seconds, got {timeout_s:g}")
        _check_main()
        self._timeout_s = timeout_s
        # What may take that long to answer may take as long to start.
        self._start_timeout_s = max(START_TIMEOUT_S, timeout_s)
        self._context = multiprocessing.get_context(start_method)
        self._payloads = [pickled(factory) for factory in factories]
        self._workers: list[_Worker] = []
        try:
            for index in range(len(factories)):  # one by one: those started before a failure are ended below
                self._workers.append(self._start(index, f"worker {index}"))
            specs = self._hellos(range(len(factories)))
            for index, (worker, spec) in enumerate(zip(self._workers, specs, strict=True)):
                worker.name, worker.env_id = f"worker {index} ({spec.id})", spec.id
            super().__init__(specs)
        except BaseException:
            self.close()
            raise

    @property
    def worker_pids(self) -> list[int]:
        """Process ids, one per environment; they change when a worker is restarted."""
        return [int(worker.process.pid or -1) for worker in self._workers]

    def render(self, index: int) -> NDArray[np.uint8]:
        """Image of environment ``index``, uint8 [H, W, 3]. WorkerError when its worker dies over it."""
        reply = self._ask({index: ("render", None)})[index]
        if isinstance(reply, _Died):
            raise WorkerError(f"{self._workers[index].name} died while rendering ({reply.reason})")
        frame: NDArray[np.uint8] = reply
        return frame

    def close(self) -> None:
        """End all workers, by force where they do not end by themselves. Safe to call twice."""
        for worker in self._workers:
            _try_send(worker.pipe, (HELLO, "close", None))
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            _end(worker)
        self._workers = []

    def _reset_one(self, index: int, seed: int) -> tuple[Observation, dict[str, Any]]:
        # No episode is lost when a worker dies here, so the reset is simply tried again.
        while True:
            reply = self._ask({index: ("reset", seed)})[index]
            if not isinstance(reply, _Died):
                observation, info = reply
                return observation, info
            self._revive(index, reply)

    def _step_some(self, actions: Mapping[int, NDArray[np.float32]]) -> dict[int, StepOutcome | None]:
        replies = self._ask({index: ("step", action) for index, action in actions.items()}, bearable=(SimulatorDied,))
        outcomes: dict[int, StepOutcome | None] = {}
        for index, reply in replies.items():
            if isinstance(reply, _Died):
                outcomes[index] = None
                self._revive(index, reply, lost=", its episode is dropped")
            elif isinstance(reply, Failure):
                # The worker itself lives, and starts its simulator again at the next reset.
                outcomes[index] = None
                _log.warning("%s: its episode is dropped: %s", self._workers[index].name, reply.error)
            else:
                outcomes[index] = reply
                self._workers[index].deaths = 0
        return outcomes

    # ---- talking to workers ----------------------------------------------------------------------------

    def _ask(
        self, requests: Mapping[int, tuple[str, Any]], bearable: tuple[type[ZoomrlError], ...] = ()
    ) -> dict[int, Any]:
        """Send all requests, then collect all replies.

        A dead worker's reply is :class:`_Died`, and that of one which met a ``bearable`` error :class:`Failure`.
        """
        if not self._workers:
            raise WorkerError("this vector environment is closed")
        for index, request in requests.items():
            worker = self._workers[index]
            worker.ticket += 1
            # A failed send means a dead worker, which collecting its reply then finds out.
            _try_send(worker.pipe, (worker.ticket, *request))
        return self._collect(requests, self._timeout_s, bearable)

    def _collect(
        self, indices: Mapping[int, Any] | range, timeout_s: float, bearable: tuple[type[ZoomrlError], ...] = ()
    ) -> dict[int, Any]:
        deadline = time.monotonic() + timeout_s
        replies: dict[int, Any] = {}
        waiting = {self._workers[index].pipe: index for index in indices}
        while waiting:
            ready = wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                replies |= {i: _Died(unanswered(timeout_s)) for i in waiting.values()}
                break
            for pipe in ready:
                assert isinstance(pipe, Connection)
                index = waiting[pipe]
                ticket, reply = _receive(self._workers[index])
                if ticket == self._workers[index].ticket:
                    replies[index] = reply
                    del waiting[pipe]
        for index, reply in sorted(replies.items()):
            if isinstance(reply, Failure) and not isinstance(reply.error, bearable):
                self._raise(self._workers[index], reply)
        return replies

    @staticmethod
    def _raise(worker: _Worker, failure: Failure) -> None:
        if isinstance(failure.error, SimulatorError):
            # Exceptions lose their cause in the pipe, and which worker it was.
            text = str(failure.error)
            own = text.removeprefix(worker.env_id) if worker.env_id else f": {text}"
            raise SimulatorError(f"{worker.name}{own}\n\nIts traceback:\n{failure.trace}")
        if failure.error is not None:
            raise failure.error
        raise WorkerError(f"{worker.name} raised {failure.summary}\n\nIts traceback:\n{failure.trace}")

    # ---- birth and death -------------------------------------------------------------------------------

    def _start(self, index: int, name: str) -> _Worker:
        try:
            ours, theirs = self._context.Pipe()
            try:
                process = self._context.Process(  # type: ignore[attr-defined]
                    target=serve, args=(theirs, self._payloads[index]), name=f"zoomrl-env-{index}", daemon=True
                )
                process.start()
            except BaseException:
                ours.close()
                raise
            finally:
                # Only the worker may hold this end, or its death would not close the pipe.
                theirs.close()
        except OSError as error:
            raise WorkerError(
                f"{name} of {len(self._payloads)} could not be started: {error}. The others were ended. Use fewer "
                "environments (num_envs, eval.num_envs), or workers='serial'"
            ) from error
        return _Worker(process, ours, name)

    def _hellos(self, indices: range) -> list[EnvSpec]:
        """Specs of freshly started workers, restarting any that die over it."""
        replies = self._collect(indices, self._start_timeout_s)
        specs = []
        for index in indices:
            reply = replies[index]
            if isinstance(reply, _Died) and reply.code == _UNCAUGHT:
                # What an environment raises arrives as an error. This came before it: another start would repeat it.
                raise WorkerError(f"{self._workers[index].name} {_NOT_STARTED} ({reply.reason}). {_MAIN_GUARD}")
            specs.append(self._revive(index, reply) if isinstance(reply, _Died) else reply)
            self._workers[index].greeted = True
        return specs

    def _revive(self, index: int, death: _Died, lost: str = "") -> EnvSpec:
        """Replace a dead worker, reporting the death and what it ``lost``; WorkerError if it keeps dying."""
        while True:
            old = self._workers[index]
            _end(old)
            deaths = old.deaths + 1
            if deaths >= DEATHS_IN_A_ROW:
                self.close()
                guard = "" if old.greeted else f". {_MAIN_GUARD}"
                raise WorkerError(
                    f"{old.name} died {deaths} times in a row without completing a step "
                    f"(last: {death.reason}). Run the environment with workers='serial' to see the fault "
                    "itself; if it was killed for want of memory, use fewer environments; if it is merely "
                    f"slow, raise the timeout{guard}"
                )
            _log.warning("%s died (%s); restarted%s", old.name, death.reason, lost)
            self._workers[index] = new = self._start(index, old.name)
            new.deaths, new.env_id = deaths, old.env_id
            reply = self._collect({index: None}, self._start_timeout_s)[index]
            if not isinstance(reply, _Died):
                new.greeted = True
                spec: EnvSpec = reply
                return spec
            death = reply


def _receive(worker: _Worker) -> tuple[int, Any]:
    """The ticket and value waiting in the pipe; the value is :class:`_Died` when the pipe is closed."""
    try:
        ticket, value = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(CLOSE_TIMEOUT_S)
        code = worker.process.exitcode
        return worker.ticket, _Died(exit_reason(code), code)
    return ticket, value


def _check_main() -> None:
    """Refuse a program that workers cannot import, before any of them tries."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None:
        return  # an interactive session, or a module: multiprocessing knows what to do
    if not os.path.exists(path):
        raise ConfigError(
            f"worker processes cannot import the program that starts them: there is no file {path}. {_MAIN_GUARD}"
        )


def _try_send(pipe: Connection, message: Any) -> None:
    with contextlib.suppress(OSError):
        pipe.send(message)


def _end(worker: _Worker) -> None:
    """Make sure that the process is gone. It gets no chance to object: it may hang anywhere."""
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()
    worker.pipe.close()
