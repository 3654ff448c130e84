"""Noise-free evaluation in environments of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.controller import Controller
from zoomrl.envs.vector_base import VectorEnv
from zoomrl.errors import WorkerError

_log = logging.getLogger("zoomrl.training")


@dataclass(frozen=True)
class Evaluation:
    """Per-episode results, in the order of the seeds."""

    returns: list[float]
    lengths: list[int]
    successes: list[bool]
    seeds: list[int]
    predicted: list[float] = field(default_factory=list)
    """Value that the agent predicted at the first decision; empty from agents that predict none."""
    realised: list[float] = field(default_factory=list)
    """Discounted return that followed, the counterpart of ``predicted``."""

    @property
    def success_rate(self) -> float:
        """Share of successful episodes."""
        return sum(self.successes) / len(self.successes)

    def _over_estimation(self) -> dict[str, float]:
        """Predicted value against realised return, at the first decision."""
        if not self.predicted:
            return {}
        difference = np.subtract(self.predicted, self.realised)
        return {
            "value_predicted": float(np.mean(self.predicted)),
            "value_realised": float(np.mean(self.realised)),
            "value_overestimation": float(difference.mean()),
            "value_overestimation_std": float(difference.std()),
        }

    def row(self) -> dict[str, Any]:
        """Summary and per-episode values, for the log."""
        low, high = wilson_interval(sum(self.successes), len(self.successes))
        return {
            "episodes": len(self.returns),
            "success_rate": self.success_rate,
            "success_low": low,
            "success_high": high,
            "return_mean": float(np.mean(self.returns)),
            "return_std": float(np.std(self.returns)),
            "length_mean": float(np.mean(self.lengths)),
            **self._over_estimation(),
            "returns": self.returns,
            "lengths": self.lengths,
            "successes": self.successes,
            "seeds": self.seeds,
        }


def evaluate(
    controller: Controller,
    envs: VectorEnv,
    seeds: Sequence[int],
    *,
    discount: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
    on_frame: Callable[[NDArray[np.uint8]], None] | None = None,
) -> Evaluation | None:
    """Run one episode per seed, several at a time.

    Args:
        controller: without exploration, for as many environments as ``envs`` has.
        envs: evaluation environments.
        seeds: reset seed of each episode.
        discount: per decision, of the realised return that the agent's predicted value is compared with.
        stop: asked at every step; True abandons the evaluation.
        on_frame: receives the pictures of the first seed's episode.

    Returns:
        The results, or None when abandoned.
    """
    count = envs.num_envs
    results: dict[int, tuple[float, int, bool, float, float]] = {}
    waiting = list(range(len(seeds)))[::-1]
    running = np.full(count, -1)
    total, length, success = np.zeros(count), np.zeros(count, int), np.zeros(count, bool)
    predicted, realised = np.full(count, np.nan), np.zeros(count)
    observation = {n: np.zeros((count, *s.shape), s.dtype) for n, s in envs.env_spec.observations.items()}

    def begin(index: int) -> None:
        first, _ = envs.reset(index, seeds[running[index]])
        for name, array in first.items():
            observation[name][index] = array
        total[index], length[index], success[index] = 0, 0, False
        predicted[index], realised[index] = np.nan, 0
        controller.reset(np.arange(count) == index)

    for index in range(count):
        if waiting:
            running[index] = waiting.pop()
            begin(index)
    while (running >= 0).any():
        if stop():
            return None
        if on_frame is not None and 0 in running:
            try:
                on_frame(envs.render(int(np.flatnonzero(running == 0)[0])))
            except WorkerError as error:
                _log.warning("the film ends here: %s", error)
                on_frame = None
        active = running >= 0
        actions = controller.act(observation)
        if controller.predicted is not None:
            predicted = np.where(length == 0, controller.predicted, predicted)
        result = envs.step(actions, active)
        observation = result.obs
        total += result.reward
        realised += discount**length * result.reward
        length += active
        success |= result.success
        for index in np.flatnonzero(active):
            if index in result.died:
                begin(index)
            elif result.terminated[index] or result.truncated[index]:
                results[running[index]] = (
                    float(total[index]),
                    int(length[index]),
                    bool(success[index]),
                    float(predicted[index]),
                    float(realised[index]),
                )
                running[index] = waiting.pop() if waiting else -1
                if running[index] >= 0:
                    begin(index)
    ordered = [results[k] for k in range(len(seeds))]
    returns, lengths, successes, values, discounted = (list(column) for column in zip(*ordered, strict=True))
    known = not np.isnan(values).any()
    return Evaluation(returns, lengths, successes, list(seeds), values if known else [], discounted if known else [])


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a success rate (Wilson 1927); honest also at 0 and 100 %."""
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
