"""iQRL on DeepMind Control from state: the released configuration of each of its 27 tasks, and its ablations.

Source: configuration files of the public iQRL repository (December 2024). What is a bug there is left out (see
docs/algorithms/iqrl.md). Schedules are counted in environment steps, 1,000 to an episode and two to an agent step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from zoomrl.agents.td3.config import IQRLConfig, TD3Config
from zoomrl.control.config import ControlConfig
from zoomrl.data.config import ReplayConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.nets.config import RepresentationConfig
from zoomrl.recipes.published import NO_DEMOS
from zoomrl.training.config import CheckpointConfig, EvalConfig, TrainConfig

EPISODE = 1000
"""Environment steps of an episode."""
WARM_UP = 10 * EPISODE
"""Steps before the first update."""
LATENT = RepresentationConfig(kind="self_predictive")
EASY, MEDIUM, HARD = 50, 150, 500
"""Episodes over which exploration falls, for each class of tasks."""


@dataclass(frozen=True)
class Task:
    """What a task overrides.

    Attributes:
        schedule: episodes over which exploration falls from 1.0 to 0.1.
        n_step: rewards summed before bootstrapping.
        latent: of the representation.
    """

    schedule: int
    n_step: int = 1
    latent: RepresentationConfig = LATENT


_LARGE = replace(LATENT, dim=2048)
_PROJECTED = replace(LATENT, projection_dim=LATENT.dim // 16)
TASKS: dict[str, Task] = {
    "acrobot-swingup": Task(MEDIUM, 3, replace(LATENT, target_tau=5e-4)),
    "cartpole-balance": Task(EASY),
    "cartpole-swingup-sparse": Task(HARD),
    "cheetah-run": Task(MEDIUM),
    "cup-catch": Task(EASY),
    "dog-run": Task(HARD, 3, _LARGE),
    "dog-stand": Task(HARD, 3, _LARGE),
    "dog-trot": Task(HARD, 3, _LARGE),
    "dog-walk": Task(HARD, 3, _LARGE),
    "finger-spin": Task(EASY),
    "finger-turn-easy": Task(MEDIUM),
    "finger-turn-hard": Task(MEDIUM),
    "fish-swim": Task(MEDIUM, 3, _PROJECTED),
    "fish-upright": Task(MEDIUM, 3, _PROJECTED),
    "hopper-hop": Task(MEDIUM),
    "hopper-stand": Task(EASY),
    "humanoid-run": Task(HARD, 1, _LARGE),
    "humanoid-stand": Task(HARD, 1, _LARGE),
    "humanoid-walk": Task(HARD, 1, _LARGE),
    "pendulum-swingup": Task(EASY),
    "quadruped-run": Task(MEDIUM),
    "quadruped-walk": Task(MEDIUM),
    "reacher-easy": Task(MEDIUM, 3),
    "reacher-hard": Task(MEDIUM, 3),
    "walker-run": Task(MEDIUM),
    "walker-stand": Task(EASY),
    "walker-walk": Task(EASY),
}
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


def falling(episodes: int, last: float = 0.1) -> str:
    """Noise of 1.0 in the warm-up, then down to ``last`` over this many episodes."""
    return f"step_linear(1.0,1.0,{WARM_UP},{last},{episodes * EPISODE})"


def iqrl_dmc(name: str) -> TrainConfig:
    """iQRL on a DeepMind Control task, as released: 3,000,000 environment steps."""
    task = TASKS[name]
    base = state_dmc(f"iqrl-dmc-{name}", name, falling(task.schedule), task.n_step)
    return replace(
        base,
        agent=IQRLConfig(representation=task.latent),
        replay=replace(base.replay, capacity=10_000_000),
        steps=3_000_000,
        update_at="episode",
    )


def iqrl_dmc_cpu() -> TrainConfig:
    """iQRL for DeepMind Control on a CPU: a 128-dimensional latent, 2 critics, width 256. Our own hyperparameters."""
    base = state_dmc("iqrl-dmc-cpu", "walker-walk", falling(EASY))
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
        control=replace(base.control, noise=falling(MEDIUM)),
        steps=250 * EPISODE,
    )


def for_task(config: TrainConfig, env: str) -> TrainConfig:
    """``config`` of this room on the task ``env``, with the schedule, n-step and moving average that it has there.

    Tasks that iQRL was not published for get those of ``config``.
    """
    config = replace(config, env=replace(config.env, id=env))
    task = TASKS.get(env.removeprefix("dmc:"))
    if task is None:
        return config
    agent = config.agent
    if isinstance(agent, IQRLConfig):
        latent = replace(agent.representation, target_tau=task.latent.target_tau)
        agent = replace(agent, representation=latent)
    return replace(
        config,
        agent=agent,
        control=replace(config.control, noise=falling(task.schedule)),
        replay=replace(config.replay, n_step=task.n_step),
    )


def matched(name: str) -> TrainConfig:
    """TD3 with the networks, critics, noise and schedule of iQRL on a task, and without its latent."""
    agent = replace(_MATCHED, hidden=(512, 512), critics=5, actor_value="mean")
    return replace(iqrl_dmc(name), preset=f"td3-dmc-matched-{name}", agent=agent)


def matched_cpu() -> TrainConfig:
    """TD3 with the networks, critics and noise of iqrl-dmc-cpu, and without its latent."""
    return replace(iqrl_dmc_cpu(), preset="td3-dmc-matched-cpu", agent=replace(_MATCHED, actor_value="min"))


def ablation(name: str) -> TrainConfig:
    """iqrl-dmc-cpu with one part of the representation changed, as in the paper's ablations."""
    agent = replace(_SMALL_IQRL, representation=ABLATIONS[name](_SMALL_IQRL.representation))
    return replace(iqrl_dmc_cpu(), preset=f"iqrl-dmc-cpu-{name}", agent=agent)


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "iqrl-dmc-cpu": iqrl_dmc_cpu,
    "iqrl-dmc-cpu-medium": iqrl_dmc_cpu_medium,
    **{f"iqrl-dmc-{name}": partial(iqrl_dmc, name) for name in TASKS},
    "td3-dmc-matched-cpu": matched_cpu,
    **{f"td3-dmc-matched-{name}": partial(matched, name) for name in TASKS},
    **{f"iqrl-dmc-cpu-{name}": partial(ablation, name) for name in ABLATIONS},
}
