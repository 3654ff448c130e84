"""BiGym: the released configuration of each of its forty tasks, and a small one of our own for a CPU.

Source: configuration files of the public CQN-AS repository. The columns of each agent are those of
:mod:`zoomrl.recipes.published`; a task adds its name and its training budget. Demonstrations are the published ones,
imported with `zoomrl demos import bigym` and named with --demos.source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from zoomrl.envs.suites.bigym.tasks import TASKS
from zoomrl.recipes import published
from zoomrl.recipes.small import cqn_as_metaworld
from zoomrl.training.config import EvalConfig, TrainConfig

AGENTS: dict[str, Callable[[], TrainConfig]] = {
    "cqn_as": published.cqn_as_bigym,
    "cqn": published.cqn_bigym,
    "drqv2_plus": published.drqv2_plus_bigym,
    "drqv2_as": published.drqv2_as_bigym,
}
"""The released column of each agent."""


def bigym(agent: str, task: str) -> TrainConfig:
    """Released configuration of a BiGym task, from three cameras and the robot's proprioception."""
    column = AGENTS[agent]()
    return replace(
        column,
        preset=_name(agent, task),
        env=replace(column.env, id=f"bigym:{task}", state="robot"),
        steps=TASKS[task].frames,
    )


def cqn_as_bigym_cpu() -> TrainConfig:
    """CQN-AS for BiGym from state on a CPU, from 20 scripted demonstrations. Our own hyperparameters."""
    base = cqn_as_metaworld()
    return replace(
        base,
        preset="cqn_as-bigym-cpu",
        env=replace(base.env, id="bigym:reach_target_single", time_limit=None, state="full"),
        control=replace(base.control, action_range="demos"),
        eval=EvalConfig(every=1000, episodes=20),
    )


def _name(agent: str, task: str) -> str:
    return f"{agent}-bigym-{task.replace('_', '-')}"


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "cqn_as-bigym-cpu": cqn_as_bigym_cpu,
    **{_name(agent, task): partial(bigym, agent, task) for agent in AGENTS for task in TASKS},
}
