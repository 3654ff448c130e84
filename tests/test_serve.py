"""A policy over WebSocket: what clients get, what they are refused, and what an attacker cannot do."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_runtime import A, T, facts
from zoomrl import runtime
from zoomrl.deploy import wire
from zoomrl.deploy.wire import WireError, pack, unpack
from zoomrl.errors import CheckpointError, ConfigError

websockets = pytest.importorskip("websockets")
msgpack = pytest.importorskip("msgpack")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from zoomrl.deploy.server import Server, ServerOptions  # noqa: E402


class Graph:
    """Answers with chunks that tell what they were made of: the state's first number, and the step of the chunk."""

    def run(self, outputs, feed):
        state = feed["state"][0]
        if state[1] == 13:
            raise RuntimeError("the graph broke")
        actions = np.zeros((1, T, A), np.float32)
        actions[0, :, 0] = state[0] / 100
        actions[0, :, 1] = np.arange(T) / 10
        found = {"actions": actions, "value": np.array([0.25], np.float32)}
        return [found[name] for name in outputs]


@contextmanager
def serving(folder, **options):
    """A server in a thread; gives its port."""
    server = Server(folder, ServerOptions(**{"port": 0, **options}))
    loop, ready = asyncio.new_event_loop(), threading.Event()
    task = loop.create_task(server.run(ready.set))

    def work():
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(20)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "_session", lambda path, threads: Graph())
    about = facts(training={"env_steps": 7}, control_hz=20.0, inputs=[{"name": "state"}])
    (tmp_path / "policy.json").write_text(json.dumps(about))
    return tmp_path


@contextmanager
def client(server, token=""):
    headers = {"Authorization": f"Api-Key {token}"} if token else None
    with connect(f"ws://127.0.0.1:{server.port}", compression=None, additional_headers=headers) as connection:
        connection.about = unpack(connection.recv())
        yield connection


def ask(connection, **message):
    connection.send(pack(message))
    answer = connection.recv()
    return answer if isinstance(answer, str) else unpack(answer)


def test_a_client_learns_what_is_served_and_gets_actions(folder):
    with serving(folder) as server, client(server) as one:
        assert one.about["agent"] == "cqn_as"
        assert one.about["environment"] == "gym:x"
        assert one.about["env_steps"] == 7
        assert one.about["observations"]["state"]["shape"] == [3]
        answers = [ask(one, state=np.full(3, step, np.float32)) for step in range(4)]
    for answer in answers:
        assert answer["actions"].shape == (1, A)
        assert answer["actions"].dtype == np.float32
        assert answer["valid"].tolist() == [True]
        assert answer["value"] == 0.25
        assert answer["server_timing"]["infer_ms"] >= 0
    # Every second step has a new chunk, whose second action the next step takes.
    np.testing.assert_allclose([a["actions"][0, 0] for a in answers], [0, 0, 0.02, 0.02])
    np.testing.assert_allclose([a["actions"][0, 1] for a in answers], [0, 0.1, 0, 0.1])
    assert [a["step"] for a in answers] == [0, 1, 2, 3]


def test_each_client_has_an_executor_and_episodes_of_its_own(folder):
    with serving(folder) as server, client(server) as one, client(server) as two:
        assert ask(one, state=np.full(3, 1.0))["actions"][0, 1] == 0
        assert ask(two, state=np.full(3, 2.0))["actions"][0, 1] == 0, "its own first step"
        assert ask(one, state=np.full(3, 3.0))["actions"][0, 0] == pytest.approx(0.01), "still its first chunk"
        # Another episode begins with another chunk, whatever tells it.
        answer = ask(one, state=np.full(3, 4.0), reset=True)
        assert (answer["actions"][0, 0], answer["step"]) == (pytest.approx(0.04), 0)
        assert ask(one, state=np.full(3, 5.0), episode="a")["step"] == 0
        assert ask(one, state=np.full(3, 6.0), episode="a")["step"] == 1
        assert ask(one, state=np.full(3, 6.0), episode=2)["step"] == 0
        assert ask(one, reset=True) == {"reset": True}
        assert ask(two, state=np.full(3, 2.0))["step"] == 1, "the other client's episode goes on"


def test_a_client_may_drop_the_chunk_in_flight_or_only_show_what_it_sees(folder):
    with serving(folder) as server, client(server) as one:
        assert ask(one, state=np.full(3, 1.0))["actions"][0, 1] == 0
        assert ask(one, state=np.full(3, 2.0), observe=True)["observe"] is True
        assert ask(one, replan=True) == {"replan": True}
        answer = ask(one, state=np.full(3, 3.0))
        assert (answer["actions"][0, 0], answer["actions"][0, 1]) == (pytest.approx(0.03), 0), "a new chunk"
        assert answer["step"] == 2, "of the same episode"
        assert ask(one, state=np.full(3, 4.0), replan=True)["actions"][0, 0] == pytest.approx(0.04)


