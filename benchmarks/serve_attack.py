"""An attack on the server of a bundle: fuzzed frames, half-open connections, wrong shapes, NaN, messages of 64 MB.

Usage: python benchmarks/serve_attack.py BUNDLE [--frames 100000] [--name serve_attack]

The server runs in a process of its own. A well-behaved client asks for an action all the while, and every answer that
it gets is compared with the policy itself: it must never notice.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from provenance import keep, provenance
from serving import serving
from zoomrl import runtime
from zoomrl.deploy.wire import pack, unpack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    with serving(options.bundle, "--idle-seconds", 5, "--max-hz", 100_000) as (server, port):
        summary = attack(options.bundle, port, options.frames, psutil.Process(server.pid))
        assert server.poll() is None, "the server died"
    _, errors = server.communicate(timeout=20)
    summary["server_exit_code"] = server.returncode
    summary["tracebacks_in_its_log"] = errors.count("Traceback")
    print(summary)
    if options.name:
        origin = provenance(["python", "benchmarks/serve_attack.py", "BUNDLE", "--frames", str(options.frames)])
        keep({"name": options.name, **origin, "summary": summary})


def attack(bundle: Path, port: int, frames: int, process: psutil.Process) -> dict[str, Any]:
    """All of it, and what came of it."""
    shape = runtime.load_policy(bundle).facts["observations"]["state"]["shape"]
    memory = process.memory_info().rss
    good = Good(bundle, port, shape)
    good.start()
    assert good.connected.wait(20), "the first client could not connect"
    counts = fuzz(port, frames, shape)
    counts |= large(port)
    counts |= silent(port)
    good.ended.set()
    good.join()
    counts["memory_growth_mb"] = (process.memory_info().rss - memory) / 1e6
    counts["open_connections_after"] = len([c for c in process.net_connections() if c.status == "ESTABLISHED"])
    return {**counts, "good_client_answers": good.answers, "good_client_wrong": good.wrong, "good_client": good.problem}


class Good(threading.Thread):
    """Asks for actions while the others attack."""

    def __init__(self, bundle: Path, port: int, shape: list[int]) -> None:
        super().__init__(daemon=True)
        self.port, self.shape = port, shape
        # The first client's, so that bins that are tied fall alike.
        self.policy = runtime.load_policy(bundle).another(1)
        self.answers = self.wrong = 0
        self.problem, self.connected, self.ended = "unharmed", threading.Event(), threading.Event()

    def run(self) -> None:
        rng = np.random.default_rng(1)
        try:
            with connect(f"ws://127.0.0.1:{self.port}", compression=None) as connection:
                unpack(connection.recv())
                self.connected.set()
                while not self.ended.wait(0.01):
                    state = rng.normal(size=self.shape).astype(np.float32)
                    connection.send(pack({"state": state}))
                    answer = connection.recv(timeout=20)
                    assert isinstance(answer, bytes), answer
                    right = np.array_equal(unpack(answer)["actions"][0], self.policy.act({"state": state}))
                    self.answers, self.wrong = self.answers + 1, self.wrong + (not right)
        except Exception as error:  # whatever it is, the attack has harmed it
            self.problem = f"{type(error).__name__}: {error}"


def fuzz(port: int, frames: int, shape: list[int]) -> dict[str, Any]:
    """Frames of random bytes, of damaged messages, and of whole ones that make no sense."""
    rng = np.random.default_rng(0)
    whole = pack({"state": np.zeros(shape, np.float32)})
    sent = refused = answered = reconnected = 0
    while sent < frames:
        with contextlib.suppress(ConnectionClosed), connect(f"ws://127.0.0.1:{port}", compression=None) as connection:
            connection.recv()
            while sent < frames:
                sent += 1
                connection.send(frame(rng, whole, shape))
                answer = connection.recv(timeout=20)
                refused, answered = refused + isinstance(answer, str), answered + isinstance(answer, bytes)
            break
        reconnected += 1
    return {"frames": sent, "refused": refused, "answered": answered, "closed": reconnected}


def frame(rng: np.random.Generator, whole: bytes, shape: list[int]) -> bytes | str:
    """One of the attacks."""
    kind = int(rng.integers(8))
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 200)))
    if kind in (1, 2, 3):
        changed = bytearray(whole)
        for _ in range(int(rng.integers(1, 5))):
            changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        return bytes(changed[: int(rng.integers(len(changed)))] if kind == 3 else changed)
    if kind == 4:
        return "text " * int(rng.integers(1, 9))
    if kind == 5:
        values = np.full(shape, rng.choice([np.nan, np.inf, -np.inf, 1e300]))
        return pack({"state": values, "time": float(rng.normal())})
    if kind == 6:
        odd = [int(size) for size in rng.integers(0, 6, int(rng.integers(0, 5)))]
        return pack({"state": np.zeros(odd, rng.choice(["f4", "f8", "u1", "i8", "?"]))})
    nested: Any = 1
    for _ in range(int(rng.integers(1, 600))):
        nested = {"state": nested} if rng.integers(2) else [nested]
    packed: bytes = msgpack.packb({"state": nested, "episode": [1, {}], "reset": "yes"})
    return packed


def large(port: int) -> dict[str, Any]:
    """Messages of 64 MB, and arrays that declare a million times more."""
    refused = 0
    for _ in range(5):
        with contextlib.suppress(ConnectionClosed, OSError), connect(f"ws://127.0.0.1:{port}", compression=None) as one:
            one.recv()
            one.send(b"\0" * 64_000_000)
            one.recv(timeout=20)
            continue
        refused += 1
    with connect(f"ws://127.0.0.1:{port}", compression=None) as one:
        one.recv()
        about = {b"__ndarray__": True, b"data": b"\0" * 12, b"dtype": "<f4", b"shape": [2**40]}
        one.send(msgpack.packb({"state": about}))
        bombs = isinstance(one.recv(timeout=20), str)
    return {"messages_of_64_mb_refused": refused, "declared_sizes_refused": bombs}


def silent(port: int) -> dict[str, Any]:
    """Connections that say nothing, or half a request, and do not leave."""
    connections = []
    for index in range(500):
        connection = socket.create_connection(("127.0.0.1", port))
        if index % 2:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        connections.append(connection)
    began, closed = time.monotonic(), 0
    for connection in connections:
        connection.settimeout(30)
        with contextlib.suppress(OSError):
            while connection.recv(1000):
                pass
            closed += 1
        connection.close()
    return {"half_open": len(connections), "half_open_closed": closed, "half_open_seconds": time.monotonic() - began}


if __name__ == "__main__":
    main()
