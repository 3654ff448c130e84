"""iQRL on DeepMind Control from state: the released configuration, small ones of our own, and its ablations.

Source: configuration files of the public iQRL repository (December 2024). What is a bug there is left out (see the
page of iQRL). What each of its 27 tasks changes is in :mod:`zoomrl.recipes.tasks`. Schedules are counted in environment
steps, 1,000 to an episode and two to an agent step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.nets.config import RepresentationConfig
from zoomrl.recipes.published import NO_DEMOS
from zoomrl.recipes.recipe import Recipe, canonical, with_field
from zoomrl.recipes.tasks import EASY_EPISODES, EPISODE, IQRL, IQRL_BASELINE, MEDIUM_EPISODES, WARM_UP, falling
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

LATENT = RepresentationConfig(kind="self_predictive")
_SMALL_IQRL = IQRLConfig(
    representation=replace(LATENT, dim=128, model_hidden=(256, 256)),
    hidden=(256, 256),
    critics=2,
    actor_value="min",
)
_MATCHED = TD3Config(norm=True, activation="mish", delayed_targets=False, noise_clip=0.3)
ABLATIONS: dict[str, Callable[[RepresentationConfig], RepresentationConfig]] = {
    "no_quantisation": lambda latent: replace(latent, quantise=False),
    "mse": lambda latent: replace(latent, consistency="mse"),
    "reward": lambda latent: replace(latent, reward_coef=1.0),
    "projection": lambda latent: replace(latent, projection_dim=max(1, latent.dim // 16)),
    "reconstruction": lambda latent: replace(latent, reconstruction_coef=1.0),
}
"""What each ablation of the paper changes of the representation."""

_IN_WORDS = {
    "no_quantisation": "without quantisation",
    "mse": "with a mean squared error of latents in place of the cosine",
    "reward": "with a predicted reward",
    "projection": "with latents projected to a sixteenth of their size before they are compared",
    "reconstruction": "with a reconstructed observation",
}


def state_dmc(preset: str, env: str, noise: str, n_step: int = 1) -> TrainConfig:
    """What iQRL and its baselines share, but for the agent: action repeat 2, no demonstrations."""
    return TrainConfig(
        preset=preset,
        env=EnvConfig(id=f"dmc:{env}", action_repeat=2),
        replay=ReplayConfig(
            batch_size=256,
            demo_fraction=0.0,
            relabel_successes=False,
            sampling="episode",
            n_step=n_step,
            tail="exclude",
        ),
        control=ControlConfig(executor="open_loop", noise=noise),
        demos=NO_DEMOS,
        eval=EvalConfig(every=20 * EPISODE, episodes=10, video=False),
        checkpoint=CheckpointConfig(every=50 * EPISODE),
        seed_steps=WARM_UP,
    )


def iqrl_dmc() -> TrainConfig:
    """iQRL on DeepMind Control, as released for each task: 3,000,000 environment steps."""
    base = state_dmc("iqrl-dmc", "walker-walk", falling(EASY_EPISODES))
    return replace(
        base,
        agent=IQRLConfig(representation=LATENT),
        replay=replace(base.replay, capacity=10_000_000),
        steps=3_000_000,
        update_at="episode",
    )


def iqrl_dmc_cpu() -> TrainConfig:
    """iQRL for DeepMind Control on a CPU: a 128-dimensional latent, 2 critics, width 256. Our own hyperparameters."""
    base = state_dmc("iqrl-dmc-cpu", "walker-walk", falling(EASY_EPISODES))
    return replace(
        base,
        agent=_SMALL_IQRL,
        eval=replace(base.eval, every=10 * EPISODE, num_envs=5),
        steps=100 * EPISODE,
    )


def iqrl_dmc_cpu_medium() -> TrainConfig:
    """iQRL on a CPU, harder tasks: 3-step returns, ELU, no LayerNorm in actor and critics. Our own hyperparameters."""
    base = iqrl_dmc_cpu()
    latent = replace(_SMALL_IQRL.representation, lr=3e-4)
    return replace(
        base,
        preset="iqrl-dmc-cpu-medium",
        env=replace(base.env, id="dmc:cheetah-run"),
        agent=replace(_SMALL_IQRL, representation=latent, norm=False, activation="elu"),
        replay=replace(base.replay, n_step=3),
        control=replace(base.control, noise=falling(MEDIUM_EPISODES)),
        steps=250 * EPISODE,
    )


def ablated(name: str | None, env: str) -> TrainConfig:
    """iqrl-dmc-cpu, or an ablation of it, with the schedule, n-step and moving average that the task ``env`` has.

    Tasks that iQRL was not published for get those of iqrl-dmc-cpu.
    """
    config = iqrl_dmc_cpu() if name is None else _ablation(name).build()
    config = replace(config, env=replace(config.env, id=env))
    numbers = IQRL.get(canonical(env), {})
    for field in ("control.noise", "replay.n_step", "agent.representation.target_tau"):
        if field in numbers:
            config = with_field(config, field, numbers[field])
    return config


def matched() -> TrainConfig:
    """TD3 with the networks, critics, noise and schedule of iQRL on each task, and without its latent."""
    agent = replace(_MATCHED, hidden=(512, 512), critics=5, actor_value="mean")
    return replace(iqrl_dmc(), preset="td3-dmc-matched", agent=agent)


def matched_cpu() -> TrainConfig:
    """TD3 with the networks, critics and noise of iqrl-dmc-cpu, and without its latent."""
    return replace(iqrl_dmc_cpu(), preset="td3-dmc-matched-cpu", agent=replace(_MATCHED, actor_value="min"))


def _ablation(name: str) -> Recipe:
    def build() -> TrainConfig:
        agent = replace(_SMALL_IQRL, representation=ABLATIONS[name](_SMALL_IQRL.representation))
        return replace(iqrl_dmc_cpu(), preset=f"iqrl-dmc-cpu-{name}", agent=agent)

    build.__doc__ = f"iqrl-dmc-cpu {_IN_WORDS[name]}: an ablation of the paper."
    return Recipe(build, "dmc")


PRESETS: dict[str, Recipe] = {
    "iqrl-dmc": Recipe(iqrl_dmc, "dmc", IQRL),
    "iqrl-dmc-cpu": Recipe(iqrl_dmc_cpu, "dmc"),
    "iqrl-dmc-cpu-medium": Recipe(iqrl_dmc_cpu_medium, "dmc"),
    "td3-dmc-matched": Recipe(matched, "dmc", IQRL_BASELINE),
    "td3-dmc-matched-cpu": Recipe(matched_cpu, "dmc"),
    **{f"iqrl-dmc-cpu-{name}": _ablation(name) for name in ABLATIONS},
}
