"""A policy over WebSocket, in the protocol of openpi's clients.

A client connects and receives one message, what the policy is. From then on it sends an observation and receives an
answer, in turns. Each client has an executor of its own; its first message begins an episode.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from zoomrl.deploy.wire import WireError, pack, unpack
from zoomrl.errors import CheckpointError, ConfigError, import_optional
from zoomrl.runtime import BundleError, ObservationError, Policy, load_policy

log = logging.getLogger("zoomrl.deploy")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONTROL = ("reset", "episode", "replan", "observe", "chunk", "time")
"""Names in a message that are no observations."""
_PLACES = {
    **dict.fromkeys(("reset", "replan", "observe", "chunk"), (bool,)),
    "time": (int, float),
    "episode": (int, str),
}
_LONGEST_NAME = 200


@dataclass(frozen=True)
class ServerOptions:
    """How a policy is served.

    Raises:
        ConfigError: a number is out of its range, or others could reach the server without a token.
    """

    host: str = "127.0.0.1"
    """Address to listen on: this machine alone by default."""
    port: int = 8000
    """Port; 0 takes a free one."""
    token: str = ""
    """What clients must send as ``Authorization: Api-Key TOKEN``; needed beyond this machine."""
    max_clients: int = 8
    """Clients at once; more are refused."""
    max_megabytes: float = 16.0
    """Largest message."""
    max_hz: float = 1000.0
    """Messages per second of one client; faster ones wait."""
    idle_seconds: float = 60.0
    """Time after which a client that does not answer a ping is dropped."""

    def __post_init__(self) -> None:
        for name, low in (("port", 0), ("max_clients", 1), ("max_megabytes", 0.001), ("max_hz", 0.1)):
            if not getattr(self, name) >= low:
                raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not self.port <= 65535:
            raise ConfigError(f"port must be at most 65535, got {self.port}")
        if not 0.1 <= self.idle_seconds <= 86_400:
            raise ConfigError(f"idle_seconds must lie between 0.1 and 86400, got {self.idle_seconds}")
        if self.host not in LOOPBACK and not self.token:
            raise ConfigError(
                f"on {self.host} anyone who reaches this machine could drive the policy: choose a token with --token, "
                "or listen on 127.0.0.1 and forward the port over SSH"
            )


class Server:
    """Serves one bundle to several clients.

    Args:
        folder: the bundle.
        options: how it is served.

    Raises:
        CheckpointError: the folder holds no bundle.
        MissingDependencyError: without the extra ``zoomrl[serve]``.
    """

    def __init__(self, folder: Path, options: ServerOptions) -> None:
        for module in ("websockets", "msgpack", "onnxruntime"):
            import_optional(module, "serve")
        try:
            self._policy = load_policy(folder)
        except BundleError as error:
            raise CheckpointError(str(error)) from error
        self._options = options
        # One at a time: inferences of a small network are slower side by side.
        self._worker = ThreadPoolExecutor(1, "inference")
        self._clients = 0
        self._served = 0
        self._refusals: Counter[str] = Counter()
        self.port = options.port
        """Where it listens; known once it does."""

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled; ``ready`` is called once clients can connect.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        from websockets.asyncio.server import serve

        options = self._options
        try:
            server = await serve(
                self._serve,
                options.host,
                options.port,
                process_request=self._check_request,
                compression=None,
                max_size=int(options.max_megabytes * 1e6),
                max_queue=2,
                open_timeout=min(10.0, options.idle_seconds),
                close_timeout=1.0,
                ping_interval=options.idle_seconds / 2,
                ping_timeout=options.idle_seconds / 2,
            )
        except OSError as error:
            hint = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
            raise ConfigError(
                f"{options.host}:{options.port} cannot be listened on: {error.strerror or error}{hint}"
            ) from error
        try:
            async with server:
                self.port = next(iter(server.sockets)).getsockname()[1]
                ready()
                await server.wait_closed()
        finally:
            self._worker.shutdown(cancel_futures=True)

    def metadata(self) -> dict[str, Any]:
        """What a client is told first."""
        facts = self._policy.facts
        kept = ("format", "version", "agent", "chunk_length", "frame_stack", "observations", "action", "executor")
        return {
            **{name: facts[name] for name in kept},
            "control_hz": facts["control_hz"],
            "environment": facts["environment"]["id"],
            "env_steps": facts["training"]["env_steps"],
            "action_horizon": 1,
            "control": list(CONTROL),
        }

    # ---- requests ------------------------------------------------------------------------------------------

    def _check_request(self, connection: Any, request: Any) -> Any:
        """Answer ``/healthz``; refuse a client without the token, or one too many."""
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        token = self._options.token
        given = request.headers.get("Authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Api-Key {token}".encode()):
            self._refused("a client", "without the token")
            return connection.respond(HTTPStatus.UNAUTHORIZED, "send the header Authorization: Api-Key TOKEN\n")
        if self._clients >= self._options.max_clients:
            text = f"{self._options.max_clients} clients are connected already (--max-clients)"
            self._refused("a client", text)
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{text}\n")
        return None

    def _refused(self, what: str, why: str) -> None:
        """Log the 1st, 10th, 100th refusal and so on: whoever asks wrongly cannot fill a disk."""
        self._refusals[what] += 1
        count = self._refusals[what]
        if str(count).strip("0") == "1":
            log.warning("refused %s: %s (%s so far)", what, why, f"{count:,}")

    @asynccontextmanager
    async def _counted(self) -> Any:
        self._clients += 1
        self._served += 1
        try:
            yield
        finally:
            self._clients -= 1

    async def _serve(self, connection: Any) -> None:
        """One client, until it leaves."""
        from websockets.exceptions import ConnectionClosed

        if self._clients >= self._options.max_clients:  # two may have asked at the same time
            await connection.close(1013, "too many clients")
            return
        async with self._counted():
            client = _Client(self._policy.another(self._served))
            due = 0.0
            try:
                await connection.send(pack(self.metadata()))
                async for data in connection:
                    if (wait := due - time.monotonic()) > 0:
                        await asyncio.sleep(wait)
                    due = time.monotonic() + 1 / self._options.max_hz
                    await connection.send(await self._answer(client, data))
            except ConnectionClosed:
                log.debug("a client left")

    async def _answer(self, client: _Client, data: str | bytes) -> bytes | str:
        """What one message is answered with: a text, which openpi's clients raise, where it is refused."""
        loop = asyncio.get_running_loop()
        try:
            if isinstance(data, str):
                raise WireError("a message is msgpack in a binary frame, got text")
            return await loop.run_in_executor(self._worker, client.answer, data)
        except (WireError, ObservationError) as error:
            self._refused("a message", str(error))
            return str(error)
        except Exception:  # of the graph: the client learns that it failed, the others go on
            log.exception("an inference failed")
            return "the inference failed; the server's log says why"


