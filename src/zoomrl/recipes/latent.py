"""iQRL and its baselines on DeepMind Control from state: settings as released, task by task.

Source: configuration files of the public iQRL repository (December 2024). What is a bug there is left out (see
docs/iqrl.md). Schedules are counted in environment steps, 1,000 to an episode and two to a decision.
"""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.config import IQRLConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.nets.config import RepresentationConfig
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

NO_DEMOS = DemoConfig(source="none", episodes=0)
EPISODE = 1000
"""Environment steps of an episode."""
LATENT = RepresentationConfig(kind="self_predictive")
WARM_UP = 10 * EPISODE
"""Steps of the untrained policy before the first update."""


def iqrl_dmc(env: str = "walker-walk", schedule: int = 50, n_step: int = 1) -> TrainConfig:
    """iQRL, DeepMind Control from state: walker-walk and the other easy tasks."""
    return TrainConfig(
        preset="iqrl-dmc",
        env=EnvConfig(id=f"dmc:{env}", action_repeat=2),
        agent=IQRLConfig(),
        replay=ReplayConfig(
            capacity=10_000_000,
            batch_size=256,
            demo_fraction=0.0,
            relabel_successes=False,
            n_step=n_step,
            tail="exclude",
        ),
        control=ControlConfig(executor="open_loop", noise=_noise(schedule)),
        demos=NO_DEMOS,
        eval=EvalConfig(every=20 * EPISODE, episodes=10, video=False),
        checkpoint=CheckpointConfig(every=50 * EPISODE),
        steps=3_000_000,
        seed_steps=WARM_UP,
        update_at="episode",
    )


def _noise(episodes: int) -> str:
    """1.0 in the warm-up, then down to 0.1 over this many episodes."""
    return f"step_linear(1.0,1.0,{WARM_UP},0.1,{episodes * EPISODE})"


def iqrl_dmc_cpu() -> TrainConfig:
    """iQRL for DeepMind Control on a CPU: a latent of 128 numbers and two critics, as in the paper's first draft."""
    base = iqrl_dmc()
    return replace(
        base,
        preset="iqrl-dmc-cpu",
        agent=IQRLConfig(representation=replace(LATENT, dim=128), critics=2, actor_value="min"),
        replay=replace(base.replay, capacity=1_000_000),
        eval=EvalConfig(every=10 * EPISODE, episodes=10, num_envs=5, video=False),
        steps=100 * EPISODE,
        update_at="step",
    )
