"""Hyperparameters that the papers' authors released, column by column.

Source: configuration files of the public CQN-AS repository (main branch, January 2025), whose numbers supersede the
older CQN release where they differ, and of the public DrQ-v2 repository. Each preset keeps the released choices that
we would make differently today (padding trained as data, starts near an episode's end left out); it leaves out what
is a bug (see docs/algorithms/cqn.md and docs/algorithms/drqv2.md).
"""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.nets.config import EncoderConfig
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

MEDIUM_STEPS, HARD_STEPS = 3_100_000, 30_100_000
"""Environment steps for the medium and hard tasks of DeepMind Control, from pixels and from state."""
HUMANOID_LR, HUMANOID_FEATURES = 8e-5, 100
"""Learning rate of humanoid tasks, from pixels and from state, and the width of their image trunk."""
NO_DEMOS = DemoConfig(source="none", episodes=0)
ALL_DEMOS = DemoConfig(episodes=0)
ANY_ENV = EnvConfig(id="")
BIGYM_ENV = EnvConfig(id="", cameras=("head", "right_wrist", "left_wrist"), state="robot")
# CoppeliaSim runs once per process, and may take minutes to start.
RLBENCH_ENV = EnvConfig(
    id="",
    cameras=("front", "wrist", "left_shoulder", "right_shoulder"),
    state="robot",
    workers="process",
    timeout=300.0,
)
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


DMC_PIXELS = EnvConfig(id="dmc:cartpole-swingup", cameras=("0",), action_repeat=2)
DMC_PIXEL_REPLAY = ReplayConfig(
    capacity=1_000_000,
    batch_size=256,
    demo_fraction=0.0,
    relabel_successes=False,
    n_step=3,
    tail="exclude",
    frame_stack=3,
)


def cqn_bigym() -> TrainConfig:
    """CQN, BiGym column: hard target copies every 50 updates; name the environment with --env.id."""
    return TrainConfig(
        preset="cqn-bigym",
        env=BIGYM_ENV,
        agent=CQNConfig(normalize="demos", encoder=EncoderConfig(layers=2), target_tau=1.0, target_interval=50),
        replay=ReplayConfig(padding="last_action", tail="exclude", frame_stack=4),
        control=ControlConfig(executor="open_loop", snap=True, action_range="demos"),
        demos=ALL_DEMOS,
        eval=EvalConfig(every=2500, episodes=25),
        steps=101_000,
    )


def cqn_as_bigym() -> TrainConfig:
    """CQN-AS, BiGym column: sequences of 16; name the environment with --env.id."""
    agent = CQNASConfig(chunk_length=16, normalize="demos", encoder=EncoderConfig(layers=2))
    control = ControlConfig(action_range="demos")
    return replace(cqn_bigym(), preset="cqn_as-bigym", agent=agent, control=control)


def drqv2_plus_bigym() -> TrainConfig:
    """DrQ-v2+, BiGym column; name the environment with --env.id."""
    agent = DrQv2PlusConfig(normalize="demos")
    control = ControlConfig(executor="open_loop", action_range="demos")
    return replace(cqn_bigym(), preset="drqv2_plus-bigym", agent=agent, control=control)


def drqv2_as_bigym() -> TrainConfig:
    """DrQ-v2-AS+, BiGym column (released and withdrawn as unstable): sequences of 16, batches of 256."""
    base = cqn_as_bigym()
    agent = DrQv2ASConfig(chunk_length=16, normalize="demos")
    return replace(base, preset="drqv2_as-bigym", agent=agent, replay=replace(base.replay, batch_size=256))


def cqn_rlbench() -> TrainConfig:
    """CQN, RLBench column: margin 0.01, 100 demonstrations; name the environment with --env.id."""
    return TrainConfig(
        preset="cqn-rlbench",
        env=RLBENCH_ENV,
        agent=CQNConfig(bc_margin=0.01),
        replay=ReplayConfig(padding="hold", tail="exclude", frame_stack=8),
        control=ControlConfig(executor="open_loop", snap=True, action_range="demos", action_margin=0.2),
        demos=DemoConfig(episodes=100),
        eval=EvalConfig(every=2500, episodes=25),
        steps=30_250,
    )


def cqn_as_rlbench() -> TrainConfig:
    """CQN-AS, RLBench column: sequences of 4, the padding a command to stay put; name the environment with --env.id."""
    agent = CQNASConfig(chunk_length=4, bc_margin=0.01)
    control = ControlConfig(action_range="demos", action_margin=0.2)
    return replace(cqn_rlbench(), preset="cqn_as-rlbench", agent=agent, control=control)


def drqv2_plus_rlbench() -> TrainConfig:
    """DrQ-v2+, RLBench column; name the environment with --env.id."""
    control = ControlConfig(executor="open_loop", action_range="demos", action_margin=0.2)
    return replace(cqn_rlbench(), preset="drqv2_plus-rlbench", agent=DrQv2PlusConfig(), control=control)


def drqv2_as_rlbench() -> TrainConfig:
    """DrQ-v2-AS+, RLBench column (released and withdrawn as unstable): sequences of 4."""
    return replace(cqn_as_rlbench(), preset="drqv2_as-rlbench", agent=DrQv2ASConfig(chunk_length=4))


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
    agent = CQNASConfig(**{**vars(base.agent), "hidden_dim": 1024}, chunk_length=4)
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
    return _walker(cqn_dmc(), "cqn-dmc-walker")


