"""A page on this machine that shows images and says which keys are held.

Whoever can reach the page moves the robot: :class:`zoomrl.loopback.Loopback` answers this machine's own page alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoomrl.loopback import MAX_BODY_BYTES, Answer, Loopback, text_answer

SILENCE_S = 2.0
"""A page that has not been heard of for so long is gone: what it held is released."""
_MAX_KEYS = 32


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
        self._loopback = Loopback(port, self._route)

    @property
    def port(self) -> int:
        """Where it is served."""
        return self._loopback.port

    @property
    def token(self) -> str:
        """What every request must carry."""
        return self._loopback.token

    @property
    def address(self) -> str:
        """To open in a browser."""
        return self._loopback.address

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
        self._loopback.close()

    # ---- requests ----------------------------------------------------------------------------------------

    def _route(self, request: Mapping[str, Any]) -> Answer:
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
        return text_answer(404, "there is no such page")

    def _keys(self, body: bytes) -> Answer:
        try:
            said = json.loads(body)
            held, group, taken = frozenset(map(str, said["held"])), int(said["group"]), bool(said["taken"])
            if len(held) > _MAX_KEYS:
                raise ValueError(f"more than {_MAX_KEYS} keys")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return text_answer(400, "expected held, group and taken")
        with self._lock:
            self._tapped |= held - self._held
            self._held, self._group, self._taken, self._heard = held, max(0, group), taken, time.monotonic()
            where = json.dumps(self._where).encode()
        return 200, "application/json", where
