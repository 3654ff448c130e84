"""What ``import zoomrl`` offers: names that load when they are used, help that helps, an evaluation in one call."""

from __future__ import annotations

import dataclasses
import json
import pydoc
import subprocess
import sys

import pytest

import zoomrl
from envs_toy import ToyEnv
from toy import run, tiny
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.cli.main import main
from zoomrl.errors import CheckpointError, ConfigError, ZoomrlError
from zoomrl.field_docs import field_docs, with_field_docs
from zoomrl.training.config import TrainConfig


def configs(kind=TrainConfig, default=None):
    """Every config class that a run has."""
    yield kind
    default = kind() if default is None else default
    for field in dataclasses.fields(kind):
        value = getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from configs(type(value), value)


def test_every_config_is_a_public_name():
    kinds = {*configs(), *AGENT_CONFIGS.values()} - {
        kind for kind in AGENT_CONFIGS.values() if "zoomrl." not in kind.__module__
    }
    assert {kind.__name__ for kind in kinds} <= set(zoomrl.__all__)
    assert all(getattr(zoomrl, kind.__name__) is kind for kind in kinds)


@pytest.mark.parametrize("kind", sorted({*configs(), *AGENT_CONFIGS.values()}, key=lambda kind: kind.__name__))
def test_help_shows_what_each_field_means(kind):
    shown = " ".join(pydoc.render_doc(kind, renderer=pydoc.plaintext).replace("|", " ").split())
    texts = field_docs(kind)
    assert list(texts) == [field.name for field in dataclasses.fields(kind)]
    for name, text in texts.items():
        assert f"{name}: {text}" in shown
        assert text != "see None"


def test_a_config_whose_source_is_gone_keeps_its_docstring():
    namespace = {}
    exec("from dataclasses import dataclass\n@dataclass\nclass Own:\n    'Of an exec.'\n    x: int = 1", namespace)
    assert with_field_docs(namespace["Own"]).__doc__ == "Of an exec."


@pytest.mark.long
def test_train_is_there_before_torch_is():
    """It takes seconds to load, which the first call begins with."""
    code = "import sys\nfrom zoomrl import train, preset, TrainConfig, Callback\n"
    code += "print(sorted({'torch', 'tensordict', 'torchrl', 'gymnasium', 'mujoco', 'matplotlib'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    # A callback may hold tensors.
    assert set(json.loads(shown.replace("'", '"'))) <= {"torch"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("public") / "run"
    assert run(tiny(directory))[0].finished
    return directory


@pytest.mark.long
def test_an_evaluation_is_that_of_the_command(finished, capsys):
    found = zoomrl.evaluate(finished, episodes=5, seed=3, num_envs=2, make_env=ToyEnv)
    assert len(found.returns) == 5
    # The same episodes, whatever is stepped together.
    assert zoomrl.evaluate(finished, episodes=5, seed=3, make_env=ToyEnv).returns == pytest.approx(found.returns)
    assert zoomrl.evaluate(finished, episodes=5, seed=4, make_env=ToyEnv).returns != found.returns


@pytest.mark.long
def test_an_evaluation_names_what_it_cannot_do(finished, tmp_path):
    with pytest.raises(ConfigError, match="episodes must be at least 1, got 0"):
        zoomrl.evaluate(finished, episodes=0)
    with pytest.raises(CheckpointError):
        zoomrl.evaluate(tmp_path)
    with pytest.raises(ConfigError, match=r"trained in another environment.*\n"):
        zoomrl.evaluate(finished, episodes=1, make_env=lambda: __import__("gymnasium").make("Pendulum-v1"))
    with pytest.raises(ZoomrlError, match="no video can be made"):
        zoomrl.evaluate(finished, episodes=1, make_env=ToyEnv, video=tmp_path / "video.mp4")


@pytest.mark.slow
def test_the_command_and_the_function_evaluate_alike(tmp_path, capsys):
    words = ["train", "--preset", "cqn-gym", "--env", "gym:Pendulum-v1", "--steps", "20", "--agent.hidden-dim", "8"]
    words += ["--eval.every", "0", "--eval.final-episodes", "1", "--log.no-tensorboard", "--threads", "1"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--episodes", "2", "--json"]) == 0
    returns = json.loads(capsys.readouterr().out)["returns"]
    assert zoomrl.evaluate(tmp_path / "run", episodes=2, num_envs=2).returns == pytest.approx(returns, rel=1e-5)


@pytest.mark.long
def test_an_environment_is_checked_by_its_id():
    found = zoomrl.check_env("gym:Pendulum-v1", steps=20)
    assert {check.status for check in found} <= {"ok", "note", "warning"}
