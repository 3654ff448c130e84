"""Agents and simulators of other packages: found by their entry points, trained, resumed, and named when broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from zoomrl.agents.config import AgentConfig
from zoomrl.errors import ConfigError
from zoomrl.plugins import Registry

ROOT = Path(__file__).parents[1]
TRAIN = (
    "train --preset td3-gym --agent ddpg --env point:near --agent.width 32 --agent.blocks 2 --steps 1500 "
    "--seed-steps 300 --control.uniform-steps 300 --eval.every 500 --eval.final-episodes 20 --replay.batch-size 64 "
    "--threads 1 --log.no-tensorboard --run-dir run"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of a process in which the example is installed."""
    place = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(ROOT / "examples" / "plugin", source, ignore=shutil.ignore_patterns("*.egg-info", "build"))
    words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(place),
        str(source),
    ]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *filter(None, sys.path)])}


@pytest.mark.slow
def test_the_example_is_installed_trained_and_resumed(installed, tmp_path):
    def zoomrl(*words: str) -> str:
        command = [sys.executable, "-m", "zoomrl", *words]
        done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    zoomrl(*TRAIN.replace("--steps 1500", "--steps 800").split())
    zoomrl(*TRAIN.split())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["agent"]["name"], config["agent"]["blocks"], config["env"]["id"]) == ("ddpg", 2, "point:near")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    returns = [row["return_mean"] for row in rows if row["kind"] in ("eval", "final")]
    assert returns[-1] > 0.5 * returns[0], "the return, which is negative, halves at least"


class Odd(AgentConfig):
    name = "odd"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Thing", r"the plug-in 'thing' of zoomrl\.agents \(no_such_module:Thing\) cannot be imported"),
        ("pathlib:NoSuchPath", "cannot be imported: AttributeError"),
        ("test_plugins:Odd", "calls itself 'odd': give both one name"),
        ("pathlib:Path", r"must be a subclass of zoomrl\.agents\.config\.AgentConfig"),
    ],
)
def test_a_broken_plugin_is_named(value, message, monkeypatch):
    registry: Registry[type[AgentConfig]] = Registry(
        "zoomrl.agents", {"td3": "zoomrl.agents.td3.config:TD3Config"}, AgentConfig
    )
    registry.__dict__["plugins"] = {"thing": EntryPoint("thing", value, "zoomrl.agents")}
    assert list(registry) == ["td3", "thing"]
    with pytest.raises(ConfigError, match=message):
        registry["thing"]
    assert registry["td3"].name == "td3"


def test_a_plugin_does_not_take_a_name_that_is_there(monkeypatch):
    point = EntryPoint("td3", "test_plugins:Odd", "zoomrl.agents")
    monkeypatch.setattr("zoomrl.plugins.entry_points", lambda group: [point, EntryPoint("odd", point.value, group)])
    registry: Registry[type[AgentConfig]] = Registry(
        "zoomrl.agents", {"td3": "zoomrl.agents.td3.config:TD3Config"}, AgentConfig
    )
    assert registry["td3"].__name__ == "TD3Config"
    assert registry["odd"] is Odd
    assert len(registry) == 2


def test_a_format_without_a_reader_is_named():
    registry: Registry[object] = Registry("zoomrl.formats", {}, needs=("read",))
    registry.__dict__["plugins"] = {"thing": EntryPoint("thing", "pathlib", "zoomrl.formats")}
    with pytest.raises(ConfigError, match="has no read"):
        registry["thing"]
