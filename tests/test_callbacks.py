"""Callbacks see a run, may end it and log, and keep their state, so that a resumed run ends like one left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs_toy import ToyEnv
from test_resume import CrashError, at_step, crash
from toy import assert_same_run, checkpoint_files, last_state, rows, tiny
from zoomrl.cli.tree import parse
from zoomrl.demos.config import DemoConfig
from zoomrl.errors import CheckpointError, ConfigError
from zoomrl.files import read_json
from zoomrl.training.callbacks import Callback, EarlyStopping, make_callbacks
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.result import RunResult, is_final
from zoomrl.training.run import train

pytestmark = pytest.mark.long
HOOKS = ("on_start", "on_step", "on_episode", "on_update", "on_metrics", "on_evaluation", "on_checkpoint", "on_end")


class Diary(Callback):
    """Counts the calls of each hook; the counts are its state, and logged."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(HOOKS, 0)

    def __getattribute__(self, name: str) -> Any:
        if name not in HOOKS:
            return super().__getattribute__(name)

        def hook(run: Any, *_: Any) -> None:
            self.counts[name] += 1
            if name == "on_update":
                run.log({"updates_seen": self.counts["on_update"]})

        return hook

    def state_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts)}

    def load_state_dict(self, state: Any) -> None:
        self.counts = dict(state["counts"])


class Ends(Callback):
    """Ends the run at its fourth episode."""

    def __init__(self) -> None:
        self.episodes = 0

    def on_episode(self, run: Any, episode: Any, row: Any) -> None:
        self.episodes += 1
        if self.episodes == 4:
            run.end("four episodes are enough")

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": self.episodes}

    def load_state_dict(self, state: Any) -> None:
        self.episodes = state["episodes"]


class NeedsArguments(Callback):
    def __init__(self, wanted: int) -> None:
        self.wanted = wanted


def made(config: Any, *callbacks: Callback) -> RunResult:
    return train(config, make_env=ToyEnv, callbacks=callbacks)


def test_every_hook_is_called_as_often_as_it_happens(tmp_path):
    diary = Diary()
    made(tiny(tmp_path / "run"), diary)
    kinds = [row["kind"] for row in rows(tmp_path / "run")]
    state = last_state(tmp_path / "run")
    assert diary.counts == {
        "on_start": 1,
        "on_step": 60,
        "on_episode": kinds.count("episode"),
        "on_update": state["updates"],
        "on_metrics": kinds.count("train"),
        "on_evaluation": kinds.count("eval"),
        "on_checkpoint": 5,
        "on_end": 1,
    }
    logged = [row["callback/updates_seen"] for row in rows(tmp_path / "run") if row["kind"] == "train" and len(row) > 9]
    assert logged == sorted(logged) != []
    assert logged[0] == pytest.approx((1 + rows_before(tmp_path / "run")) / 2)


def rows_before(directory: Path) -> int:
    """Updates made before the first row of learning metrics that has any."""
    return next(row["updates"] for row in rows(directory) if "callback/updates_seen" in row)


def test_the_state_is_resumed_and_the_run_ends_like_one_left_alone(tmp_path):
    whole, broken = Diary(), Diary()
    made(tiny(tmp_path / "whole"), whole)
    config = tiny(tmp_path / "broken")
    with at_step(40, crash), pytest.raises(CrashError):
        made(config, broken)
    again = Diary()
    made(config, again)
    # It starts twice; what lies behind the last checkpoint is done again, but counted once; and a checkpoint does not
    # hold that it was written.
    assert again.counts == {**whole.counts, "on_start": 2, "on_checkpoint": whole.counts["on_checkpoint"] - 1}
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


def test_a_callback_ends_a_run_which_then_has_its_result(tmp_path, capsys):
    config = tiny(tmp_path / "run")
    result = made(config, Ends())
    assert result.finished
    assert result.evaluation is not None
    assert sum(row["kind"] == "episode" for row in rows(tmp_path / "run")) == 4
    steps = last_state(tmp_path / "run")["env_steps"]
    assert steps < config.steps
    assert "ended early at step" in capsys.readouterr().err
    before = read_json(tmp_path / "run" / "result.json")
    again = made(config, Ends())
    assert again.finished
    assert last_state(tmp_path / "run")["env_steps"] == steps
    assert read_json(tmp_path / "run" / "result.json")["return_mean"] == before["return_mean"]


class HoldsAnArray(Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"seen": [1, {"mean": np.float64(0.5)}]}


def test_a_state_that_no_checkpoint_could_be_read_with_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"HoldsAnArray.*state\['seen'\]\[1\]\['mean'\] is of type numpy\.float64"):
        made(tiny(tmp_path / "run"), HoldsAnArray())
    assert not checkpoint_files(tmp_path / "run")