def test_a_whole_chunk_and_time_stamps(folder):
    with serving(folder) as server, client(server) as one:
        before = time.time()
        answer = ask(one, state=np.zeros(3), chunk=True, time=12.5)
        assert answer["actions"].shape == (T, A)
        assert answer["valid"].tolist() == [True] * T
        assert answer["time"] == 12.5
        assert before <= answer["server_time"] <= time.time()


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ({"stat": np.zeros(3)}, "'state' is missing: the policy expects state float32[3], or in place of 'state' its"),
        ({"state": np.zeros(4)}, "'state' must have the shape [3], got [4]"),
        ({"state": np.array([0, np.nan, 0])}, "'state' must be finite"),
        ({"state": "text"}, "'state' must be numbers"),
        ({"state": [[1], [1, 2]]}, "'state' must be an array"),
        ({"state": np.zeros(3), "reset": 1}, "'reset' must be bool"),
        ({"state": np.zeros(3), "episode": [1]}, "'episode' must be int or str"),
        ({"state": np.zeros(3), "episode": "x" * 201}, "'episode' must be"),
        ({"state": np.zeros(3), "time": float("nan")}, "'time' must be finite"),
        ({}, "'state' is missing"),
    ],
)
def test_refusals_say_what_was_expected_and_the_client_goes_on(folder, message, refusal):
    with serving(folder) as server, client(server) as one:
        answer = ask(one, **message)
        assert isinstance(answer, str)
        assert refusal in answer
        assert ask(one, state=np.zeros(3))["step"] == 0


def test_a_graph_that_fails_harms_nobody(folder, caplog):
    with serving(folder) as server, client(server) as one, client(server) as two:
        assert ask(one, state=np.array([0, 13, 0])) == "the inference failed; the server's log says why"
        assert ask(two, state=np.zeros(3))["step"] == 0
        assert ask(one, state=np.zeros(3))["step"] == 0
    assert "the graph broke" in caplog.text


def test_a_token_is_needed_where_one_is_set(folder):
    with serving(folder, token="secret") as server:
        with client(server, token="secret") as one:
            assert ask(one, state=np.zeros(3))["step"] == 0
        for wrong in ("", "secre", "secrets", "ünïcode"):
            with (
                pytest.raises((InvalidStatus, UnicodeEncodeError), match=r"401|latin|ascii"),
                client(server, token=wrong),
            ):
                pass
        answer = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5)
        assert (answer.status, answer.read()) == (200, b"OK\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "anyone who reaches this machine could drive the policy"),
        ({"port": 70000}, "port must be at most 65535"),
        ({"max_clients": 0}, "max_clients must be at least 1"),
        ({"max_hz": 0.0}, "max_hz must be at least"),
        ({"idle_seconds": 0.0}, "idle_seconds must lie"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ServerOptions(**options)


def test_a_port_in_use_and_a_folder_without_a_bundle_are_named(folder, tmp_path):
    with serving(folder) as server:
        other = Server(folder, ServerOptions(port=server.port))
        with pytest.raises(ConfigError, match=r"cannot be listened on: .*; --port 0 takes a free one"):
            asyncio.run(other.run())
    with pytest.raises(CheckpointError, match="holds no bundle"):
        Server(tmp_path / "nowhere", ServerOptions())


def test_refusals_are_logged_now_and_then(folder, caplog):
    """The 1st, the 10th, the 100th: a log that one client can fill would be an attack's way in."""
    with serving(folder) as server, client(server) as one:
        for _ in range(25):
            ask(one, state=np.zeros(4))
    logged = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    said = "refused a message: 'state' must have the shape [3], got [4]"
    assert logged == [f"{said} (1 so far)", f"{said} (10 so far)"]


def test_refused_clients_are_logged(folder, caplog):
    with serving(folder, token="secret") as server, pytest.raises(InvalidStatus, match="401"), client(server, "guess"):
        pass
    assert "refused a client: without the token (1 so far)" in caplog.text


def test_more_clients_than_allowed_are_refused(folder):
    with serving(folder, max_clients=2) as server, client(server) as one:
        with client(server), pytest.raises(InvalidStatus, match="503"), client(server):
            pass
        deadline = time.monotonic() + 5
        while True:
            try:
                with client(server) as another:
                    assert ask(another, state=np.zeros(3))["step"] == 0
                break
            except InvalidStatus:  # the server has not yet seen that one left
                assert time.monotonic() < deadline
        assert ask(one, state=np.zeros(3))["step"] == 0


def test_large_messages_end_their_client_alone(folder):
    with serving(folder, max_megabytes=0.1) as server, client(server) as one:
        with client(server) as two:
            two.send(b"x" * 200_000)
            with pytest.raises(ConnectionClosed, match="1009"):
                two.recv()
        assert ask(one, state=np.zeros(3))["step"] == 0


def test_fast_clients_wait(folder):
    with serving(folder, max_hz=50.0) as server, client(server) as one:
        began = time.monotonic()
        for _ in range(6):
            ask(one, state=np.zeros(3))
        assert time.monotonic() - began >= 5 / 50


def test_half_open_connections_are_dropped(folder):
    with serving(folder, idle_seconds=0.4) as server, client(server) as one:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
        half = silent[:30]
        for connection in half:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert ask(one, state=np.zeros(3))["step"] == 0
        for connection in silent:
            connection.settimeout(10)
            while connection.recv(1000):  # until the server closes it
                pass
            connection.close()
        assert ask(one, state=np.zeros(3))["step"] == 1


def test_frames_of_garbage_are_answered_with_texts(folder):
    rng = np.random.default_rng(0)
    with serving(folder) as server, client(server) as good, client(server) as bad:
        for count in range(400):
            data = rng.bytes(int(rng.integers(0, 60))) if count % 3 else mutated(rng, pack({"state": np.zeros(3)}))
            bad.send(data)
            answer = bad.recv()
            assert isinstance(answer, str) or "actions" in unpack(answer) or "reset" in unpack(answer)
        bad.send("text")
        assert "binary frame" in bad.recv()
        assert ask(good, state=np.zeros(3))["step"] == 0


def mutated(rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
    return bytes(changed)


def test_the_server_loads_no_pytorch():
    code = "import sys, zoomrl.deploy.server, zoomrl.deploy.places, zoomrl.cli.serve; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# ---- the wire ----------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.tuples(
            st.sampled_from(["float32", "float64", "uint8", "int64", "bool"]),
            st.lists(st.integers(0, 3), max_size=4),
        ),
        max_size=4,
    )
)
@settings(max_examples=80, deadline=None)
def test_arrays_go_over_the_wire_as_they_are(shapes):
    rng = np.random.default_rng(0)
    message = {name: np.asarray(10 * rng.random(shape)).astype(dtype) for name, (dtype, shape) in shapes.items()}
    found = unpack(pack({**message, "number": np.float32(1.5), "text": "é"}))
    assert (found.pop("number"), found.pop("text")) == (1.5, "é")
    assert found.keys() == message.keys() - {"number", "text"} or {"number", "text"} & message.keys()
    for name, array in found.items():
        assert (array.dtype, array.shape) == (message[name].dtype, message[name].shape)
        np.testing.assert_array_equal(array, message[name])


