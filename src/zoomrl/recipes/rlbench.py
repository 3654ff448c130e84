"""The published configuration of each of RLBench's 22 tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from zoomrl.envs.suites.rlbench.tasks import LIMITS
from zoomrl.recipes import published
from zoomrl.training.config import TrainConfig

COLUMNS: dict[str, Callable[[], TrainConfig]] = {
    "cqn_as": published.cqn_as_rlbench,
    "cqn": published.cqn_rlbench,
    "drqv2_plus": published.drqv2_plus_rlbench,
    "drqv2_as": published.drqv2_as_rlbench,
}


def rlbench(agent: str, task: str) -> TrainConfig:
    """Released configuration of an RLBench task, from four cameras and the joints."""
    base = COLUMNS[agent]()
    return replace(base, preset=_name(agent, task), env=replace(base.env, id=f"rlbench:{task}"))


def _name(agent: str, task: str) -> str:
    return f"{agent}-rlbench-{task.replace('_', '-')}"


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    _name(agent, task): partial(rlbench, agent, task) for agent in COLUMNS for task in LIMITS
}
