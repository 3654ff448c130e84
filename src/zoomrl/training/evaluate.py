"""Noise-free evaluation in environments of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.control.controller import Controller
from zoomrl.envs.vector_base import VectorEnv
from zoomrl.errors import WorkerError
from zoomrl.training.intervals import mean_interval, wilson_interval

_log = logging.getLogger("zoomrl.training")


@dataclass(frozen=True)
class Evaluation:
    """Per-episode results, in the order of the seeds."""

    returns: list[float]
    lengths: list[int]
    successes: list[bool]
    """Empty where the environment reports no success."""
    seeds: list[int]
    predicted: list[float] = field(default_factory=list)
    """Value that the agent predicted at the first decision; empty from agents that predict none."""
    realised: list[float] = field(default_factory=list)
    """Discounted return that followed, the counterpart of ``predicted``."""

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes; None where the environment reports no success."""
        return sum(self.successes) / len(self.successes) if self.successes else None

    def _success(self) -> dict[str, float]:
        """The success rate with its interval."""
        if self.success_rate is None:
            return {}
        low, high = wilson_interval(sum(self.successes), len(self.successes))
        return {
            "success_rate": self.success_rate,
            "success_low": low,
            "success_high": high,
        }

    def _return(self) -> dict[str, float]:
        """The mean return with its interval, which a single episode does not have."""
        mean, std = float(np.mean(self.returns)), float(np.std(self.returns))
        interval = mean_interval(mean, std, len(self.returns))
        row = {
            "return_mean": mean,
            "return_std": std,
        }
        return row if interval is None else {**row, "return_low": interval[0], "return_high": interval[1]}

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
        return {
            "episodes": len(self.returns),
            **self._success(),
            **self._return(),
            "length_mean": float(np.mean(self.lengths)),
            **self._over_estimation(),
            "returns": self.returns,
            "lengths": self.lengths,
            **({"successes": self.successes} if self.successes else {}),
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
    reported = successes if envs.env_spec.reports_success else []
    return Evaluation(returns, lengths, reported, list(seeds), values if known else [], discounted if known else [])
