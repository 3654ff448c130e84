"""The baselines of iQRL on DeepMind Control: actor-critics from state, and TACO.

Each number that is not a default of the algorithm is explained where it stands; docs/ has a page for each.
"""

from __future__ import annotations

from dataclasses import replace

from zoomrl.agents.sac.config import SACConfig
from zoomrl.agents.taco.config import TACOConfig
from zoomrl.agents.tcrl.config import TCRLConfig
from zoomrl.agents.td3.config import TD3Config
from zoomrl.agents.td7.config import TD7Config
from zoomrl.recipes.latent import state_dmc
from zoomrl.recipes.published import drqv2_dmc
from zoomrl.recipes.recipe import Recipe
from zoomrl.recipes.tasks import EASY_EPISODES, EPISODE, TCRL, WARM_UP, falling
from zoomrl.training.config import TrainConfig


def td3_dmc() -> TrainConfig:
    """TD3, DeepMind Control from state: its own networks and noise, 10 uniformly random episodes first."""
    base = state_dmc("td3-dmc", "walker-walk", "0.1")
    return replace(
        base,
        agent=TD3Config(),
        control=replace(base.control, uniform_steps=WARM_UP),
        eval=replace(base.eval, every=10 * EPISODE),
        steps=1_000_000,
    )


def td7_dmc() -> TrainConfig:
    """TD7, DeepMind Control from state: prioritised samples, policies judged by whole episodes."""
    base = td3_dmc()
    return replace(
        base,
        preset="td7-dmc",
        agent=TD7Config(),
        replay=replace(base.replay, sampling="priority", tail="shorten"),
        update_at="episode",
    )


def sac_dmc() -> TrainConfig:
    """SAC, DeepMind Control from state: it explores by its own policy, after 10 uniformly random episodes."""
    base = td3_dmc()
    return replace(base, preset="sac-dmc", agent=SACConfig(), control=replace(base.control, noise="0.0"))


def tcrl_dmc() -> TrainConfig:
    """TCRL, DeepMind Control from state: batches of 512, half an update per agent step; longer on harder tasks."""
    # As released, the noise falls from the first episode on: it counts the random ones.
    base = state_dmc("tcrl-dmc", "walker-walk", f"linear(1.0,0.1,{EASY_EPISODES * EPISODE})", n_step=3)
    return replace(
        base,
        agent=TCRLConfig(),
        replay=replace(base.replay, batch_size=512),
        control=replace(base.control, uniform_steps=WARM_UP),
        eval=replace(base.eval, every=25 * EPISODE),
        steps=500 * EPISODE,
        updates_per_step=0.5,
        update_at="episode",
    )


def taco_dmc() -> TrainConfig:
    """TACO, DeepMind Control from pixels: DrQ-v2's hyperparameters for medium tasks with batches of 1,024."""
    base = drqv2_dmc()
    return replace(
        base,
        preset="taco-dmc",
        env=replace(base.env, id="dmc:quadruped-walk", cameras=("2",)),
        agent=TACOConfig(),
        replay=replace(base.replay, batch_size=1024),
        control=replace(base.control, noise="linear(1.0,0.1,1000000)"),
        steps=3_100_000,
    )


def taco_dmc_state() -> TrainConfig:
    """TACO from state, DeepMind Control: our own port, since it is published for pixels only."""
    base = tcrl_dmc()
    return replace(
        base,
        preset="taco-dmc-state",
        agent=TACOConfig(hidden_dim=512, trunk_dim=0, lr=3e-4),
        control=replace(base.control, noise=falling(EASY_EPISODES)),
    )


PRESETS: dict[str, Recipe] = {
    "td3-dmc": Recipe(td3_dmc, "dmc"),
    "td7-dmc": Recipe(td7_dmc, "dmc"),
    "sac-dmc": Recipe(sac_dmc, "dmc"),
    "tcrl-dmc": Recipe(tcrl_dmc, "dmc", TCRL),
    "taco-dmc": Recipe(taco_dmc, "dmc"),
    "taco-dmc-state": Recipe(taco_dmc_state, "dmc"),
}
