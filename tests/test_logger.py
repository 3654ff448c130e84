"""Where rows go: JSON lines, TensorBoard, CSV, Weights & Biases, Trackio."""

import csv
import dataclasses
import json
import sys
from functools import partial

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoomrl.errors import BrokenDependencyError, CheckpointError
from zoomrl.recipes.compose import preset
from zoomrl.training.config import LogConfig
from zoomrl.training.logger import Logger
from zoomrl.training.run import train
from zoomrl.training.run_files import wandb_id
from zoomrl.training.sinks.make import make_sinks


def config(**log):
    return dataclasses.replace(preset("cqn-dmc"), log=LogConfig(**log))


def row(step, **values):
    return {"env_steps": step, "agent_steps": step, "updates": 0} | values


def opened(directory, state=None, sinks=lambda *_: [], env_steps=0, updates=0, say=None):
    logger = Logger(directory, sinks, say) if say else Logger(directory, sinks)
    if state:
        logger.load_state_dict(state)
    logger.open(env_steps, updates)
    return logger


def test_rows_are_json_lines_and_a_position_cuts_them(tmp_path):
    logger = opened(tmp_path)
    logger.write("train", row(1, loss=0.5))
    state = logger.state_dict()
    logger.write("train", row(2, loss=0.25))
    logger.close()
    logger = opened(tmp_path, state)
    logger.write("eval", row(3, returns=[1.0]))
    logger.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["env_steps"]) for r in rows] == [("train", 1), ("eval", 3)]


def test_tensorboard_holds_the_numbers_and_a_resumed_run_replaces_later_ones(tmp_path):
    logger = opened(tmp_path, sinks=partial(make_sinks, config(), tmp_path))
    for step in (10, 20, 30):
        logger.write("train", row(step, loss=float(step), note="text is left out"))
    logger.close()
    logger = opened(tmp_path, sinks=partial(make_sinks, config(), tmp_path), env_steps=20)
    logger.write("train", row(25, loss=-1.0))
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert "train/note" not in events.Tags()["scalars"]
    wanted = [(10, 10.0), (20, 20.0), (25, -1.0)]
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == wanted, "the row at the checkpoint stays"


def test_what_is_learnt_before_the_first_step_lies_over_updates(tmp_path):
    make = partial(make_sinks, config(), tmp_path)
    logger = opened(tmp_path, sinks=make)
    logger.write("eval", row(0, success=0.0))
    for updates in (5, 10, 15):
        logger.write("train", row(0, updates=updates, loss=float(updates)))
    logger.close()
    logger = opened(tmp_path, sinks=make, updates=10)
    logger.write("train", row(0, updates=20, loss=20.0))
    logger.write("train", row(3, updates=20, loss=-1.0))
    logger.close()
    online = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in online.Scalars("train/loss")] == [(3, -1.0)]
    assert [e.step for e in online.Scalars("eval/success")] == [0]
    offline = EventAccumulator(str(tmp_path / "tensorboard" / "offline")).Reload()
    assert [(e.step, e.value) for e in offline.Scalars("train/loss")] == [(5, 5.0), (10, 10.0), (20, 20.0)]


def test_a_full_disk_is_said_in_words_that_closing_does_not_replace(tmp_path):
    logger = opened(tmp_path)
    logger._file = open("/dev/full", "ab")  # noqa: SIM115 - the logger closes it
    with pytest.raises(CheckpointError, match=r"could not write .*metrics\.jsonl: No space left on device\. Earlier"):
        logger.write("train", row(1))
    logger.close()


def test_no_sink_without_request(tmp_path):
    assert make_sinks(config(tensorboard=False), tmp_path, 0, 0) == []
    assert not (tmp_path / "tensorboard").exists()


def table(path):
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_csv_holds_the_numbers_of_each_kind_and_a_resumed_run_replaces_later_ones(tmp_path):
    make = partial(make_sinks, config(tensorboard=False, csv=True), tmp_path)
    logger = opened(tmp_path, sinks=make)
    logger.write("train", row(10, loss=0.5))
    logger.write("train", row(20, loss=0.25, entropy=1.5))
    state = logger.state_dict()
    logger.write("train", row(30, loss=9.0))
    logger.write("eval", row(30, returns=[1.0], return_mean=2.0, note="text is left out"))
    logger.close()
    counted = {"agent_steps": 0.0, "updates": 0.0}
    assert table(tmp_path / "csv" / "train.csv")[1] == {
        **counted,
        "env_steps": 20,
        "agent_steps": 20,
        "loss": 0.25,
        "entropy": 1.5,
    }
    assert table(tmp_path / "csv" / "eval.csv") == [{**counted, "env_steps": 30, "agent_steps": 30, "return_mean": 2.0}]
    logger = opened(tmp_path, state, make, 20)
    logger.write("train", row(25, loss=0.125))
    logger.close()
    assert [found["loss"] for found in table(tmp_path / "csv" / "train.csv")] == [0.5, 0.25, 0.125]
    assert not (tmp_path / "csv" / "eval.csv").exists()


