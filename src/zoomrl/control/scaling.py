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
        low, high: [A], what -1 and 1 stand for; they may lie beyond the bounds.
        bounds: the environment's action spec; actions going out are clipped to it.
    """

    def __init__(self, low: Array, high: Array, bounds: ArraySpec) -> None:
        self.low, self.high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        self._bounds = np.asarray(bounds.low, np.float32), np.asarray(bounds.high, np.float32)
        self._centre = (self.low + self.high) / 2
        self._half = (self.high - self.low) / 2

    @property
    def movable(self) -> NDArray[np.bool_]:
        """[A], dimensions with a range: an agent has nothing to choose in the others."""
        return self._half > 0

    def to_env(self, action: Array) -> Array:
        """[..., A] in [-1, 1] to the environment's units, clipped to its bounds."""
        return np.clip(self._centre + self._half * action, *self._bounds).astype(np.float32)

    def to_unit(self, action: Array) -> Array:
        """[..., A] in the environment's units to [-1, 1], clipped."""
        half = np.where(self.movable, self._half, 1)
        return np.where(self.movable, np.clip((action - self._centre) / half, -1, 1), 0).astype(np.float32)


def make_scaler(
    config: ControlConfig, action: ArraySpec, demos: Sequence[Episode], meaning: Sequence[str] = ()
) -> ActionScaler:
    """Scaler over the environment's bounds or the demonstrations' range (CQN-AS, section 4: min and max per dimension).

    Only episodes flagged as demonstrations count: one failed attempt's outlier would coarsen the grid for good. A
    gripper keeps the environment's bounds, widened by the margin and not clipped (published: 0 to 1, and 0 to 1.2 with
    a margin of 0.2): one that is always open in the demonstrations could otherwise never close.

    Args:
        config: the range asked for, and the margin.
        action: the environment's actions.
        demos: episodes to take the range from.
        meaning: of each action dimension; empty when unknown.

    Raises:
        ConfigError: there are no demonstrations to take a range from, or they leave nothing to choose.
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
    least, most = np.asarray(action.low, np.float32), np.asarray(action.high, np.float32)
    grippers = np.array([name == "gripper" for name in meaning] or [False] * len(low))
    low, high = np.where(grippers, least, low), np.where(grippers, most, high)
    low, high = low - config.action_margin * np.abs(low), high + config.action_margin * np.abs(high)
    scaler = ActionScaler(
        np.where(grippers, low, np.maximum(low, least)), np.where(grippers, high, np.minimum(high, most)), action
    )
    if not scaler.movable.any():
        raise ConfigError(
            'control.action_range="demos" takes the range of the demonstrated actions, and all of them are equal: '
            'there would be nothing to choose. Look at the set with `zoomrl demos check`, or use "env"'
        )
    return scaler
