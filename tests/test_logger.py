"""Where rows go: JSON lines, TensorBoard, Weights & Biases."""

import dataclasses
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoomrl.recipes.presets import preset
from zoomrl.training.config import LogConfig
from zoomrl.training.logger import Logger, make_sinks


def config(**log):
    return dataclasses.replace(preset("cqn-dmc"), log=LogConfig(**log))


def row(step, **values):
    return {"env_steps": step, "agent_steps": step, "updates": 0, **values}


def test_rows_are_json_lines_and_a_position_cuts_them(tmp_path):
    logger = Logger(tmp_path, 0, [])
    logger.write("train", row(1, loss=0.5))
    position = logger.sync()
    logger.write("train", row(2, loss=0.25))
    logger.close()
    logger = Logger(tmp_path, position, [])
    logger.write("eval", row(3, returns=[1.0]))
    logger.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["env_steps"]) for r in rows] == [("train", 1), ("eval", 3)]


def test_tensorboard_holds_the_numbers_and_a_resumed_run_replaces_later_ones(tmp_path):
    logger = Logger(tmp_path, 0, make_sinks(config(), tmp_path, 0))
    for step in (10, 20, 30):
        logger.write("train", row(step, loss=float(step), note="text is left out"))
    logger.close()
    logger = Logger(tmp_path, 0, make_sinks(config(), tmp_path, 20))
    logger.write("train", row(20, loss=-1.0))
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert "train/note" not in events.Tags()["scalars"]
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 10.0), (20, -1.0)]


def test_no_sink_without_request(tmp_path):
    assert make_sinks(config(tensorboard=False), tmp_path, 0) == []
    assert not (tmp_path / "tensorboard").exists()


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'zoomrl[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tmp_path / "some-run"
    run.mkdir()
    logger = Logger(run, 0, make_sinks(config(tensorboard=False, wandb="zoomrl-test"), run, 0))
    logger.write("train", row(1, loss=0.5))
    logger.close()
    assert list((run / "wandb").glob("offline-run-*-some-run/*.wandb"))


def test_missing_wandb_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install 'zoomrl\[wandb\]'"):
        make_sinks(config(tensorboard=False, wandb="x"), tmp_path, 0)
