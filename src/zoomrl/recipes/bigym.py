"""BiGym on a CPU: a small configuration of our own. The released columns are in :mod:`zoomrl.recipes.published`."""

from __future__ import annotations

from dataclasses import replace

from zoomrl.recipes.recipe import Recipe
from zoomrl.recipes.small import cqn_as_metaworld, single_actions
from zoomrl.training.config import EvalConfig, TrainConfig

REACH = ("bigym:reach_target_single", "bigym:reach_target_dual", "bigym:reach_target_multi_modal")
"""Tasks that a scripted expert solves, and where chunks hurt: CQN against CQN-AS after 100,000 steps in the published
logs, 87 and 73, 45 and 36, 79 and 59 %."""


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


def cqn_bigym_cpu() -> TrainConfig:
    """CQN for BiGym from state on a CPU: the same hyperparameters with single actions, for comparison."""
    return single_actions(cqn_as_bigym_cpu(), "cqn-bigym-cpu")


PRESETS: dict[str, Recipe] = {
    "cqn_as-bigym-cpu": Recipe(cqn_as_bigym_cpu, "bigym"),
    "cqn-bigym-cpu": Recipe(cqn_bigym_cpu, "bigym"),
}
