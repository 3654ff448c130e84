"""Any Gymnasium task without demonstrations; name it with --env gym:ID. Numbers without a source are ours."""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.config import AgentConfig
from zoomrl.agents.drqv2.config import DrQv2Config
from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.td3.config import TD3Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.recipes.published import DMC_PIXEL_REPLAY, NO_DEMOS, SCALAR_CQN
from zoomrl.recipes.recipe import Recipe
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig


def cqn_gym() -> TrainConfig:
    """CQN on a Gymnasium task from state: the published scalar values, a narrow network, 3-step returns."""
    base = _gym("cqn-gym", SCALAR_CQN.replaced(hidden_dim=256, lr=3e-4), "0.1", warm_up=1000)
    return replace(
        base,
        replay=replace(base.replay, n_step=3),
        control=replace(base.control, snap=True),
        eval=replace(base.eval, every=2500),
        steps=30_000,
    )


def td3_gym() -> TrainConfig:
    """TD3 on a Gymnasium task from state: its authors' networks, noise and 25,000 random steps."""
    return replace(_gym("td3-gym", TD3Config(), "0.1", warm_up=25_000), steps=1_000_000)


def sac_gym() -> TrainConfig:
    """SAC on a Gymnasium task from state: 10,000 random steps, then its own policy explores."""
    return replace(_gym("sac-gym", SACConfig(), "0.0", warm_up=10_000), steps=1_000_000)


def drqv2_gym() -> TrainConfig:
    """DrQ-v2 on a Gymnasium task from the image that it renders: published networks, three stacked frames."""
    base = _gym("drqv2-gym", DrQv2Config(), "linear(1.0,0.1,100000)", warm_up=4000)
    return replace(
        base,
        env=replace(base.env, cameras=("render",)),
        replay=replace(DMC_PIXEL_REPLAY, capacity=100_000),
        seed_steps=4000,
        steps=500_000,
    )


def _gym(preset: str, agent: AgentConfig, noise: str, warm_up: int) -> TrainConfig:
    return TrainConfig(
        preset=preset,
        env=EnvConfig(id="gym:Pendulum-v1"),
        agent=agent,
        replay=ReplayConfig(
            capacity=1_000_000,
            batch_size=256,
            demo_fraction=0.0,
            relabel_successes=False,
            sampling="transition",
        ),
        control=ControlConfig(executor="open_loop", noise=noise, uniform_steps=warm_up),
        demos=NO_DEMOS,
        eval=EvalConfig(every=10_000, episodes=10, video=False),
        checkpoint=CheckpointConfig(every=50_000),
        seed_steps=warm_up,
    )


PRESETS: dict[str, Recipe] = {
    "cqn-gym": Recipe(cqn_gym, "gym"),
    "td3-gym": Recipe(td3_gym, "gym"),
    "sac-gym": Recipe(sac_gym, "gym"),
    "drqv2-gym": Recipe(drqv2_gym, "gym"),
}
