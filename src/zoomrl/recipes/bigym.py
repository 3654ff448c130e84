"""BiGym on a CPU: a small configuration of our own. The released columns are in :mod:`zoomrl.recipes.published`."""

from __future__ import annotations

from dataclasses import replace

from zoomrl.recipes.recipe import Recipe
from zoomrl.recipes.small import cqn_as_metaworld
from zoomrl.training.config import EvalConfig, TrainConfig


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


PRESETS: dict[str, Recipe] = {"cqn_as-bigym-cpu": Recipe(cqn_as_bigym_cpu, "bigym")}