def cqn_dmc_medium() -> TrainConfig:
    """CQN, DeepMind Control medium tasks: 3,100,000 steps."""
    return _longer(cqn_dmc(), "cqn-dmc-medium", "dmc:cheetah-run", MEDIUM_STEPS)


def cqn_dmc_hard() -> TrainConfig:
    """CQN, DeepMind Control humanoid tasks: 30,100,000 steps, learning rate 8e-5."""
    base = _longer(cqn_dmc(), "cqn-dmc-hard", "dmc:humanoid-walk", HARD_STEPS)
    return replace(base, agent=base.agent.replaced(lr=HUMANOID_LR))


def cqn_dmc_pixels() -> TrainConfig:
    """CQN, DeepMind Control pixel column: categorical values of 0 to 200, three stacked frames, action repeat 2."""
    return TrainConfig(
        preset="cqn-dmc-pixels",
        env=DMC_PIXELS,
        agent=CQNConfig(
            v_min=0.0,
            v_max=200.0,
            encoder=EncoderConfig(kind="drqv2"),
            optimizer="adam",
            lr=1e-4,
            weight_decay=0.0,
            critic_lambda=1.0,
            bc_lambda=0.0,
            act_with="online",
        ),
        replay=DMC_PIXEL_REPLAY,
        # Counted in environment steps, two to an agent step: 2,000 random agent steps, updates from the 2,000th on.
        control=ControlConfig(executor="open_loop", snap=True, noise="0.1", uniform_steps=4000),
        demos=NO_DEMOS,
        eval=EvalConfig(every=10_000, episodes=10),
        checkpoint=CheckpointConfig(every=50_000),
        steps=1_100_000,
        seed_steps=4000,
        updates_per_step=0.5,
    )


def drqv2_dmc() -> TrainConfig:
    """DrQ-v2, DeepMind Control, easy tasks: noise from 1.0 to 0.1 over 200,000 environment steps."""
    base = cqn_dmc_pixels()
    control = ControlConfig(executor="open_loop", noise="linear(1.0,0.1,200000)", uniform_steps=4000)
    return replace(base, preset="drqv2-dmc", agent=DrQv2Config(), control=control)


def cqn_dmc_pixels_walker() -> TrainConfig:
    """CQN from pixels, DeepMind Control walker tasks: one-step returns, batches of 512."""
    return _walker(cqn_dmc_pixels(), "cqn-dmc-pixels-walker")


def cqn_dmc_pixels_medium() -> TrainConfig:
    """CQN from pixels, DeepMind Control medium tasks: 3,100,000 steps."""
    return _longer(cqn_dmc_pixels(), "cqn-dmc-pixels-medium", "dmc:cheetah-run", MEDIUM_STEPS)


def cqn_dmc_pixels_hard() -> TrainConfig:
    """CQN from pixels, DeepMind Control humanoid tasks: 30,100,000 steps, learning rate 8e-5, features of 100."""
    base = _longer(cqn_dmc_pixels(), "cqn-dmc-pixels-hard", "dmc:humanoid-walk", HARD_STEPS)
    assert isinstance(base.agent, CQNConfig)
    encoder = replace(base.agent.encoder, feature_dim=HUMANOID_FEATURES)
    return replace(base, agent=replace(base.agent, lr=HUMANOID_LR, encoder=encoder))


def drqv2_dmc_walker() -> TrainConfig:
    """DrQ-v2, DeepMind Control walker-stand and walker-walk: one-step returns, batches of 512."""
    return _walker(drqv2_dmc(), "drqv2-dmc-walker")


def drqv2_dmc_medium() -> TrainConfig:
    """DrQ-v2, DeepMind Control, medium tasks: noise from 1.0 to 0.1 over 1,000,000 environment steps."""
    return _slower(drqv2_dmc(), "drqv2-dmc-medium", "dmc:cheetah-run", 1_000_000, MEDIUM_STEPS)


def drqv2_dmc_hard() -> TrainConfig:
    """DrQ-v2, DeepMind Control, humanoid tasks: noise over 4,000,000 environment steps, features of 100."""
    base = _slower(drqv2_dmc(), "drqv2-dmc-hard", "dmc:humanoid-walk", 4_000_000, HARD_STEPS)
    agent = DrQv2Config(lr=HUMANOID_LR)
    return replace(base, agent=replace(agent, encoder=replace(agent.encoder, feature_dim=HUMANOID_FEATURES)))


def _walker(base: TrainConfig, name: str) -> TrainConfig:
    return replace(
        base,
        preset=name,
        env=replace(base.env, id="dmc:walker-walk"),
        replay=replace(base.replay, batch_size=512, n_step=1),
    )


def _longer(base: TrainConfig, name: str, env: str, steps: int) -> TrainConfig:
    return replace(base, preset=name, env=replace(base.env, id=env), steps=steps)


def _slower(base: TrainConfig, name: str, env: str, noise_steps: int, steps: int) -> TrainConfig:
    noise = f"linear(1.0,0.1,{noise_steps})"
    return _longer(replace(base, control=replace(base.control, noise=noise)), name, env, steps)
