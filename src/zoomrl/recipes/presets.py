"""Named starting points: published settings with their source, and ours. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zoomrl.agents.config import CQNASConfig, CQNConfig
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import unknown_name
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

_NO_DEMOS = DemoConfig(source="none", episodes=0)
_CQN_CONTROL = ControlConfig(executor="open_loop", snap=True)


def _metaworld_cqn_as() -> TrainConfig:
    """Ours: small enough for a CPU. 21 atoms on the range that sparse returns take; padding masked; demonstrations first."""
    return TrainConfig(
        preset="cqn_as-metaworld",
        env=EnvConfig(id="metaworld:drawer-open", time_limit=150),
        agent=CQNASConfig(
            horizon=4,
            hidden_dim=128,
            trunk_dim=0,
            dueling="shared",
            atoms=21,
            v_min=0.0,
            v_max=1.0,
            normalize="demos",
            lr=1e-3,
            weight_decay=0.1,
            target_tau=0.02,
            bc_margin=0.1,
        ),
        replay=ReplayConfig(batch_size=128, n_step=3, capacity=100_000),
        control=ControlConfig(),
        eval=EvalConfig(every=1000, episodes=20, num_envs=5),
        steps=5000,
        offline_updates=1000,
        updates_per_step=0.2,
    )


def _metaworld_cqn() -> TrainConfig:
    """Ours: the same settings without the sequence."""
    base = _metaworld_cqn_as()
    shared = {k: v for k, v in vars(base.agent).items() if k in CQNConfig.__dataclass_fields__}
    return replace(base, preset="cqn-metaworld", agent=CQNConfig(**shared), control=_CQN_CONTROL)


def _dmc_cqn() -> TrainConfig:
    """CQN on DeepMind Control from state, as published (CQN-AS repository, DMC state column)."""
    return TrainConfig(
        preset="cqn-dmc",
        env=EnvConfig(id="dmc:cartpole-swingup"),
        agent=CQNConfig(
            value="scalar",
            dueling="none",
            hidden_dim=512,
            hidden_bias=True,
            trunk_dim=0,
            lr=1e-4,
            weight_decay=0.1,
            target_tau=1.0,
            target_interval=100,
            critic_lambda=1.0,
            bc_lambda=0.0,
            act_with="online",
        ),
        replay=ReplayConfig(batch_size=256, demo_fraction=0.0, relabel_successes=False, n_step=3),
        control=replace(_CQN_CONTROL, noise="0.1", uniform_steps=2000),
        demos=_NO_DEMOS,
        eval=EvalConfig(every=10_000, episodes=10, final_episodes=10, video=False),
        checkpoint=CheckpointConfig(every=20_000),
        steps=100_000,
        seed_steps=4000,
    )


def _quickstart() -> TrainConfig:
    """``cqn_as-metaworld`` on drawer-open."""
    return replace(_metaworld_cqn_as(), preset="quickstart")


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "quickstart": _quickstart,
    "cqn_as-metaworld": _metaworld_cqn_as,
    "cqn-metaworld": _metaworld_cqn,
    "cqn-dmc": _dmc_cqn,
}


def preset(name: str) -> TrainConfig:
    """The recipe called ``name``; raises ConfigError with the nearest names when there is none."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]()
