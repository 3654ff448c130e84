"""The pages of a set, served to this machine's browser alone. Each is made when it is asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from zoomrl.demos.view.page import INDEX
from zoomrl.demos.view.pages import SetPages
from zoomrl.errors import DemonstrationError
from zoomrl.loopback import Answer, Loopback, text_answer

_IDLE_S = 120
"""A page of a long episode with many images takes seconds."""
_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "frame-ancestors 'none'"))


class Viewer:
    """Serves the pages of an open set at 127.0.0.1, to whoever knows the token of :attr:`address`.

    Args:
        pages: of the set, which stays open until :meth:`close`.
        port: to serve at; 0 for any.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, pages: SetPages, port: int = 0) -> None:
        self._pages = pages
        # One episode in memory, however many ask.
        self._lock = threading.Lock()
        self._loopback = Loopback(port, self._route, idle_s=_IDLE_S, headers=_HEADERS)
        self.address = self._loopback.address
        """To open in a browser."""

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        self._loopback.close()

    def _route(self, request: Mapping[str, Any]) -> Answer:
        if request["REQUEST_METHOD"] != "GET":
            return text_answer(404, "pages can be read, and nothing else")
        asked = request["PATH_INFO"].removeprefix("/")
        if asked in ("", INDEX):
            return _page(self._pages.index(self._link))
        found = re.fullmatch(r"episode_(\d{1,9})\.html", asked, re.ASCII)
        if not found or int(found[1]) not in self._pages.shown:
            return text_answer(404, "there is no such page")
        try:
            with self._lock:
                return _page(self._pages.page(int(found[1]), self._link))
        except (DemonstrationError, OSError) as error:
            return text_answer(500, f"episode {found[1]} cannot be shown: {error}")

    def _link(self, name: str) -> str:
        return f"{name}?token={quote(self._loopback.token)}"


def _page(text: str) -> Answer:
    return 200, "text/html; charset=utf-8", text.encode()
