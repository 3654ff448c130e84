"""The rows of runs are as their schema says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs_toy import ToyEnv
from test_collector import Logging
from toy import demo_set, tiny
from zoomrl.agents.bc.config import BCConfig
from zoomrl.agents.td3.config import IQRLConfig
from zoomrl.control.config import ControlConfig
from zoomrl.nets.config import RepresentationConfig
from zoomrl.training.row_schema import ALWAYS, SOMETIMES, row_faults
from zoomrl.training.rows import read_rows
from zoomrl.training.run import train

LATENT = RepresentationConfig(kind="self_predictive", dim=8, encoder_hidden=(8,), model_hidden=(8,))


@pytest.mark.parametrize("kind", ["cqn_as", "iqrl", "bc"])
@pytest.mark.long
def test_every_row_of_a_run_fits(tmp_path, kind):
    demos = demo_set(tmp_path / "demos") if kind != "iqrl" else None
    config = tiny(tmp_path / "run", demos)
    if kind == "iqrl":
        agent = IQRLConfig(hidden=(8,), representation=LATENT)
        config = tiny(tmp_path / "run", agent=agent, control=ControlConfig(executor="open_loop", noise="0.1"))
    if kind == "bc":
        agent = BCConfig(chunk_length=3, hidden=(8,))
        changes = {"demos__validation": 0.3, "offline_updates": 8, "offline_eval_every": 4, "eval__keep_best": True}
        config = tiny(tmp_path / "run", demos, agent=agent, steps=0, replay__demo_fraction=1.0, **changes)
    train(config, make_env=Logging if kind == "cqn_as" else ToyEnv)
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [(row, faults) for row in rows if (faults := row_faults(row))] == []
    wanted = {"train", "eval", "final"} if kind == "bc" else set(ALWAYS)
    assert {row["kind"] for row in rows} == wanted
    if kind == "bc":
        assert any("best_updates" in row for row in rows)


def test_what_does_not_fit_is_named():
    row = {"kind": "episode", "env_steps": 1, "agent_steps": 1, "updates": 0, "env": 0, "return": None, "length": 3}
    assert row_faults(row) == []
    assert row_faults({**row, "log/energy": 2.5}) == []
    assert row_faults({**row, "energy": 2.5}) == ["energy is unknown in rows of kind episode"]
    assert row_faults({**row, "length": 3.5}) == ["length is 3.5, and should be a whole number"]
    assert row_faults({**row, "success": 1}) == ["success is 1, and should be true or false"]
    assert row_faults({**row, "env": True}) == ["env is True, and should be a whole number"]
    assert row_faults({name: value for name, value in row.items() if name != "return"}) == ["return is missing"]
    assert row_faults({"kind": "test"}) == ["kind is 'test', not one of train, episode, eval, final"]
    assert "seeds is [0.5], and should be a list of whole numbers" in row_faults({"kind": "final", "seeds": [0.5]})


def test_every_name_of_the_schema_is_in_the_reference():
    page = (Path(__file__).parents[1] / "docs" / "reference" / "metrics.md").read_text()
    names = {name for table in (ALWAYS, SOMETIMES) for fields in table.values() for name in fields}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_the_schema_is_plain_data():
    assert json.loads(json.dumps({"always": ALWAYS, "sometimes": SOMETIMES}))