@given(st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_more_than_raise(data):
    with suppress(WireError):
        unpack(data)


def array_of(**changes):
    about = {b"__ndarray__": True, b"data": b"\0" * 12, b"dtype": "<f4", b"shape": [3], **changes}
    return msgpack.packb({"state": about})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array_of(**{}), None),
        (msgpack.packb([1]), "a map of names to arrays, got list"),
        (msgpack.packb({1: 2}, strict_types=False), "cannot be unpacked|names in a message are texts"),
        (msgpack.packb({b"x": 2}), "names in a message are texts"),
        (array_of(**{}) + b"x", "ExtraData"),
        (struct.pack(">BI", 0xDF, 2**32 - 1), "cannot be unpacked"),
        (struct.pack(">BI", 0xDD, 2**32 - 1), "cannot be unpacked"),
        (struct.pack(">BI", 0xC6, 2**32 - 1), "cannot be unpacked"),
        (b"\x81" * 3000, "cannot be unpacked"),
    ],
)
def test_what_a_message_may_not_be(data, message):
    if message is None:
        np.testing.assert_array_equal(unpack(data)["state"], np.zeros(3, np.float32))
        return
    with pytest.raises(WireError, match=message):
        unpack(data)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (b"dtype", "|O", "arrays hold numbers, got object"),
        (b"dtype", "<M8[s]", "arrays hold numbers|short text"),
        (b"dtype", "<c8", "arrays hold numbers"),
        (b"dtype", "S4", "arrays hold numbers"),
        (b"dtype", "f4,f4,f4,f4", "short text"),
        (b"dtype", 5, "short text"),
        (b"dtype", "nope", "cannot be unpacked"),
        (b"shape", [2**40, 2**40], "does not fill 12 bytes"),
        (b"shape", [-3], "whole numbers of 0 or more"),
        (b"shape", [True] * 3, "whole numbers"),
        (b"shape", [1] * 9, "at most 8 numbers"),
        (b"shape", "3", "at most 8 numbers"),
        (b"shape", [4], "does not fill 12 bytes"),
        (b"data", "text", "does not fill 0 bytes"),
    ],
)
def test_arrays_that_declare_what_they_do_not_hold(field, value, message):
    about = {b"__ndarray__": True, b"data": b"\0" * 12, b"dtype": "<f4", b"shape": [3], field: value}
    with pytest.raises(WireError, match=message):
        unpack(msgpack.packb({"state": about}))


def test_nothing_is_unpickled():
    import ast
    from pathlib import Path

    names = {node.id for node in ast.walk(ast.parse(Path(wire.__file__).read_text())) if isinstance(node, ast.Name)}
    assert not names & {"pickle", "eval", "exec", "__import__"}