class _Client:
    """One client's executor, and where its episode is."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._episode: object = None
        self._steps = 0

    def answer(self, data: bytes) -> bytes:
        """The answer to one message."""
        began = time.perf_counter()
        message = unpack(data)
        control = {name: message.pop(name) for name in CONTROL if name in message}
        self._check(control)
        if control.get("reset") or ("episode" in control and control["episode"] != self._episode):
            self._policy.reset()
            self._steps = 0
        self._episode = control.get("episode", self._episode)
        if control.get("replan"):
            self._policy.replan()
        if not message and (control.get("reset") or control.get("replan")):
            return pack({**{name: True for name in ("reset", "replan") if control.get(name)}, **_echo(control)})
        if control.get("observe"):
            self._policy.observe(message)
            reply: dict[str, Any] = {"observe": True}
        else:
            reply = self._chunk(message) if control.get("chunk") else self._action(message)
        self._steps += 1
        milliseconds = 1e3 * (time.perf_counter() - began)
        reply |= {"step": self._steps - 1, "server_timing": {"infer_ms": milliseconds}}
        return pack({**reply, **_echo(control)})

    def _action(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """One action by this client's executor, as a chunk of length 1."""
        action = self._policy.act(observation)
        return {"actions": action[None], "valid": np.ones(1, np.bool_), **self._value()}

    def _chunk(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """The whole chunk, for clients that execute it themselves."""
        actions = self._policy.chunk(observation)
        return {"actions": actions, "valid": np.ones(len(actions), np.bool_), **self._value()}

    def _value(self) -> dict[str, float]:
        return {} if self._policy.value is None else {"value": self._policy.value}

    @staticmethod
    def _check(control: Mapping[str, Any]) -> None:
        for name, value in control.items():
            kinds = _PLACES[name]
            right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
            if not right or (isinstance(value, str) and len(value) > _LONGEST_NAME):
                raise WireError(f"{name!r} must be {' or '.join(kind.__name__ for kind in kinds)}, got {value!r:.40}")
            if isinstance(value, float) and not math.isfinite(value):
                raise WireError(f"{name!r} must be finite, got {value}")


def _echo(control: Mapping[str, Any]) -> dict[str, Any]:
    """The client's time stamp comes back, with ours."""
    return {"time": control["time"], "server_time": time.time()} if "time" in control else {}
