"""Named starting points: ours for a CPU, and the published ones. Loads no torch."""

from __future__ import annotations

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes import baselines, bigym, gymnasium, hard, humanoid, imitation, latent, ogbench, published, small
from zoomrl.recipes.recipe import Recipe
from zoomrl.training.renamed import renamed_preset

PRESETS: dict[str, Recipe] = {
    **small.PRESETS,
    **imitation.PRESETS,
    **hard.PRESETS,
    **ogbench.PRESETS,
    **gymnasium.PRESETS,
    **published.PRESETS,
    **latent.PRESETS,
    **baselines.PRESETS,
    **bigym.PRESETS,
    **humanoid.PRESETS,
}
"""Every preset by its name; ``zoomrl presets`` lists them."""


def find(name: str) -> Recipe:
    """The recipe called ``name``; raises ConfigError with the nearest names when there is none."""
    if name in PRESETS:
        return PRESETS[name]
    if now := renamed_preset(name):
        raise ConfigError(f"the preset {name} is --preset {now[0]} --env {now[1]} now")
    raise ConfigError(f"{unknown_name('preset', name, PRESETS)} `zoomrl presets` lists them")
