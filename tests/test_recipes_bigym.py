"""BiGym presets: one for each agent and task, from the released columns, without the simulator."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from zoomrl.envs.suites.bigym.tasks import TASKS
from zoomrl.recipes import published
from zoomrl.recipes.bigym import AGENTS, PRESETS
from zoomrl.training.config import TrainConfig

COLUMNS = {
    "cqn_as": published.cqn_as_bigym,
    "cqn": published.cqn_bigym,
    "drqv2_plus": published.drqv2_plus_bigym,
    "drqv2_as": published.drqv2_as_bigym,
}


def test_there_is_one_for_each_agent_and_task() -> None:
    expected = {f"{agent}-bigym-{task.replace('_', '-')}" for agent in COLUMNS for task in TASKS}
    assert set(PRESETS) == expected | {"cqn_as-bigym-cpu"}
    assert set(AGENTS) == set(COLUMNS)


@pytest.mark.parametrize("agent", sorted(COLUMNS))
def test_a_preset_is_its_column_with_a_task_and_its_budget(agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bigym", None)
    for task, row in TASKS.items():
        name = f"{agent}-bigym-{task.replace('_', '-')}"
        config = PRESETS[name]()
        assert config.agent.name == agent
        assert (config.preset, config.env.id, config.steps) == (name, f"bigym:{task}", row.frames)
        assert config.env.state == "robot"
        assert config.env.cameras == ("head", "right_wrist", "left_wrist")
        column = COLUMNS[agent]()
        kept = replace(column.env, id=config.env.id, state="robot")
        assert config == replace(column, preset=name, env=kept, steps=row.frames)
        assert TrainConfig.from_dict(config.to_dict()) == config


def test_the_small_one_learns_from_a_scripted_expert() -> None:
    from zoomrl.envs.suites.bigym.experts import EXPERTS

    config = PRESETS["cqn_as-bigym-cpu"]()
    assert config.env.id.removeprefix("bigym:") in EXPERTS
    assert (config.preset, config.env.cameras, config.demos.source) == ("cqn_as-bigym-cpu", (), "scripted")
