"""The process of an actor: builds one, and answers tickets until the learner is gone."""

from __future__ import annotations

import os
import pickle
import queue
import socket
import sys
import threading
import time
import traceback
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import torch

from zoomrl.envs.isolation.channel import Channel
from zoomrl.envs.processes import CLOSE_TIMEOUT_S
from zoomrl.errors import ZoomrlError
from zoomrl.training.collect.actor import Actor, Job
from zoomrl.training.collect.arrays import read_arrays, write_arrays
from zoomrl.training.collect.ticket import ActorLostError, Collected, Ticket


def main(connection: int, theirs: int, ours: int) -> None:
    """Serve a learner.

    Args:
        connection: descriptor of the socket to it.
        theirs: of the file in memory that it writes weights to.
        ours: of the one that episodes are written to.
    """
    torch.set_num_threads(1)
    channel = Channel(socket.socket(fileno=connection))
    messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
    gone = threading.Event()
    threading.Thread(target=_listen, args=(channel, messages, gone), daemon=True).start()
    with ExitStack() as stack, suppress(BrokenPipeError, ConnectionResetError):
        try:
            first = messages.get()
            if first is None:
                return
            job: Job = pickle.loads(read_arrays(theirs, first["job"])["job"].tobytes())
            envs = stack.enter_context(job.make_envs())
            source = job.make_source(envs, lambda text: print(text, file=sys.stderr, flush=True))
            if source is not None:
                stack.callback(source.close)
            actor = Actor(job, envs, source, gone.is_set)
            channel.send({"greeting": actor.greeting()._asdict()})
        except Exception as error:
            channel.send(_failure(error))
            return
        while (message := messages.get()) is not None:
            channel.send(_answer(actor, message, theirs, ours))


def _answer(actor: Actor, message: dict[str, Any], theirs: int, ours: int) -> dict[str, Any]:
    try:
        arrays = read_arrays(theirs, message["arrays"])
        ticket = Ticket(**message["ticket"], executed=arrays.get("executed"))
        weights = torch.from_numpy(arrays["weights"]) if "weights" in arrays else None
        found = actor.run(ticket, weights)
        if found is None:
            return {"lost": "its learner is gone"}
        numbers, made = taken_apart(found)
        return {"collected": numbers, "arrays": write_arrays(ours, made)}
    except Exception as error:
        return _failure(error)


def taken_apart(found: Collected) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The numbers of a :class:`Collected`, and its arrays."""
    numbers: dict[str, Any] = {name: value for name, value in vars(found).items() if name != "episode"}
    episode = found.episode
    if episode is None:
        return {**numbers, "episode": None}, {}
    flags = {name: bool(getattr(episode, name)) for name in ("terminated", "truncated", "success")}
    arrays = {f"obs/{name}": array for name, array in episode.observations.items()}
    arrays |= {"actions": episode.actions, "rewards": episode.rewards}
    return {**numbers, "episode": {**flags, "seed": episode.seed}}, arrays


def _listen(channel: Channel, messages: queue.Queue[dict[str, Any] | None], gone: threading.Event) -> None:
    """Take messages as they come. Without a learner the episode is left at its next step, or by force."""
    try:
        while True:
            messages.put(channel.receive())
    except EOFError:
        gone.set()
        messages.put(None)
        time.sleep(CLOSE_TIMEOUT_S)
        os._exit(1)


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, ActorLostError):
        return {"lost": str(error)}
    text = str(error)
    if isinstance(error, ZoomrlError):
        return {"failure": {"kind": type(error).__name__, "text": text, "trace": ""}}
    return {"failure": {"kind": type(error).__name__, "text": text, "trace": traceback.format_exc()}}
