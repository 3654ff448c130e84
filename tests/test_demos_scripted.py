"""Where scripted demonstrations are kept: what shapes a set is in its name."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import multiprocessing
import time
import typing

import pytest
from rich.console import Console

from test_demos_store import make_episode, make_spec
from zoomrl.demos.config import DemoConfig
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.training import scripted
from zoomrl.training.scripted import FREE_DEMOS, FREE_ENV, LATER_ENV, scripted_path


def fields(config, free):
    return [field.name for field in dataclasses.fields(config) if field.name not in free]


def changed(config, name):
    """``config`` with another value of the field called ``name``, whatever its type."""
    value = getattr(config, name)
    kind = typing.get_type_hints(type(config))[name]
    choices = [choice for choice in typing.get_args(kind) if choice != value]
    if isinstance(value, bool):
        other = not value
    elif typing.get_origin(kind) is typing.Literal:
        other = choices[0]
    elif value is None or isinstance(value, int | float):
        other = (value or 0) + 7
    elif isinstance(value, tuple):
        other = (*value, 0, 0, 4, 4) if int in typing.get_args(kind) else (*value, "corner")
    else:
        other = f"{value}2"
    return dataclasses.replace(config, **{name: other})


def test_sets_of_before_an_option_keep_their_name():
    """At the value that stands for what was, a set that was collected without it is found again."""
    env = {name: value for name, value in dataclasses.asdict(EnvConfig()).items() if name not in FREE_ENV}
    for name, value in LATER_ENV.items():
        assert env.pop(name) == value
    demos = {name: value for name, value in dataclasses.asdict(DemoConfig()).items() if name not in FREE_DEMOS}
    digest = hashlib.sha256(json.dumps({"env": env, "demos": demos}, sort_keys=True).encode()).hexdigest()
    assert scripted_path(DemoConfig(), EnvConfig()).name.endswith(digest[:10])


def test_the_name_begins_with_what_people_look_for():
    path = scripted_path(DemoConfig(episodes=5, seed=3, directory="kept"), EnvConfig("gym:package/Id-v0"))
    assert path.parent.name == "kept"
    stem, _, digest = path.name.rpartition("-")
    assert stem == "gym-package-Id-v0-5-s3"
    assert len(digest) == 10
    assert set(digest) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", fields(EnvConfig, FREE_ENV))
def test_every_option_of_the_environment_changes_the_name(name):
    """Those not known yet as well: what is not named as free is in the hash."""
    base = EnvConfig(cameras=("topview",))
    assert scripted_path(DemoConfig(), base) != scripted_path(DemoConfig(), changed(base, name))


@pytest.mark.parametrize("name", fields(DemoConfig, FREE_DEMOS))
def test_every_option_that_shapes_a_set_changes_its_name(name):
    assert scripted_path(DemoConfig(), EnvConfig()) != scripted_path(changed(DemoConfig(), name), EnvConfig())


def test_a_new_option_changes_the_name():
    @dataclasses.dataclass(frozen=True)
    class Later(EnvConfig):
        wind: float = 0.0

    assert scripted_path(DemoConfig(), Later()) != scripted_path(DemoConfig(), EnvConfig())


def test_how_an_environment_is_run_does_not_change_its_demonstrations():
    base = scripted_path(DemoConfig(), EnvConfig())
    assert {name for name in FREE_ENV if scripted_path(DemoConfig(), changed(EnvConfig(), name)) != base} == set()
    moved = scripted_path(DemoConfig(directory="elsewhere", validation=0.5, source="none"), EnvConfig())
    assert moved.name == base.name


def collecting(monkeypatch, seconds):
    """Collection replaced by a set that takes a while to be written."""

    def collect(config, env, path):
        write_demos(path, (time.sleep(seconds) or make_episode(make_spec(), 3) for _ in range(1)), make_spec())

    monkeypatch.setattr(scripted, "_collect", collect)


def test_seeds_that_start_at_once_share_one_collection(tmp_path, monkeypatch):
    """The folder of a set is there before its content is."""
    collecting(monkeypatch, 0.5)
    config, context = DemoConfig(episodes=1, directory=str(tmp_path)), multiprocessing.get_context("fork")
    answers = context.Queue()

    def start():
        said = io.StringIO()
        found = scripted.scripted_demos(config, EnvConfig(), Console(file=said, width=1000))
        answers.put((len(found.episodes), said.getvalue()))

    processes = [context.Process(target=start) for _ in range(3)]
    for process in processes:
        process.start()
    heard = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [count for count, _ in heard] == [1, 1, 1]
    assert sum("collecting 1 demonstrations" in said for _, said in heard) == 1


def test_a_collection_that_was_killed_is_made_again(tmp_path, monkeypatch):
    collecting(monkeypatch, 0.0)
    config = DemoConfig(episodes=1, directory=str(tmp_path))
    (scripted_path(config, EnvConfig()) / ".writing-data-0123").mkdir(parents=True)
    assert len(scripted.scripted_demos(config, EnvConfig(), Console(quiet=True)).episodes) == 1
