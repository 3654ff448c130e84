"""Settings that the papers' authors released, column by column.

Source: configuration files of the public CQN-AS repository (main branch, January 2025), whose numbers supersede the
older CQN release where they differ. Each preset keeps the released choices that we would make differently today
(padding trained as data, starts near an episode's end left out); it leaves out what is a bug (see docs/cqn.md).
Images are not part of these presets: they hold for state observations until cameras arrive.
"""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.config import CQNASConfig, CQNConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

NO_DEMOS = DemoConfig(source="none", episodes=0)
ALL_DEMOS = DemoConfig(episodes=0)
ANY_ENV = EnvConfig(id="")
# Shared by the domains that learn without demonstrations.
SCALAR_CQN = CQNConfig(
    value="scalar",
    dueling="none",
    trunk_dim=0,
    target_tau=1.0,
    target_interval=100,
    critic_lambda=1.0,
    bc_lambda=0.0,
    act_with="online",
)
NO_DEMO_REPLAY = ReplayConfig(capacity=10_000_000, demo_fraction=0.0, relabel_successes=False, n_step=3, tail="exclude")


def cqn_bigym() -> TrainConfig:
    """CQN, BiGym column: hard target copies every 50 updates; name the environment with --env.id."""
    return TrainConfig(
        preset="cqn-bigym",
        env=ANY_ENV,
        agent=CQNConfig(normalize="demos", target_tau=1.0, target_interval=50),
        replay=ReplayConfig(padding="last_action", tail="exclude", frame_stack=4),
        control=ControlConfig(executor="open_loop", snap=True, action_range="demos"),
        demos=ALL_DEMOS,
        eval=EvalConfig(every=2500, episodes=25),
        steps=101_000,
    )


def cqn_as_bigym() -> TrainConfig:
    """CQN-AS, BiGym column: sequences of 16; name the environment with --env.id."""
    agent = CQNASConfig(horizon=16, normalize="demos")
    control = ControlConfig(action_range="demos")
    return replace(cqn_bigym(), preset="cqn_as-bigym", agent=agent, control=control)


def cqn_rlbench() -> TrainConfig:
    """CQN, RLBench column: margin 0.01, 100 demonstrations; name the environment with --env.id."""
    return TrainConfig(
        preset="cqn-rlbench",
        env=ANY_ENV,
        agent=CQNConfig(bc_margin=0.01),
        replay=ReplayConfig(padding="zeros", tail="exclude", frame_stack=8),
        control=ControlConfig(executor="open_loop", snap=True, action_range="demos", action_margin=0.2),
        demos=DemoConfig(episodes=100),
        eval=EvalConfig(every=2500, episodes=25),
        steps=30_250,
    )


def cqn_as_rlbench() -> TrainConfig:
    """CQN-AS, RLBench column: sequences of 4 padded with zeros; name the environment with --env.id."""
    agent = CQNASConfig(horizon=4, bc_margin=0.01)
    control = ControlConfig(action_range="demos", action_margin=0.2)
    return replace(cqn_rlbench(), preset="cqn_as-rlbench", agent=agent, control=control)


def cqn_humanoid() -> TrainConfig:
    """CQN, HumanoidBench column: scalar values, no demonstrations; name the environment with --env.id."""
    return TrainConfig(
        preset="cqn-humanoid",
        env=ANY_ENV,
        agent=SCALAR_CQN,
        replay=replace(NO_DEMO_REPLAY, batch_size=128, padding="last_action"),
        control=ControlConfig(executor="open_loop", snap=True, uniform_steps=10_000),
        demos=NO_DEMOS,
        eval=EvalConfig(every=10_000, episodes=10, video=False),
        checkpoint=CheckpointConfig(every=100_000),
        steps=10_000_000,
        seed_steps=10_000,
        updates_per_step=0.5,
    )


def cqn_as_humanoid() -> TrainConfig:
    """CQN-AS, HumanoidBench column: sequences of 4, hidden width 1024; name the environment with --env.id."""
    base = cqn_humanoid()
    agent = CQNASConfig(**{**vars(base.agent), "hidden_dim": 1024}, horizon=4)
    control = ControlConfig(uniform_steps=10_000)
    return replace(base, preset="cqn_as-humanoid", agent=agent, control=control)


def cqn_dmc() -> TrainConfig:
    """CQN, DeepMind Control state column: scalar values, exploration noise 0.1, no demonstrations."""
    return TrainConfig(
        preset="cqn-dmc",
        env=EnvConfig(id="dmc:cartpole-swingup"),
        agent=replace(SCALAR_CQN, hidden_bias=True, lr=1e-4),
        replay=replace(NO_DEMO_REPLAY, batch_size=256),
        control=ControlConfig(executor="open_loop", snap=True, noise="0.1", uniform_steps=2000),
        demos=NO_DEMOS,
        eval=EvalConfig(every=10_000, episodes=10, video=False),
        checkpoint=CheckpointConfig(every=50_000),
        steps=1_100_000,
        seed_steps=8000,
    )


def cqn_dmc_walker() -> TrainConfig:
    """CQN, DeepMind Control walker tasks: one-step returns, batches of 512."""
    base = cqn_dmc()
    return replace(
        base,
        preset="cqn-dmc-walker",
        env=EnvConfig(id="dmc:walker-walk"),
        replay=replace(base.replay, batch_size=512, n_step=1),
    )
