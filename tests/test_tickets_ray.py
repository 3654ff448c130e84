"""Episodes made by actors of a Ray cluster of several nodes: the same bytes, whichever of them die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs_toy import ToyEnv
from test_resume import CrashError, at_step, crash
from test_tickets import LAG, Delayed, ahead, mined
from toy import assert_same_run, tiny
from zoomrl.errors import ConfigError, SimulatorError
from zoomrl.training.collect import on_ray
from zoomrl.training.collect.config import CollectConfig
from zoomrl.training.collect.ticket import Greeting
from zoomrl.training.run import train

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Workers import what environments are made of. At Ray's own low priority they would starve on a busy machine.
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.add_node(num_cpus=2)
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ray") / "straight"
    train(ahead(directory, steps=120), make_env=ToyEnv)
    return directory


@pytest.mark.parametrize("actors", [1, 2, 4])
def test_the_run_is_the_same_with_any_number_of_actors(cluster, straight, tmp_path, actors):
    """Four do not fit on the two cores that there are: two wait, and the run does not."""
    train(ahead(tmp_path / "run", actors, backend="ray", steps=120), make_env=Delayed)
    assert_same_run(straight, tmp_path / "run")


def test_a_node_that_dies_takes_no_episode_with_it(cluster, straight, tmp_path, capsys):
    node = cluster.add_node(num_cpus=2)
    config = ahead(tmp_path / "run", 4, backend="ray", steps=120)

    def strike() -> None:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=2)

    with at_step(60, strike):
        train(config, make_env=Delayed)
    assert_same_run(straight, tmp_path / "run")


def test_workers_that_are_killed_or_silent(cluster, straight, tmp_path, capsys):
    folder = tmp_path / "mines"
    folder.mkdir()
    for number, blow in enumerate([signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL]):
        (folder / f"{number}.{int(blow)}").touch()
    collect = CollectConfig(lag=LAG, backend="ray", actors=2, deadline=6)
    config = tiny(tmp_path / "run", steps=120, collect=collect)
    train(config, make_env=mined(folder, os.getpid()))
    assert_same_run(straight, tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("an actor was lost") == 3
    assert "did not answer within 6 s" in said


def test_a_run_goes_on_elsewhere(cluster, straight, tmp_path):
    with at_step(50, crash), pytest.raises(CrashError):
        train(ahead(tmp_path / "run", 2, backend="ray", steps=120), make_env=Delayed)
    with at_step(90, crash), pytest.raises(CrashError):
        train(ahead(tmp_path / "run", 1, steps=120), make_env=Delayed)
    train(ahead(tmp_path / "run", 1, backend="ray", steps=120), make_env=Delayed)
    assert_same_run(straight, tmp_path / "run")


class Broken(ToyEnv):
    def step(self, action: Any) -> Any:
        if self.clock == 3 and not self.fixed:
            raise RuntimeError("the gripper fell off")
        return super().step(action)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.fixed = seed is not None and seed < 1000
        return super().reset(seed=seed)


def test_what_an_environment_raises_arrives(cluster, tmp_path):
    with pytest.raises(SimulatorError, match="the gripper fell off"):
        train(ahead(tmp_path / "run", 1, backend="ray"), make_env=Broken)


def test_a_foreign_actor_is_refused(cluster, tmp_path, monkeypatch):
    class Foreign(on_ray.Worker):
        def greeting(self) -> Greeting:
            return super().greeting()._replace(agent="other")

    monkeypatch.setattr(on_ray, "Worker", Foreign)
    with pytest.raises(ConfigError, match="would make another run"):
        train(ahead(tmp_path / "run", 1, backend="ray"), make_env=ToyEnv)
