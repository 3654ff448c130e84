"""OGBench's simulator, made to depend on the seed of a reset alone."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from zoomrl.envs.mujoco.backend import prefer_headless_gl
from zoomrl.envs.suites.ogbench.tasks import SCENES
from zoomrl.errors import import_optional


def build(scene: str, *, task: int | None = None, pixels: bool = False) -> Any:
    """The simulator of ``scene``.

    Args:
        scene: a name in :data:`SCENES`.
        task: number of the task, with its fixed goal; None is for play, where one target follows the other.
        pixels: let it look as in the benchmark's visual tasks: a translucent arm, and nothing that shows the goal.

    Raises:
        MissingDependencyError: OGBench is not installed.
    """
    prefer_headless_gl()
    import_optional("ogbench", "ogbench")
    module, _, name = SCENES[scene].kind.partition(":")
    upstream = getattr(importlib.import_module(f"ogbench.manipspace.envs.{module}"), name)
    options: dict[str, Any] = {"env_type": SCENES[scene].variant, "visualize_info": not pixels}
    if task is None:
        options |= {"mode": "data_collection", "terminate_at_goal": False}
    else:
        options["reward_task_id"] = task
        options |= {} if name == "PuzzleEnv" else {"permute_blocks": False}
    sim = _seeded(upstream)(**options)
    if pixels:
        # Only how the model is built depends on it; observing would render at every step.
        sim._ob_type = "pixels"
        sim._mjcf_model = sim.build_mjcf_model()
        sim._ob_type = "states"
    return sim


def _seeded(upstream: Any) -> Any:
    """The class whose resets depend on their seed alone.

    Upstream makes a few random steps at each reset, with actions of a new action space, which takes its seed from the
    operating system. What they leave behind (contact forces, the solver's last solution) is part of the first state.
    """

    class Seeded(upstream):
        _seed = 0
        _spaces = 0

        @property
        def action_space(self) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it casts its own bounds
                space = super().action_space
            space.seed(int(np.random.SeedSequence((self._seed, self._spaces)).generate_state(1)[0]))
            self._spaces += 1
            return space

        def reset(self, options: Any = None, *, seed: int) -> Any:
            self._seed, self._spaces = seed, 0
            return super().reset(options, seed=seed)

    return Seeded
