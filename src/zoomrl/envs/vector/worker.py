"""The worker side of a process-based vector environment: one environment behind a pipe.

Requests are ``(ticket, name, argument)`` and every one gets one reply ``(ticket, value)``, whose value is a
:class:`Failure` where the environment raised. The ticket lets the parent discard the reply to a request that
it gave up waiting for, as after Ctrl-C. The environment's spec comes first, under :data:`HELLO`.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

from zoomrl.envs.base import Env
from zoomrl.envs.isolation.channel import scalars
from zoomrl.envs.vector.base import outcome_of
from zoomrl.errors import ZoomrlError

HELLO = 0


@dataclass(frozen=True)
class Failure:
    """An exception that crossed the pipe.

    Attributes:
        summary: the exception's type and message.
        trace: the worker's traceback as text.
        error: the exception itself where it is zoomrl's own, which the user should meet unchanged.
    """

    summary: str
    trace: str
    error: ZoomrlError | None = None


def serve(pipe: Connection, payload: bytes) -> None:
    """Build the environment pickled in ``payload``, then answer requests until ``close`` or a closed pipe."""
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    env: Env | None = None
    try:
        env = _build(pipe, payload)
        while env is not None:
            ticket, name, argument = pipe.recv()
            if name == "close":
                break
            _answer(pipe, ticket, partial(_handle, env, name, argument))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # The parent is gone or has let go of this worker.
    finally:
        if env is not None:
            env.close()


def _exit_with_parent() -> None:
    """End this process with its parent, even in the middle of a step that never returns."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _build(pipe: Connection, payload: bytes) -> Env | None:
    built: list[Env] = []

    def build() -> Any:
        built.append(pickle.loads(payload)())
        return built[0].env_spec

    _answer(pipe, HELLO, build)
    return built[0] if built else None


def _answer(pipe: Connection, ticket: int, work: Callable[[], Any]) -> None:
    try:
        # Pickled here: what cannot be sent is a failure like any other.
        message = ForkingPickler.dumps((ticket, work()))
    except Exception as error:
        own = error if isinstance(error, ZoomrlError) else None
        failure = Failure(f"{type(error).__name__}: {error}", traceback.format_exc(), own)
        message = ForkingPickler.dumps((ticket, failure))
    pipe.send_bytes(message)


def _handle(env: Env, name: str, argument: Any) -> Any:
    if name == "step":
        return outcome_of(env.step(argument))
    if name == "reset":
        observation, info = env.reset(seed=argument)
        return observation, scalars(info)
    if name == "render":
        return env.render()
    raise ValueError(f"unknown request {name!r}")
