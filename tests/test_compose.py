"""A preset changed in Python is what the command line makes of the same options."""

from __future__ import annotations

import pytest

from zoomrl import preset
from zoomrl.cli.tree import parse
from zoomrl.errors import ConfigError

SAME = {
    "another agent": (
        {"name": "cqn-dmc", "agent": "sac", "agent.lr": 1e-4},
        "--preset cqn-dmc --agent sac --agent.lr 1e-4",
    ),
    "another suite": (
        {"name": "quickstart", "env": "gym:Pendulum-v1", "demos": "none", "replay.n_step": 2},
        "--env gym:Pendulum-v1 --demos none --replay.n-step 2",
    ),
    "widths": (
        {"name": "td3-gym", "env": "gym:HalfCheetah-v5", "agent.hidden": (64, 32), "steps": 10},
        "--preset td3-gym --env gym:HalfCheetah-v5 --agent.hidden 64 32 --steps 10",
    ),
    "a range for the task": (
        {"name": "td3-dmc", "agent": "drqv2_plus", "replay.discount": 0.9},
        "--preset td3-dmc --agent drqv2_plus --replay.discount 0.9",
    ),
    "a given range": (
        {"name": "td3-gym", "agent": "drqv2_plus", "agent.v_min": -9.0, "agent.v_max": 9.0},
        "--preset td3-gym --agent drqv2_plus --agent.v-min -9 --agent.v-max 9",
    ),
    "a kind of value": (
        {"name": "cqn-dmc", "agent.value": "categorical", "agent.atoms": 7},
        "--preset cqn-dmc --agent.value categorical --agent.atoms 7",
    ),
    "another rule of sampling": ({"name": "td3-dmc", "agent": "td7"}, "--preset td3-dmc --agent td7"),
}


@pytest.mark.parametrize("case", SAME)
def test_python_and_the_command_line_agree(case):
    options, words = SAME[case]
    assert preset(**options) == parse(["train", *words.split()]).to_config()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "quickstrat"}, "quickstart"),
        ({"agent": "td33"}, r"unknown agent 'td33'.*td3"),
        ({"agent.lrr": 1.0}, r"unknown option 'agent\.lrr'.*agent\.lr"),
        ({"agent.horizon": 2}, r"agent\.horizon is called agent\.chunk_length now"),
        ({"agent.lr": "fast"}, "lr"),
        ({"agent.lr": -1.0}, r"agent\.lr must be positive"),
        ({"agent": "drqv2_plus"}, r"not known: give --agent\.v-min"),
    ],
)
def test_what_cannot_work_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        preset(**{"name": "td3-gym", **options})
