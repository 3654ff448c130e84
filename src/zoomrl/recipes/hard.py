"""Twelve tasks of Meta-World on which imitation does not suffice: three disturbed demonstrations, sparse rewards.

The tasks are among the hardest of the fifty for SAC and TD-MPC2 (results of the public TD-MPC2 repository). With twenty
clean demonstrations most methods solve most of Meta-World, and nothing can be told apart. Our own hyperparameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zoomrl.recipes.imitation import act_metaworld, bc_metaworld
from zoomrl.recipes.recipe import Recipe
from zoomrl.recipes.small import cqn_as_metaworld, cqn_metaworld
from zoomrl.training.config import TrainConfig

TASKS = tuple(
    f"metaworld:{task}"
    for task in (
        *("lever-pull", "disassemble", "bin-picking", "pick-place-wall", "stick-pull", "box-close"),
        *("push-wall", "basketball", "coffee-push", "shelf-place", "pick-out-of-hole", "stick-push"),
    )
)
_LIMIT = 200
"""Agent steps of an episode: within 150 the disturbed expert fails most of its attempts at bin-picking."""


def cqn_as_hard() -> TrainConfig:
    """CQN-AS for the hard tasks of Meta-World: three demonstrations with noise 0.3, sparse reward, 20,000 steps."""
    return _practising(cqn_as_metaworld(), "cqn_as-metaworld-hard")


def cqn_hard() -> TrainConfig:
    """CQN for the hard tasks of Meta-World: three demonstrations with noise 0.3, sparse reward, 20,000 steps."""
    return _practising(cqn_metaworld(), "cqn-metaworld-hard")


def bc_hard() -> TrainConfig:
    """Behaviour cloning for the hard tasks of Meta-World: three demonstrations with noise 0.3, and nothing else."""
    return _imitating(bc_metaworld(), "bc-metaworld-hard")


def act_hard() -> TrainConfig:
    """ACT for the hard tasks of Meta-World: three demonstrations with noise 0.3, and nothing else."""
    return _imitating(act_metaworld(), "act-metaworld-hard")


def _practising(base: TrainConfig, preset: str) -> TrainConfig:
    evaluation = replace(base.eval, every=5000, final_episodes=100)
    return replace(_hard(base, preset), eval=evaluation, steps=20_000, updates_per_step=0.4)


def _imitating(base: TrainConfig, preset: str) -> TrainConfig:
    # Three are too few to hold one out: the weights of the best evaluation are kept.
    hard = _hard(base, preset)
    return replace(hard, demos=replace(hard.demos, validation=0.0), eval=replace(base.eval, final_episodes=100))


def _hard(base: TrainConfig, preset: str) -> TrainConfig:
    return replace(
        base,
        preset=preset,
        env=replace(base.env, id=TASKS[1], time_limit=_LIMIT),
        demos=replace(base.demos, episodes=3, noise=0.3),
    )


_BUILDERS: dict[str, Callable[[], TrainConfig]] = {
    "cqn_as-metaworld-hard": cqn_as_hard,
    "cqn-metaworld-hard": cqn_hard,
    "bc-metaworld-hard": bc_hard,
    "act-metaworld-hard": act_hard,
}
PRESETS: dict[str, Recipe] = {name: Recipe(build, "metaworld") for name, build in _BUILDERS.items()}
