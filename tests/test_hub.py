"""Bundles to and from the Hugging Face Hub: huggingface_hub against a stand-in; the live hub is not tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hub_stand_in import hub
from test_runtime import facts
from zoomrl.deploy.hub import FILES, pull, push
from zoomrl.deploy.places import bundle_folder, is_hub_name
from zoomrl.errors import CheckpointError, ConfigError

pytest.importorskip("huggingface_hub")

SCRIPT = """
import sys
from pathlib import Path
from zoomrl.deploy.hub import pull, push
from zoomrl.errors import ZoomrlError

folder, out = map(Path, sys.argv[1:3])
print(push(folder, "me/reach", private=True))
print(pull("me/reach", out))
stray = out.parent / "stray"
stray.mkdir()
(stray / "README.md").write_text("mine")
try:
    pull("me/reach", stray)
except ZoomrlError as error:
    print(error)
print(pull("me/reach"))
for name in ("me/nothing",):
    try:
        pull(name)
    except ZoomrlError as error:
        print(error)
import os
import huggingface_hub
os.environ["HF_TOKEN"] = "hf_bad"
try:
    push(folder, "me/reach")
except ZoomrlError as error:
    print(error)
"""


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(f"{name} \0".encode())
    (folder / "policy.json").write_text(json.dumps(facts()))
    (folder / "README.md").write_text("---\nlibrary_name: zoomrl\n---\n# A policy\n")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_bundle_goes_to_the_hub_and_comes_back(bundle, tmp_path):
    with hub() as there:
        environment = {
            **os.environ,
            "HF_ENDPOINT": there.address,
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": there.token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        words = [sys.executable, "-c", SCRIPT, str(bundle), str(tmp_path / "out")]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        address, out, kept, cached, missing, refused = done.stdout.splitlines()
        assert (
            kept
            == f"{tmp_path / 'stray'} exists and is no bundle of `zoomrl export`; it is left alone, name another folder"
        )
        assert (tmp_path / "stray" / "README.md").read_text() == "mine"
        assert address.startswith(f"{there.address}/me/reach/commit/")
        sent = there.files["me/reach"]
        assert there.private == {"me/reach": True}
        assert there.messages == ["cqn_as for gym:x"]
    assert sent.keys() == set(FILES), "nothing else that lay there"
    for place in (out, cached):
        for name in FILES:
            assert (tmp_path / place / name).read_bytes() == (bundle / name).read_bytes() == sent[name]
    assert missing.startswith("me/nothing could not be fetched from the hub: 401")
    assert refused.startswith(f"the hub did not take {bundle} as me/reach: ")
    assert "401" in refused
    assert refused.endswith("needs a token: hf auth login, or HF_TOKEN")


def test_what_is_no_name_or_no_bundle_is_refused(bundle, tmp_path):
    for name in ("reach", "me/reach/2", "/reach", "me/"):
        with pytest.raises(ConfigError, match="a model on the hub is owner/name"):
            push(bundle, name)
        with pytest.raises(ConfigError, match="a model on the hub is owner/name"):
            pull(name)
    with pytest.raises(CheckpointError, match="holds no bundle of `zoomrl export`"):
        push(tmp_path, "me/reach")


def test_names_of_the_hub_are_told_from_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("owner/lift")
    assert not is_hub_name("runs/lift"), "a run that is not there"
    assert not is_hub_name("./lift")
    assert not is_hub_name("/lift")
    assert not is_hub_name("lift")
    assert not is_hub_name("bundles/lift"), "a bundle that is not there"
    (tmp_path / "owner").mkdir()
    assert not is_hub_name("owner/lift"), "there is a folder of that name"
    with pytest.raises(CheckpointError, match="there is nothing at bundles/lift"):
        bundle_folder("bundles/lift")
    (tmp_path / "runs" / "lift").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="runs/lift holds no bundle"):
        bundle_folder("runs/lift")
    (tmp_path / "runs" / "lift" / "config.json").touch()
    with pytest.raises(
        CheckpointError, match=r"is a run; make a bundle of it.*: zoomrl export runs/lift --out bundles/lift"
    ):
        bundle_folder("runs/lift")
