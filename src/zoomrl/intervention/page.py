"""A page on this machine that shows images and says which keys are held.

Whoever can reach the page moves the robot. So it listens on this machine alone, answers only requests that carry the
token of the printed address, and only under this machine's own name: a foreign site could ask through the browser.
Waitress serves it, with limits on everything that a stranger could send without the token.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from waitress import wasyncore
from waitress.server import create_server

SILENCE_S = 2.0
"""A page that has not been heard of for so long is gone: what it held is released."""
IDLE_S = 3
"""A connection that sends nothing for so long is closed."""
MAX_CONNECTIONS = 200
MAX_HEADER_BYTES = 8192
MAX_BODY_BYTES = 4096
_MAX_KEYS = 32
_HOSTS = ("127.0.0.1", "localhost")
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}
_Answer = tuple[int, str, bytes]


class Page:
    """Serves ``page.html`` at 127.0.0.1 from three threads, however many connections there are.

    Args:
        port: to serve at; 0 for any.
        about: what the page shows of the environment; JSON-serialisable.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, about: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._about = json.dumps(about).encode()
        self._image = b""
        self._where = {"episode": 0, "step": 0}
        self._held: frozenset[str] = frozenset()
        self._tapped: frozenset[str] = frozenset()
        self._group = 0
        self._taken = False
        self._heard = self._asked = -SILENCE_S
        self._closing = threading.Event()
        self._connections: dict[int, Any] = {}
        self.token = secrets.token_urlsafe(16)
        """What every request must carry."""
        listening = socket.create_server(("127.0.0.1", port))
        self.port = int(listening.getsockname()[1])
        self._server = create_server(
            self._answer,
            map=self._connections,
            sockets=[listening],
            threads=2,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_S,
            cleanup_interval=1,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            log_socket_errors=False,
            ident="",
        )
        self._thread = threading.Thread(target=self._serve, name="zoomrl-page", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """To open in a browser."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def watched(self) -> bool:
        """Whether somebody has asked for an image lately."""
        return time.monotonic() - self._asked < SILENCE_S

    def show(self, image: bytes, episode: int, step: int) -> None:
        """Show a JPEG from now on."""
        with self._lock:
            self._image, self._where = image, {"episode": episode, "step": step}

    def commands(self) -> tuple[frozenset[str], int, bool]:
        """Keys held now or pressed since last asked, the group of dimensions they move, whether a person took over."""
        with self._lock:
            held, self._tapped = self._held | self._tapped, frozenset()
            if time.monotonic() - self._heard >= SILENCE_S:
                return frozenset(), 0, False
            return held, self._group, self._taken

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.pull_trigger()
            self._thread.join()

    def _serve(self) -> None:
        while not self._closing.is_set():
            wasyncore.loop(timeout=1, use_poll=True, map=self._connections, count=1)
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._connections)

    # ---- requests ----------------------------------------------------------------------------------------

    def _answer(self, request: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application."""
        status, kind, body = self._refusal(request) or self._route(request)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        # The address holds the token: it is told to nobody.
        start(f"{status} {_REASONS[status]}", [*headers, ("Referrer-Policy", "no-referrer")])
        return [body]

    def _refusal(self, request: Mapping[str, Any]) -> _Answer | None:
        host, origin = request.get("HTTP_HOST", ""), request.get("HTTP_ORIGIN")
        if host.partition(":")[0] not in _HOSTS or origin not in (None, f"http://{host}"):
            return _said(403, "only this machine's own page may ask")
        given = parse_qs(request.get("QUERY_STRING", "")).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return _said(403, "open the address that was printed, with its token")
        return None

    def _route(self, request: Mapping[str, Any]) -> _Answer:
        asked = request["REQUEST_METHOD"], request["PATH_INFO"]
        if asked == ("GET", "/"):
            return 200, "text/html; charset=utf-8", Path(__file__).with_name("page.html").read_bytes()
        if asked == ("GET", "/about"):
            return 200, "application/json", self._about
        if asked == ("GET", "/image"):
            self._asked = time.monotonic()
            with self._lock:
                image = self._image
            return 200 if image else 204, "image/jpeg", image
        if asked == ("POST", "/keys"):
            return self._keys(request["wsgi.input"].read(MAX_BODY_BYTES))
        return _said(404, "there is no such page")

    def _keys(self, body: bytes) -> _Answer:
        try:
            said = json.loads(body)
            held, group, taken = frozenset(map(str, said["held"])), int(said["group"]), bool(said["taken"])
            if len(held) > _MAX_KEYS:
                raise ValueError(f"more than {_MAX_KEYS} keys")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return _said(400, "expected held, group and taken")
        with self._lock:
            self._tapped |= held - self._held
            self._held, self._group, self._taken, self._heard = held, max(0, group), taken, time.monotonic()
            where = json.dumps(self._where).encode()
        return 200, "application/json", where


def _said(status: int, text: str) -> _Answer:
    return status, "text/plain; charset=utf-8", text.encode()
