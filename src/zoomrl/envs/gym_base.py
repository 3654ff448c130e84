"""The face that environments show to Gymnasium, or a plain one where Gymnasium is not installed.

zoomrl itself needs Gymnasium. An interpreter that only runs an isolated simulator need not have it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.spec import ArraySpec, EnvSpec

Observation = dict[str, NDArray[Any]]

try:
    import gymnasium
    from gymnasium.error import ResetNeeded

    class GymBase(gymnasium.Env[Observation, NDArray[np.float32]]):
        """A Gymnasium environment."""

        def _show_spaces(self, spec: EnvSpec) -> None:
            """Describe actions and observations as Gymnasium does."""
            self.action_space = _box(spec.action)  # type: ignore[assignment]
            self.observation_space = gymnasium.spaces.Dict(
                {name: _box(array) for name, array in spec.observations.items()}
            )  # type: ignore[assignment]

    def _box(spec: ArraySpec) -> gymnasium.spaces.Box:
        dtype = np.dtype(spec.dtype)
        floating = np.issubdtype(dtype, np.floating)
        low = np.reshape(np.asarray(spec.low, dtype), spec.shape) if spec.low else -np.inf if floating else 0
        high = np.reshape(np.asarray(spec.high, dtype), spec.shape) if spec.high else np.inf if floating else 255
        return gymnasium.spaces.Box(low, high, shape=spec.shape, dtype=dtype.type)

except ImportError:

    class ResetNeeded(Exception):  # type: ignore[no-redef]  # noqa: N818  (Gymnasium's name)
        """A step was asked for while no episode was running."""

    class GymBase:  # type: ignore[no-redef]
        """What zoomrl uses of ``gymnasium.Env``: a random stream of its own, and nothing to free."""

        @cached_property
        def np_random(self) -> np.random.Generator:
            """Sampled from where :meth:`reset` was given no seed."""
            return np.random.default_rng()

        def _show_spaces(self, spec: EnvSpec) -> None:
            """There is nothing to describe them with."""

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
            """Begin the random stream anew from ``seed``, as Gymnasium does; None leaves it where it is."""
            if seed is not None:
                self.np_random = np.random.default_rng(seed)

        def close(self) -> None:
            """Nothing is held here."""
