"""A server of a bundle in a process of its own, for benchmarks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(bundle: Path, *options: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process, and its port; it is ended when the block is left."""
    words = [sys.executable, "-m", "zoomrl", "serve", bundle, "--port", 0, *options]
    server = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"ws://127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert found is not None, "the server did not start"
        yield server, int(found[1])
    finally:
        server.terminate()
