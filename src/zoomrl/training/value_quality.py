"""How well predicted values tell good states from bad ones: from the episodes of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.episode import discounted_returns


@dataclass(frozen=True)
class Valued:
    """The states of one episode whose value the agent predicted: those at which it made a new chunk.

    Attributes:
        predicted: their values.
        realised: the discounted returns that followed from them.
    """

    predicted: list[float]
    realised: list[float]


class Tracked:
    """Rewards and predictions of an episode that is under way."""

    def __init__(self) -> None:
        self._rewards: list[float] = []
        self._steps: list[int] = []
        self._predicted: list[float] = []

    def predict(self, value: float) -> None:
        """Note a value, unless it is NaN, of the state before the next reward."""
        if not np.isnan(value):
            self._steps.append(len(self._rewards))
            self._predicted.append(value)

    def reward(self, reward: float) -> None:
        """Note a reward."""
        self._rewards.append(reward)

    def ended(self, discount: float) -> Valued:
        """What is known once the episode is over."""
        returns = np.append(discounted_returns(self._rewards, discount), 0.0)
        return Valued(self._predicted, returns[self._steps].tolist())


def value_quality(episodes: Sequence[Valued], successes: Sequence[bool]) -> dict[str, float]:
    """Numbers over the states of all ``episodes``; what cannot be told is left out.

    ``value_error`` is the mean of ``|predicted - realised|``. ``value_rank`` is Spearman's rank correlation of both.
    ``value_auc`` is the probability that a state of a successful episode has a higher value than one of a failed one,
    ties counting half; 0.5 is chance.

    Args:
        episodes: their values.
        successes: whether each succeeded; empty where the environment reports no success.
    """
    if not episodes or not sum(len(one.predicted) for one in episodes):
        return {}
    predicted = np.concatenate([one.predicted for one in episodes])
    realised = np.concatenate([one.realised for one in episodes])
    found = {"value_error": float(np.abs(predicted - realised).mean())}
    if np.ptp(predicted) > 0 and np.ptp(realised) > 0:
        found["value_rank"] = float(np.corrcoef(ranks(predicted), ranks(realised))[0, 1])
    good = np.repeat(np.asarray(successes, bool), [len(one.predicted) for one in episodes]) if successes else None
    if good is not None and good.any() and not good.all():
        # Mann and Whitney's U, divided by the number of pairs.
        count = int(good.sum())
        above = ranks(predicted)[good].sum() - count * (count + 1) / 2
        found["value_auc"] = float(above / (count * (len(good) - count)))
    return found


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of ``values`` [n] from 1; those of equal ones are their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return means
