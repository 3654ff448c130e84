"""Actions between the environment's units and [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.config import ControlConfig
from zoomrl.data.episode import Episode
from zoomrl.errors import ConfigError
from zoomrl.spec import ArraySpec

Array = NDArray[np.float32]


class ActionScaler:
    """Affine map of each action dimension; a dimension without range maps to 0 and back to its only value.

    Args:
        low, high: [A], what -1 and 1 stand for.
        bounds: the environment's action spec; actions going out are clipped to it.
    """

    def __init__(self, low: Array, high: Array, bounds: ArraySpec) -> None:
        self.low, self.high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        self._bounds = np.asarray(bounds.low, np.float32), np.asarray(bounds.high, np.float32)
        self._centre = (self.low + self.high) / 2
        self._half = (self.high - self.low) / 2

    def to_env(self, action: Array) -> Array:
        """[..., A] in [-1, 1] to the environment's units, clipped to its bounds."""
        return np.clip(self._centre + self._half * action, *self._bounds).astype(np.float32)

    def to_unit(self, action: Array) -> Array:
        """[..., A] in the environment's units to [-1, 1], clipped."""
        half = np.where(self._half > 0, self._half, 1)
        return np.clip((action - self._centre) / half, -1, 1).astype(np.float32)


def make_scaler(config: ControlConfig, action: ArraySpec, demos: Sequence[Episode]) -> ActionScaler:
    """Scaler over the environment's bounds or the demonstrations' range (CQN-AS, section 4: min and max per dimension).

    Only episodes flagged as demonstrations count: one failed attempt's outlier would coarsen the grid for good.
    """
    if config.action_range == "env":
        return ActionScaler(np.asarray(action.low, np.float32), np.asarray(action.high, np.float32), action)
    chosen = [e.actions for e in demos if e.is_demo]
    if not chosen:
        raise ConfigError(
            'control.action_range="demos" needs successful demonstrations, and there are none; '
            'collect some, or use "env"'
        )
    actions = np.concatenate(chosen)
    low, high = actions.min(0), actions.max(0)
    low, high = low - config.action_margin * np.abs(low), high + config.action_margin * np.abs(high)
    return ActionScaler(
        np.maximum(low, np.asarray(action.low, np.float32)),
        np.minimum(high, np.asarray(action.high, np.float32)),
        action,
    )
