"""What play and images of OGBench take on one core: seconds and bytes of a trajectory, milliseconds of an image.

Three trajectories of each scene, as published, and thirty images of the size that videos have, by the renderer that a
machine without a screen has. Times and sizes are those of a whole set of 1,000 trajectories; nothing is packed.

Usage: python benchmarks/ogbench_cost.py [--no-write]
"""

from __future__ import annotations

import time
from statistics import median

from provenance import measure
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import make_env
from zoomrl.envs.suites.ogbench.play import Player

TRAJECTORIES = 1000
"""Of a set, as published."""
SCENES = ("cube-single", "cube-double", "scene", "puzzle-3x3", "puzzle-4x4")


def main() -> None:
    measure("ogbench_cost", __doc__, cost)


def cost() -> dict[str, dict[str, float]]:
    """Of each scene: minutes and megabytes of a whole set of play, and milliseconds of an image."""
    return {scene: {**_play(scene), "image_ms": round(_image(scene), 1)} for scene in SCENES}


def _play(scene: str) -> dict[str, float]:
    player, seconds, size = Player(scene), [], 0
    for number in range(3):
        began = time.perf_counter()
        trajectory = player.play(0, number)
        seconds.append(time.perf_counter() - began)
        size = sum(rows.nbytes for rows in trajectory.values())
    return {
        "play_minutes": round(TRAJECTORIES * sum(seconds) / len(seconds) / 60, 1),
        "play_megabytes": round(TRAJECTORIES * size / 1e6),
    }


def _image(scene: str) -> float:
    env = make_env(EnvConfig(id=f"ogbench:{scene}"))
    env.reset(seed=0)
    env.render()  # which makes the renderer
    found = []
    for _ in range(30):
        env.step(env.action_space.sample())
        began = time.perf_counter()
        env.render()
        found.append(1e3 * (time.perf_counter() - began))
    env.close()
    return median(found)


if __name__ == "__main__":
    main()
