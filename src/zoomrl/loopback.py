"""Pages of this machine for this machine: a server at 127.0.0.1 that answers only who knows the printed address.

It listens on this machine alone, answers only requests that carry the token of the printed address, and only under this
machine's own name: a foreign site could ask through the browser. Waitress serves it, with limits on everything that a
stranger could send without the token.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from waitress import wasyncore
from waitress.server import create_server

IDLE_S = 3
"""A connection that sends nothing for so long is closed, unless told otherwise."""
MAX_CONNECTIONS = 200
MAX_HEADER_BYTES = 8192
MAX_BODY_BYTES = 4096
_HOSTS = ("127.0.0.1", "localhost")
_REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
}

Answer = tuple[int, str, bytes]
"""Status, content type and body."""
Route = Callable[[Mapping[str, Any]], Answer]
"""From a WSGI request that carries the token to its answer."""


class Loopback:
    """Serves from three threads, however many connections there are, until :meth:`close`.

    Args:
        port: to serve at; 0 for any.
        route: answers what carries the token. It may be called from two threads at once.
        idle_s: a connection that sends nothing for so long is closed; so is one whose answer takes longer to be made.
        headers: sent with every answer, besides those that keep it out of caches and its address secret.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self, port: int, route: Route, *, idle_s: int | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._route, self._headers = route, list(headers)
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
            channel_timeout=IDLE_S if idle_s is None else idle_s,
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

    def _answer(self, request: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application."""
        status, kind, body = self._refusal(request) or self._route(request)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        # The address holds the token: it is told to nobody.
        start(f"{status} {_REASONS[status]}", [*headers, ("Referrer-Policy", "no-referrer"), *self._headers])
        return [body]

    def _refusal(self, request: Mapping[str, Any]) -> Answer | None:
        host, origin = request.get("HTTP_HOST", ""), request.get("HTTP_ORIGIN")
        if host.partition(":")[0] not in _HOSTS or origin not in (None, f"http://{host}"):
            return text_answer(403, "only this machine's own page may ask")
        given = parse_qs(request.get("QUERY_STRING", "")).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return text_answer(403, "open the address that was printed, with its token")
        return None


def text_answer(status: int, text: str) -> Answer:
    """An answer in plain text."""
    return status, "text/plain; charset=utf-8", text.encode()
