"""The manipulation scenes of OGBench (arXiv:2410.20092). Plain data: loads no simulator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        kind: its class within ``ogbench.manipspace.envs``, as module and name.
        variant: which of that class.
        steps: time limit of an episode, in control steps.
        default: number of the task that is meant where none is named, as in the benchmark.
    """

    kind: str
    variant: str
    steps: int
    default: int


_CUBE, _PUZZLE = "cube_env:CubeEnv", "puzzle_env:PuzzleEnv"
SCENES = {
    "cube-single": Scene(_CUBE, "single", 200, 2),
    "cube-double": Scene(_CUBE, "double", 500, 2),
    "cube-triple": Scene(_CUBE, "triple", 1000, 2),
    "cube-quadruple": Scene(_CUBE, "quadruple", 1000, 2),
    "cube-octuple": Scene(_CUBE, "octuple", 1500, 2),
    "scene": Scene("scene_env:SceneEnv", "scene", 750, 2),
    "puzzle-3x3": Scene(_PUZZLE, "3x3", 500, 4),
    "puzzle-4x4": Scene(_PUZZLE, "4x4", 500, 4),
    "puzzle-4x5": Scene(_PUZZLE, "4x5", 1000, 2),
    "puzzle-4x6": Scene(_PUZZLE, "4x6", 1000, 2),
}
TASKS_EACH = 5
"""Tasks of each scene, numbered from 1."""


def ogbench_tasks() -> tuple[str, ...]:
    """Names ``<scene>-task<number>`` of all tasks."""
    return tuple(f"{scene}-task{number}" for scene in SCENES for number in range(1, TASKS_EACH + 1))
