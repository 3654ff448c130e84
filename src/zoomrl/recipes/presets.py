"""Named starting points: ours for a CPU, and the published ones. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes import baselines, bigym, gymnasium, humanoid, imitation, latent, published, rlbench, small
from zoomrl.training.config import TrainConfig

PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "quickstart": small.quickstart,
    "cqn_as-metaworld": small.cqn_as_metaworld,
    "cqn-metaworld": small.cqn_metaworld,
    "drqv2_plus-metaworld": small.drqv2_plus_metaworld,
    "drqv2_as-metaworld": small.drqv2_as_metaworld,
    "cqn_as-metaworld-pixels": small.cqn_as_metaworld_pixels,
    "drqv2-dmc-cpu": small.drqv2_dmc_cpu,
    "drqv2-dmc": published.drqv2_dmc,
    "drqv2-dmc-walker": published.drqv2_dmc_walker,
    "drqv2-dmc-medium": published.drqv2_dmc_medium,
    "drqv2-dmc-hard": published.drqv2_dmc_hard,
    "cqn-dmc": published.cqn_dmc,
    "cqn-dmc-walker": published.cqn_dmc_walker,
    "cqn-dmc-medium": published.cqn_dmc_medium,
    "cqn-dmc-hard": published.cqn_dmc_hard,
    "cqn-dmc-pixels": published.cqn_dmc_pixels,
    "cqn-dmc-pixels-walker": published.cqn_dmc_pixels_walker,
    "cqn-dmc-pixels-medium": published.cqn_dmc_pixels_medium,
    "cqn-dmc-pixels-hard": published.cqn_dmc_pixels_hard,
    **gymnasium.PRESETS,
    **imitation.PRESETS,
    **latent.PRESETS,
    **baselines.PRESETS,
    "cqn-bigym": published.cqn_bigym,
    "cqn_as-bigym": published.cqn_as_bigym,
    "cqn-rlbench": published.cqn_rlbench,
    "cqn_as-rlbench": published.cqn_as_rlbench,
    "drqv2_plus-bigym": published.drqv2_plus_bigym,
    "drqv2_plus-rlbench": published.drqv2_plus_rlbench,
    "drqv2_as-bigym": published.drqv2_as_bigym,
    "drqv2_as-rlbench": published.drqv2_as_rlbench,
    "cqn-humanoid": published.cqn_humanoid,
    "cqn_as-humanoid": published.cqn_as_humanoid,
    **bigym.PRESETS,
    **rlbench.PRESETS,
    **humanoid.PRESETS,
}


def find(name: str) -> TrainConfig:
    """The recipe called ``name``; raises ConfigError with the nearest names when there is none."""
    if name not in PRESETS:
        raise ConfigError(f"{unknown_name('preset', name, PRESETS)} `zoomrl presets` lists them")
    return PRESETS[name]()
