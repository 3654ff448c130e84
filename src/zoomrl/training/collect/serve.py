"""The process of an actor: ``python -m zoomrl.training.collect.serve SOCKET WEIGHTS EPISODES``, of descriptors."""

from __future__ import annotations

import base64
import os
import pickle
import queue
import socket
import sys
import threading
import traceback
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from zoomrl.envs.isolation.channel import Channel
from zoomrl.errors import ZoomrlError
from zoomrl.training.collect.actor import Actor, Job
from zoomrl.training.collect.arrays import read_arrays, write_arrays
from zoomrl.training.collect.ticket import ActorLostError, Collected, Ticket


def serve(connection: socket.socket, theirs: int, ours: int) -> None:
    """Build an actor from the first message, then answer tickets until the other side is gone."""
    torch.set_num_threads(1)
    channel = Channel(connection)
    messages: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(channel, messages), daemon=True).start()
    with ExitStack() as stack:
        try:
            job: Job = pickle.loads(base64.b64decode(messages.get()["job"]))
            envs = stack.enter_context(job.make_envs())
            source = job.make_source(envs, lambda text: print(text, file=sys.stderr, flush=True))
            if source is not None:
                stack.callback(source.close)
            actor = Actor(job, envs, source)
            channel.send({"greeting": actor.greeting()._asdict()})
        except Exception as error:
            channel.send(_failure(error))
            return
        while True:
            message = messages.get()
            arrays = read_arrays(theirs, message["arrays"])
            ticket = Ticket(**message["ticket"], executed=arrays.get("executed"))
            weights = torch.from_numpy(arrays["weights"]) if "weights" in arrays else None
            try:
                found = actor.run(ticket, weights)
                assert found is not None
                numbers, made = taken_apart(found)
                answer = {"collected": numbers, "arrays": write_arrays(ours, made)}
            except Exception as error:
                answer = _failure(error)
            channel.send(answer)


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


def _listen(channel: Channel, messages: queue.Queue[dict[str, Any]]) -> None:
    """Take messages as they come; without a learner there is no use in going on, not even in the middle of a step."""
    while True:
        try:
            messages.put(channel.receive())
        except EOFError:
            os._exit(1)


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, ActorLostError):
        return {"lost": str(error)}
    text = str(error)
    if isinstance(error, ZoomrlError):
        return {"failure": {"kind": type(error).__name__, "text": text, "trace": ""}}
    return {"failure": {"kind": type(error).__name__, "text": text, "trace": traceback.format_exc()}}


if __name__ == "__main__":
    socket_number, weights_file, episodes_file = map(int, sys.argv[1:])
    serve(socket.socket(fileno=socket_number), weights_file, episodes_file)
