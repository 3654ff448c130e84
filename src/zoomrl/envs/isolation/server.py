"""The simulator's side of isolation: one environment, and answers to the parent's requests.

Requests are ``{"ticket", "name", ...}`` and every one gets one reply with its ticket, which is an ``error``
where the environment raised. The first message is the environment's config, and its reply the spec.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any

from zoomrl.envs.base import Env, Observation
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.image import as_image
from zoomrl.envs.isolation.channel import Block, Channel, scalars
from zoomrl.envs.registry import make_env
from zoomrl.errors import ZoomrlError


def serve(connection: int, memory: int) -> None:
    """Build the environment that the parent asks for over the socket ``connection``, and answer it until it hangs up.

    Args:
        connection: descriptor of a connected socket.
        memory: descriptor of the file in which arrays travel.
    """
    threading.Thread(target=_exit_with_parent, args=(connection,), daemon=True).start()
    channel = Channel(socket.socket(fileno=connection))
    server: _Server | None = None
    try:
        server = _build(channel, memory)
        while server is not None and server.answer(channel):
            pass
    except (EOFError, OSError):
        pass  # The parent is gone or has let go of this simulator.
    finally:
        if server is not None:
            server.env.close()


def _exit_with_parent(connection: int) -> None:
    """End this process with its parent, even in the middle of a step that never returns."""
    poll = select.poll()
    # No event is asked for. That the other end is gone is reported all the same.
    poll.register(connection, 0)
    poll.poll()
    os._exit(1)


def _build(channel: Channel, memory: int) -> _Server | None:
    request = channel.receive()
    built: list[_Server] = []

    def build() -> dict[str, Any]:
        # JSON knows no tuples.
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in request["config"].items()}
        env = make_env(EnvConfig(**fields))
        built.append(_Server(env, Block(memory, env.env_spec, allocate=True)))
        return {"spec": env.env_spec.to_dict(), "has_expert": env.has_expert}

    channel.send({"ticket": request["ticket"], **_tried(build)})
    return built[0] if built else None


class _Server:
    def __init__(self, env: Env, block: Block) -> None:
        self.env = env
        self._block = block
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "reset": self._reset,
            "step": self._step,
            "expert": self._expert,
            "render": self._render,
        }

    def answer(self, channel: Channel) -> bool:
        """Answer one request; whether more may come."""
        request = channel.receive()
        if request["name"] == "close":
            return False
        reply = _tried(lambda: self._answers[request["name"]](request))
        channel.send({"ticket": request["ticket"], **reply})
        return True

    def _reset(self, request: dict[str, Any]) -> dict[str, Any]:
        observation, info = self.env.reset(seed=request["seed"])
        self._show(observation)
        return {"info": scalars(info)}

    def _step(self, request: dict[str, Any]) -> dict[str, Any]:
        observation, reward, terminated, truncated, info = self.env.step(self._block.action.copy())
        self._show(observation)
        flags = {"terminated": bool(terminated), "truncated": bool(truncated)}
        return {"reward": float(reward), **flags, "info": scalars(info)}

    def _show(self, observation: Observation) -> None:
        for name, place in self._block.observation.items():
            place[...] = observation[name]

    def _expert(self, request: dict[str, Any]) -> dict[str, Any]:
        action = self.env.expert_action()
        if action is not None:
            self._block.action[...] = action
        return {"known": action is not None}

    def _render(self, request: dict[str, Any]) -> dict[str, Any]:
        frame = as_image(self.env.render())
        self._block.image(frame.shape)[...] = frame
        return {"shape": frame.shape}


def _tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``work`` returns, or the error that it raised."""
    try:
        return work()
    except Exception as error:
        own = type(error).__name__ if isinstance(error, ZoomrlError) else ""
        text = str(error) if own else f"{type(error).__name__}: {error}"
        return {"error": {"own": own, "text": text, "trace": traceback.format_exc()}}
