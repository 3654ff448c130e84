"""A page on this machine that shows pictures and says which keys are held."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SILENCE_S = 2.0
"""A page that has not been heard of for so long is gone: what it held is released."""
_HOSTS = ("127.0.0.1", "localhost")


class Page:
    """Serves ``page.html`` at 127.0.0.1 from a thread.

    Args:
        port: to serve at; 0 for any.
        about: what the page shows of the environment; JSON-serialisable.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, about: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._about = json.dumps(about).encode()
        self._picture = b""
        self._where = {"episode": 0, "step": 0}
        self._held: frozenset[str] = frozenset()
        self._tapped: frozenset[str] = frozenset()
        self._group = 0
        self._taken = False
        self._heard = self._asked = -SILENCE_S
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page._get(self)

            def do_POST(self) -> None:
                page._post(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are not reported: there are many a second."""

        self._server: ThreadingHTTPServer | None = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="zoomrl-page", daemon=True).start()

    @property
    def watched(self) -> bool:
        """Whether somebody has asked for a picture lately."""
        return time.monotonic() - self._asked < SILENCE_S

    def show(self, picture: bytes, episode: int, step: int) -> None:
        """Show a JPEG from now on."""
        with self._lock:
            self._picture, self._where = picture, {"episode": episode, "step": step}

    def commands(self) -> tuple[frozenset[str], int, bool]:
        """Keys held now or pressed since last asked, the group of dimensions they move, whether a person took over."""
        with self._lock:
            held, self._tapped = self._held | self._tapped, frozenset()
            if time.monotonic() - self._heard >= SILENCE_S:
                return frozenset(), 0, False
            return held, self._group, self._taken

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        if not _is_local(request):
            return
        path = request.path.partition("?")[0]
        if path == "/":
            _answer(request, "text/html; charset=utf-8", Path(__file__).with_name("page.html").read_bytes())
        elif path == "/about":
            _answer(request, "application/json", self._about)
        elif path == "/picture":
            self._asked = time.monotonic()
            with self._lock:
                picture = self._picture
            _answer(request, "image/jpeg", picture)
        else:
            request.send_error(404)

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        if not _is_local(request):
            return
        try:
            said = json.loads(request.rfile.read(int(request.headers.get("Content-Length", 0))))
            held, group, taken = frozenset(map(str, said["held"])), int(said["group"]), bool(said["taken"])
        except (ValueError, KeyError, TypeError, OverflowError):
            request.send_error(400, "expected held, group and taken")
            return
        with self._lock:
            self._tapped |= held - self._held
            self._held, self._group, self._taken, self._heard = held, max(0, group), taken, time.monotonic()
            where = json.dumps(self._where).encode()
        _answer(request, "application/json", where)


def _is_local(request: BaseHTTPRequestHandler) -> bool:
    """Whether the page itself asks, under this machine's own name; a foreign site could ask through the browser."""
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if host.partition(":")[0] in _HOSTS and origin in (None, f"http://{host}"):
        return True
    request.send_error(403, "only this machine's own page may ask")
    return False


def _answer(request: BaseHTTPRequestHandler, kind: str, body: bytes) -> None:
    request.send_response(200 if body else 204)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Cache-Control", "no-store")
    request.end_headers()
    request.wfile.write(body)
