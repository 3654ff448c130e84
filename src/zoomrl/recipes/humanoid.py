"""HumanoidBench: a baseline next to the published columns, and our own configurations for a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.sac.config import SACConfig
from zoomrl.control.config import ControlConfig
from zoomrl.recipes import published
from zoomrl.recipes.recipe import Recipe
from zoomrl.training.config import TrainConfig

ROBOT = "h1hand"
"""The robot of the published results."""
TASKS = ("stand", "walk", "run", "reach", "hurdle", "crawl", "maze", "sit_simple")
"""The tasks of the published results."""
COLUMNS: dict[str, Callable[[], TrainConfig]] = {
    "cqn_as": published.cqn_as_humanoid,
    "cqn": published.cqn_humanoid,
}


def cqn_as_humanoid_cpu() -> TrainConfig:
    """CQN-AS for standing HumanoidBench robots, 100,000 steps on a CPU: a narrow network. Our own hyperparameters."""
    return _small("cqn_as")


def cqn_humanoid_cpu() -> TrainConfig:
    """CQN for standing HumanoidBench robots, 100,000 steps on a CPU: a narrow network. Our own hyperparameters."""
    return _small("cqn")


def _small(agent: str) -> TrainConfig:
    base = COLUMNS[agent]()
    assert isinstance(base.agent, CQNConfig | CQNASConfig)
    return replace(
        base,
        preset=f"{agent}-humanoid-cpu",
        env=replace(base.env, id=f"humanoidbench:{ROBOT}-stand"),
        agent=replace(base.agent, hidden_dim=128, lr=3e-4),
        replay=replace(base.replay, capacity=100_000),
        control=replace(base.control, uniform_steps=2000),
        eval=replace(base.eval, every=20_000, episodes=5, final_episodes=10),
        checkpoint=replace(base.checkpoint, every=20_000),
        steps=100_000,
        seed_steps=2000,
    )


def sac_humanoid() -> TrainConfig:
    """SAC with the schedule of the published columns: an update every other step. Its networks are our defaults."""
    base = published.cqn_humanoid()
    control = ControlConfig(executor="open_loop", noise="0.0", uniform_steps=base.control.uniform_steps)
    env = replace(base.env, id=f"humanoidbench:{ROBOT}-walk")
    return replace(base, preset="sac-humanoid", env=env, agent=SACConfig(), control=control)


PRESETS: dict[str, Recipe] = {
    "cqn_as-humanoid-cpu": Recipe(cqn_as_humanoid_cpu, "humanoidbench"),
    "cqn-humanoid-cpu": Recipe(cqn_humanoid_cpu, "humanoidbench"),
    "sac-humanoid": Recipe(sac_humanoid, "humanoidbench"),
}