def test_the_first_hook_is_the_start(tmp_path):
    class First(Callback):
        calls: tuple[str, ...] = ()

        def on_start(self, run: Any) -> None:
            self.calls += ("start",)

        def on_checkpoint(self, run: Any, path: Path) -> None:
            self.calls += ("checkpoint",)

    first = First()
    made(tiny(tmp_path / "run"), first)
    assert first.calls[:2] == ("start", "checkpoint")


def test_a_run_that_ends_before_its_first_step_takes_none(tmp_path):
    class Never(Callback):
        def on_start(self, run: Any) -> None:
            run.end("nothing to do")

    assert made(tiny(tmp_path / "run"), Never()).finished
    assert last_state(tmp_path / "run")["env_steps"] == 0
    assert [row["kind"] for row in rows(tmp_path / "run")] == ["final"]


def test_other_callbacks_are_refused_on_resuming(tmp_path):
    config = tiny(tmp_path / "run")
    with at_step(40, crash), pytest.raises(CrashError):
        made(config, Diary())
    with pytest.raises(CheckpointError, match=r"test_callbacks:Diary then, none now"):
        made(config)
    with pytest.raises(CheckpointError, match=r"test_callbacks:Diary then, .*Diary, test_callbacks:Diary 2 now"):
        made(config, Diary(), Diary())


def test_a_config_names_callbacks(tmp_path):
    config = tiny(tmp_path / "run", callback=("test_callbacks:Ends", "early_stopping"))
    assert made(config).finished
    assert read_json(tmp_path / "run" / "config.json")["callback"] == ["test_callbacks:Ends", "early_stopping"]
    with pytest.raises(CheckpointError, match="callback: "):
        made(dataclasses.replace(config, callback=()))


@pytest.mark.slow
def test_a_run_of_before_callbacks_is_resumed(tmp_path):
    import torch

    from zoomrl.seal import seal_archive

    made(tiny(tmp_path / "straight"))
    config = tiny(tmp_path / "run")
    with at_step(40, crash), pytest.raises(CrashError):
        made(config)
    for path in checkpoint_files(tmp_path / "run"):
        state = torch.load(path, weights_only=True)
        del state["callbacks"], state["end_reason"], state["step_over"]
        with open(path, "w+b") as file:
            torch.save(state, file)
            seal_archive(file)
    made(config)
    assert_same_run(tmp_path / "straight", tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("early_stoping", "unknown callback 'early_stoping'.*early_stopping"),
        ("no_such_module:Class", "cannot be imported: No module named"),
        ("test_callbacks:Missing", "cannot be imported: .*Missing"),
        ("pathlib:Path", r"must be a subclass of zoomrl\.Callback"),
        ("test_callbacks:NeedsArguments", "cannot be made without arguments"),
    ],
)
def test_a_callback_that_cannot_be_made_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        make_callbacks([name])


def test_the_command_line_takes_callbacks():
    command: Any = parse(["train", "--callback", "early_stopping", "test_callbacks:Ends"])
    assert command.to_config().callback == ("early_stopping", "test_callbacks:Ends")


class FakeRun:
    """Takes note of why it is ended."""

    reason = ""

    def end(self, reason: str) -> None:
        self.reason = reason


def test_early_stopping_counts_evaluations_without_improvement():
    run: Any = FakeRun()
    stopping = EarlyStopping(patience=2)

    def evaluate(value: float) -> str:
        stopping.on_evaluation(run, Evaluation([value], [1], [], [0]), {})
        return str(run.reason)

    assert not any(evaluate(value) for value in (1.0, 2.0, 1.5))
    restored = EarlyStopping(patience=2)
    restored.load_state_dict(stopping.state_dict())
    stopping = restored
    assert not evaluate(3.0)
    assert not evaluate(3.0)
    assert "last 2" in evaluate(2.9)


@pytest.mark.parametrize(
    ("result", "changes", "final"),
    [
        ({"env_steps": 60, "updates": 0}, {}, True),
        ({"env_steps": 59, "updates": 999}, {}, False),
        ({"env_steps": 20, "updates": 5, "end_reason": "no better"}, {}, True),
        ({"env_steps": 0, "updates": 7}, {"steps": 0, "offline_updates": 7}, True),
        ({"env_steps": 0, "updates": 6}, {"steps": 0, "offline_updates": 7}, False),
        ({}, {}, False),
        ({"env_steps": "60", "updates": 3}, {}, False),
    ],
)
def test_which_results_are_those_of_a_whole_run(result, changes, final, tmp_path):
    config = dataclasses.replace(tiny(tmp_path), demos=DemoConfig(source="demos"), **changes)
    assert is_final(result, config) == final
