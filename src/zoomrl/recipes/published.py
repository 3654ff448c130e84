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
from zoomrl.recipes import tasks
from zoomrl.recipes.recipe import Recipe
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

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
    """CQN, BiGym column: hard target copies every 50 updates; name the environment with --env."""
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
    """CQN-AS, BiGym column: sequences of 16; name the environment with --env."""
    agent = CQNASConfig(chunk_length=16, normalize="demos", encoder=EncoderConfig(layers=2))
    control = ControlConfig(action_range="demos")
    return replace(cqn_bigym(), preset="cqn_as-bigym", agent=agent, control=control)


def drqv2_plus_bigym() -> TrainConfig:
    """DrQ-v2+, BiGym column; name the environment with --env."""
    agent = DrQv2PlusConfig(normalize="demos")
    control = ControlConfig(executor="open_loop", action_range="demos")
    return replace(cqn_bigym(), preset="drqv2_plus-bigym", agent=agent, control=control)


def drqv2_as_bigym() -> TrainConfig:
    """DrQ-v2-AS+, BiGym column (released and withdrawn as unstable): sequences of 16, batches of 256."""
    base = cqn_as_bigym()
    agent = DrQv2ASConfig(chunk_length=16, normalize="demos")
    return replace(base, preset="drqv2_as-bigym", agent=agent, replay=replace(base.replay, batch_size=256))


def cqn_rlbench() -> TrainConfig:
    """CQN, RLBench column: margin 0.01, 100 demonstrations; name the environment with --env."""
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
    """CQN-AS, RLBench column: sequences of 4, the padding a command to stay put; name the environment with --env."""
    agent = CQNASConfig(chunk_length=4, bc_margin=0.01)
    control = ControlConfig(action_range="demos", action_margin=0.2)
    return replace(cqn_rlbench(), preset="cqn_as-rlbench", agent=agent, control=control)


def drqv2_plus_rlbench() -> TrainConfig:
    """DrQ-v2+, RLBench column; name the environment with --env."""
    control = ControlConfig(executor="open_loop", action_range="demos", action_margin=0.2)
    return replace(cqn_rlbench(), preset="drqv2_plus-rlbench", agent=DrQv2PlusConfig(), control=control)


def drqv2_as_rlbench() -> TrainConfig:
    """DrQ-v2-AS+, RLBench column (released and withdrawn as unstable): sequences of 4."""
    return replace(cqn_as_rlbench(), preset="drqv2_as-rlbench", agent=DrQv2ASConfig(chunk_length=4))


def cqn_humanoid() -> TrainConfig:
    """CQN, HumanoidBench column: scalar values, no demonstrations; name the environment with --env."""
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
    """CQN-AS, HumanoidBench column: sequences of 4, hidden width 1024; name the environment with --env."""
    base = cqn_humanoid()
    agent = CQNASConfig(**{**vars(base.agent), "hidden_dim": 1024}, chunk_length=4)
    control = ControlConfig(uniform_steps=10_000)
    return replace(base, preset="cqn_as-humanoid", agent=agent, control=control)


def cqn_dmc() -> TrainConfig:
    """CQN, DeepMind Control from state: scalar values, exploration noise 0.1, no demonstrations."""
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


def cqn_dmc_pixels() -> TrainConfig:
    """CQN, DeepMind Control from pixels: values of 0 to 200, three stacked frames, action repeat 2."""
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
    """DrQ-v2, DeepMind Control from pixels, with the schedule and the numbers that were released for each task."""
    base = cqn_dmc_pixels()
    control = ControlConfig(executor="open_loop", noise="linear(1.0,0.1,200000)", uniform_steps=4000)
    return replace(base, preset="drqv2-dmc", agent=DrQv2Config(), control=control)


PRESETS: dict[str, Recipe] = {
    "drqv2-dmc": Recipe(drqv2_dmc, "dmc", tasks.DRQ),
    "cqn-dmc": Recipe(cqn_dmc, "dmc", tasks.CQN_STATE),
    "cqn-dmc-pixels": Recipe(cqn_dmc_pixels, "dmc", tasks.CQN_PIXELS),
    "cqn-bigym": Recipe(cqn_bigym, "bigym", tasks.BIGYM),
    "cqn_as-bigym": Recipe(cqn_as_bigym, "bigym", tasks.BIGYM),
    "drqv2_plus-bigym": Recipe(drqv2_plus_bigym, "bigym", tasks.BIGYM),
    "drqv2_as-bigym": Recipe(drqv2_as_bigym, "bigym", tasks.BIGYM),
    "cqn-rlbench": Recipe(cqn_rlbench, "rlbench"),
    "cqn_as-rlbench": Recipe(cqn_as_rlbench, "rlbench"),
    "drqv2_plus-rlbench": Recipe(drqv2_plus_rlbench, "rlbench"),
    "drqv2_as-rlbench": Recipe(drqv2_as_rlbench, "rlbench"),
    "cqn-humanoid": Recipe(cqn_humanoid, "humanoidbench"),
    "cqn_as-humanoid": Recipe(cqn_as_humanoid, "humanoidbench"),
}