def test_trackio_goes_on_where_a_run_was_stopped(tmp_path, monkeypatch):
    trackio = pytest.importorskip("trackio", reason="pip install 'zoomrl[trackio]'")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "tracked"))
    run = tmp_path / "some-run"
    run.mkdir()
    make = partial(make_sinks, config(tensorboard=False, trackio="zoomrl-test"), run)
    for step in (1, 2):
        logger = opened(run, sinks=make, env_steps=step)
        logger.write("train", row(step, loss=0.5 * step))
        logger.close()
    (found,) = trackio.Api().runs("zoomrl-test")
    assert found.name == "some-run"


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'zoomrl[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tmp_path / "some-run"
    run.mkdir()
    logger = opened(run, sinks=partial(make_sinks, config(tensorboard=False, wandb="zoomrl-test"), run))
    logger.write("train", row(1, loss=0.5))
    logger.close()
    assert list((run / "wandb").glob(f"offline-run-*-{wandb_id(run)}/*.wandb"))


def test_missing_wandb_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ImportError, match=r"zoomrl\[wandb\].*pip install -e .*\[wandb\]"):
        make_sinks(config(tensorboard=False, wandb="x"), tmp_path, 0, 0)


def written(directory, *steps):
    logger = opened(directory)
    for step in steps:
        logger.write("train", row(step))
    said = logger.state_dict()
    logger.close()
    return said


def test_a_file_that_became_shorter_is_cut_to_whole_lines_and_said(tmp_path):
    said = written(tmp_path, 1, 2, 3)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    heard = []
    logger = opened(tmp_path, said, say=heard.append)
    logger.write("train", row(4))
    logger.close()
    assert [json.loads(line)["env_steps"] for line in path.read_text().splitlines()] == [1, 2, 4]
    assert len(heard) == 1
    assert "metrics.jsonl" in heard[0]
    assert "2 rows that are left" in heard[0]


def test_rows_that_were_changed_are_said(tmp_path):
    said = written(tmp_path, 1, 2)
    path = tmp_path / "metrics.jsonl"
    for content, heard_of in ((path.read_bytes(), 0), (path.read_bytes().replace(b"2", b"3", 1), 1)):
        path.write_bytes(content)
        heard = []
        logger = opened(tmp_path, said, say=heard.append)
        assert (logger.state_dict() == said) == (not heard_of)
        logger.close()
        assert len(heard) == heard_of
        assert path.read_bytes() == content


class Flaky:
    name = "Service"

    def __init__(self):
        self.rows = 0

    def scalars(self, kind, values, env_steps, updates):
        self.rows += 1
        if self.rows == 2:
            raise ConnectionError("gone")

    def close(self):
        raise ConnectionError("still gone")


def test_a_sink_that_fails_is_said_once_and_the_rows_go_on(tmp_path):
    heard, sink = [], Flaky()
    logger = opened(tmp_path, sinks=lambda *_: [sink], say=heard.append)
    for step in range(4):
        logger.write("train", row(step))
    logger.close()
    assert sink.rows == 2
    assert len(heard) == 1
    assert "Service" in heard[0]
    assert "gone" in heard[0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_run_keeps_its_own_id_whatever_its_directory_is_called(tmp_path):
    ids = set()
    for name in ("a/run", "b/run", "c/odd name: 100 % ü"):
        directory = tmp_path / name
        directory.mkdir(parents=True)
        ids.add(wandb_id(directory))
        assert wandb_id(directory) in ids
        assert wandb_id(directory).isalnum()
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [("raise RuntimeError('no key')", "RuntimeError: no key"), ("import not_there", "No module named 'not_there'")],
)
def test_a_broken_wandb_is_named_before_anything_slow(content, said, tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text(content)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BrokenDependencyError, match=said):
        train(dataclasses.replace(config(wandb="x"), run_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
