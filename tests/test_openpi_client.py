"""The real openpi-client drives our server. It needs numpy < 2: an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import venv

import pytest

pytest.importorskip("websockets")

from test_serve import folder, serving  # noqa: F401

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

client = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]), api_key="secret")
found = {"numpy": np.__version__, "agent": client.get_server_metadata()["agent"]}
found["actions"] = [client.infer({"state": np.full(3, step)})["actions"].tolist() for step in range(4)]
broker = ActionChunkBroker(client, action_horizon=client.get_server_metadata()["action_horizon"])
broker.reset()
found["shape"] = list(broker.infer({"state": np.zeros(3, np.float32)})["actions"].shape)
whole = ActionChunkBroker(client, action_horizon=4)
found["whole"] = [whole.infer({"state": np.zeros(3), "chunk": True})["actions"].tolist() for _ in range(4)]
try:
    client.infer({"state": np.zeros(5)})
except RuntimeError as error:
    found["refused"] = str(error)
found["after"] = client.infer({"state": np.zeros(3), "reset": True})["step"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    place = tmp_path_factory.mktemp("openpi")
    venv.create(place, with_pip=True)
    made = subprocess.run(
        [place / "bin" / "python", "-m", "pip", "install", "-q", "openpi-client", "numpy<2", "typing_extensions"],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"openpi-client cannot be installed here: {made.stderr.strip().splitlines()[-1]}")
    return place / "bin" / "python"


def test_the_real_client_drives_the_server(python, folder):  # noqa: F811
    with serving(folder, token="secret") as server:
        done = subprocess.run([python, "-c", SCRIPT, str(server.port)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["numpy"].startswith("1.")
    assert sys.version_info[0] == 3
    assert found["agent"] == "cqn_as"
    assert [actions[0][0] for actions in found["actions"]] == pytest.approx([0, 0, 0.02, 0.02])
    assert found["shape"] == [3], "the broker takes its one action"
    assert [action[1] for action in found["whole"]] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert "'state' must have the shape [3], got [5]" in found["refused"]
    assert found["after"] == 0
