"""Our own configurations, small enough for a CPU."""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.convert import convert
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.drqv2.config import DrQv2ASConfig, DrQv2Config, DrQv2PlusConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.nets.config import EncoderConfig
from zoomrl.recipes.published import drqv2_dmc
from zoomrl.recipes.recipe import Recipe
from zoomrl.training.config import EvalConfig, TrainConfig

# Sparse success is worth 0 to 1: the published support of -2 to 2 would leave three quarters of its atoms unused.
_SMALL_CQN_AS = CQNASConfig(
    chunk_length=4,
    hidden_dim=128,
    trunk_dim=0,
    dueling="shared",
    atoms=21,
    v_min=0.0,
    v_max=1.0,
    normalize="demos",
    lr=1e-3,
)


def cqn_as_metaworld() -> TrainConfig:
    """CQN-AS for Meta-World from state on a CPU: a small network, demonstrations first. Our own hyperparameters."""
    return TrainConfig(
        preset="cqn_as-metaworld",
        env=EnvConfig(id="metaworld:drawer-open", time_limit=150),
        agent=_SMALL_CQN_AS,
        replay=ReplayConfig(batch_size=128, n_step=3, capacity=100_000),
        eval=EvalConfig(every=1000, episodes=20, num_envs=5),
        steps=5000,
        offline_updates=1000,
        updates_per_step=0.2,
    )


def single_actions(base: TrainConfig, preset: str) -> TrainConfig:
    """CQN with the hyperparameters of a configuration of CQN-AS."""
    control = replace(base.control, executor="open_loop", snap=True)
    return replace(base, preset=preset, agent=convert(base.agent, CQNConfig), control=control)


def cqn_metaworld() -> TrainConfig:
    """CQN for Meta-World: the same hyperparameters with single actions, for comparison."""
    return single_actions(cqn_as_metaworld(), "cqn-metaworld")


def drqv2_plus_metaworld() -> TrainConfig:
    """DrQ-v2+ for Meta-World from state on a CPU, for comparison. Our own hyperparameters."""
    base = cqn_metaworld()
    agent = DrQv2PlusConfig(
        hidden_dim=256,
        trunk_dim=0,
        normalize="demos",
        v_min=0.0,
        v_max=1.0,
        lr=3e-4,
        target_tau=0.01,
        target_interval=1,
    )
    return replace(base, preset="drqv2_plus-metaworld", agent=agent, control=ControlConfig(executor="open_loop"))


def drqv2_as_metaworld() -> TrainConfig:
    """DrQ-v2-AS+ for Meta-World from state on a CPU, for comparison. Our own hyperparameters."""
    base = drqv2_plus_metaworld()
    agent = convert(base.agent, DrQv2ASConfig)
    return replace(base, preset="drqv2_as-metaworld", agent=agent, control=ControlConfig())


def cqn_as_metaworld_pixels() -> TrainConfig:
    """CQN-AS for Meta-World from two cameras and the robot's own state on a CPU. Our own hyperparameters."""
    base = cqn_as_metaworld()
    return replace(
        base,
        preset="cqn_as-metaworld-pixels",
        env=replace(
            base.env,
            cameras=("corner2", "gripperPOV"),
            image_size=64,
            shadows=False,
            reflections=False,
            antialiasing=False,
        ),
        agent=replace(_SMALL_CQN_AS, lr=3e-4, encoder=EncoderConfig(channels=16, shift=3)),
        replay=replace(base.replay, capacity=10_000),
        eval=EvalConfig(every=1000, episodes=10, num_envs=1),
        steps=3000,
        offline_updates=1500,
    )


def drqv2_dmc_cpu() -> TrainConfig:
    """DrQ-v2 for DeepMind Control from pixels on a CPU: 64x64 images, narrow networks. Our own hyperparameters."""
    base = drqv2_dmc()
    encoder = EncoderConfig(kind="drqv2", channels=16, norm="none", activation="relu", feature_dim=50, shift=3)
    return replace(
        base,
        preset="drqv2-dmc-cpu",
        env=replace(
            base.env, id="dmc:cartpole-balance", image_size=64, shadows=False, reflections=False, antialiasing=False
        ),
        agent=DrQv2Config(encoder=encoder, hidden_dim=256, lr=3e-4),
        replay=replace(base.replay, capacity=100_000, batch_size=128),
        control=replace(base.control, noise="linear(1.0,0.1,50000)"),
        eval=EvalConfig(every=10_000, episodes=5),
        steps=100_000,
    )


def quickstart() -> TrainConfig:
    """CQN-AS learns Meta-World drawer-open from 20 scripted demonstrations while you watch: about two minutes."""
    base = cqn_as_metaworld()
    return replace(
        base,
        preset="quickstart",
        # One critic chooses and values the bootstrap action: a pass less, at no loss on this task.
        agent=replace(_SMALL_CQN_AS, hidden_dim=64, double_q=False),
        replay=replace(base.replay, batch_size=256),
        # No head start on the demonstrations alone, so that the curve shows the learning.
        offline_updates=0,
        updates_per_step=0.4,
        steps=2500,
        eval=replace(base.eval, every=250),
    )


PRESETS: dict[str, Recipe] = {
    "quickstart": Recipe(quickstart, "metaworld"),
    "cqn_as-metaworld": Recipe(cqn_as_metaworld, "metaworld"),
    "cqn-metaworld": Recipe(cqn_metaworld, "metaworld"),
    "drqv2_plus-metaworld": Recipe(drqv2_plus_metaworld, "metaworld"),
    "drqv2_as-metaworld": Recipe(drqv2_as_metaworld, "metaworld"),
    "cqn_as-metaworld-pixels": Recipe(cqn_as_metaworld_pixels, "metaworld"),
    "drqv2-dmc-cpu": Recipe(drqv2_dmc_cpu, "dmc"),
}
