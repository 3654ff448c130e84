"""HumanoidBench: the published configuration of each of its 8 published tasks, a baseline, and our own for a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.sac.config import SACConfig
from zoomrl.control.config import ControlConfig
from zoomrl.recipes import published
from zoomrl.training.config import TrainConfig

ROBOT = "h1hand"
"""The robot of the published results."""
TASKS = ("stand", "walk", "run", "reach", "hurdle", "crawl", "maze", "sit_simple")
"""The tasks of the published results."""
COLUMNS: dict[str, Callable[[], TrainConfig]] = {
    "cqn_as": published.cqn_as_humanoid,
    "cqn": published.cqn_humanoid,
}


def humanoid(agent: str, task: str) -> TrainConfig:
    """Released configuration of a HumanoidBench task: 10,000,000 steps, an update every other step."""
    return _on(COLUMNS[agent](), _name(agent, task), task)


def cqn_as_humanoid_cpu() -> TrainConfig:
    """CQN-AS for standing HumanoidBench robots, 100,000 steps on a CPU: a narrow network. Our own hyperparameters."""
    return _small("cqn_as")


def cqn_humanoid_cpu() -> TrainConfig:
    """CQN for standing HumanoidBench robots, 100,000 steps on a CPU: a narrow network. Our own hyperparameters."""
    return _small("cqn")


def _small(agent: str) -> TrainConfig:
    base = _on(COLUMNS[agent](), f"{agent}-humanoid-cpu", "stand")
    assert isinstance(base.agent, CQNConfig | CQNASConfig)
    return replace(
        base,
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
    base = humanoid("cqn", "walk")
    control = ControlConfig(executor="open_loop", noise="0.0", uniform_steps=base.control.uniform_steps)
    return replace(base, preset="sac-humanoid", agent=SACConfig(), control=control)


def _on(base: TrainConfig, preset: str, task: str) -> TrainConfig:
    return replace(base, preset=preset, env=replace(base.env, id=f"humanoidbench:{ROBOT}-{task}"))


def _name(agent: str, task: str) -> str:
    return f"{agent}-humanoid-{task.replace('_', '-')}"


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    **{_name(agent, task): partial(humanoid, agent, task) for agent in COLUMNS for task in TASKS},
    "cqn_as-humanoid-cpu": cqn_as_humanoid_cpu,
    "cqn-humanoid-cpu": cqn_humanoid_cpu,
    "sac-humanoid": sac_humanoid,
}
