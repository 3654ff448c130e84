"""Noise-free evaluation in environments of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoomrl.data.finite import simulator_fault
from zoomrl.envs.processes import DEATHS_IN_A_ROW
from zoomrl.envs.vector.base import VectorEnv
from zoomrl.errors import NonFiniteLossError
from zoomrl.training.intervals import mean_interval, wilson_interval
from zoomrl.training.value_quality import Tracked, Valued, value_quality
from zoomrl.training.video import VideoRecorder

_log = logging.getLogger("zoomrl.training")


class Acting(Protocol):
    """What runs episodes: it acts in N environments at once."""

    predicted: NDArray[np.float32] | None
    """Values [N] predicted at the last :meth:`act`, NaN in environments without a new chunk; None where none has one,
    or without values."""

    def reset(self, which: NDArray[np.bool_]) -> None:
        """Start new episodes in the environments ``which`` [N] bool."""
        ...

    def act(self, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """One agent step of every environment: actions [N, A], in the environment's units."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Per-episode results, in the order of the seeds.

    Attributes:
        returns: undiscounted sum of the rewards of each episode.
        lengths: agent steps of each episode.
        successes: whether each was solved at any step; empty where the environment reports no success.
        seeds: of the episodes that ended, which all lists but ``lost`` are about.
        valued: values predicted along each, from its first state on; empty from agents that predict none.
        lost: seeds of the episodes in which the simulator failed: counted, and in no mean.
    """

    returns: list[float]
    lengths: list[int]
    successes: list[bool]
    seeds: list[int]
    valued: list[Valued] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    @property
    def success_rate(self) -> float | None:
        """Fraction of the episodes that succeeded; None where the environment reports no success, or all were lost."""
        return sum(self.successes) / len(self.successes) if self.successes else None

    @property
    def return_mean(self) -> float:
        """Mean return; NaN where every episode was lost."""
        return float(np.mean(self.returns)) if self.returns else math.nan

    @property
    def score(self) -> tuple[float, float, float] | None:
        """What evaluations are ranked by; None where every episode was lost.

        Fewest lost episodes first, so that weights which drive the simulator to NaN are not the best for it; then
        success rate, then mean return.
        """
        return (float(-len(self.lost)), self.success_rate or 0.0, self.return_mean) if self.returns else None

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

    def _returns(self) -> dict[str, float]:
        """The mean return with its interval, which a single episode does not have."""
        mean, std = self.return_mean, float(np.std(self.returns))
        interval = mean_interval(mean, std, len(self.returns))
        return {
            "return_mean": mean,
            "return_std": std,
            **({} if interval is None else {"return_low": interval[0], "return_high": interval[1]}),
            "length_mean": float(np.mean(self.lengths)),
        }

    def _over_estimation(self) -> dict[str, float]:
        """Predicted value against realised return, at the first agent step, and what values are worth at all steps."""
        if not self.valued:
            return {}
        predicted = [one.predicted[0] for one in self.valued]
        realised = [one.realised[0] for one in self.valued]
        difference = np.subtract(predicted, realised)
        return {
            "value_predicted": float(np.mean(predicted)),
            "value_realised": float(np.mean(realised)),
            "value_overestimation": float(difference.mean()),
            "value_overestimation_std": float(difference.std()),
            **value_quality(self.valued, self.successes),
        }

    def row(self) -> dict[str, Any]:
        """Summary and per-episode values, as the row of ``metrics.jsonl`` has them.

        Intervals are at 95 %: Wilson's for success, Student's t for returns. There is no summary where every episode
        was lost, and no interval of returns around a single episode.
        """
        summary = {**self._success(), **self._returns(), **self._over_estimation()} if self.returns else {}
        return {
            "episodes": len(self.returns),
            "episodes_lost": len(self.lost),
            **summary,
            "returns": self.returns,
            "lengths": self.lengths,
            **({"successes": self.successes} if self.successes else {}),
            "seeds": self.seeds,
            "seeds_lost": self.lost,
        }


def evaluate(
    controller: Acting,
    envs: VectorEnv,
    seeds: Sequence[int],
    *,
    discount: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
    recorder: VideoRecorder | None = None,
) -> Evaluation | None:
    """Run one episode per seed, several at a time.

    An episode whose simulator shows NaN or infinity is lost: named, counted, and left out of everything else. One whose
    worker died is run again, and lost after :data:`DEATHS_IN_A_ROW` deaths: its seed may be what kills it.

    Args:
        controller: without exploration, for as many environments as ``envs`` has.
        envs: evaluation environments.
        seeds: reset seed of each episode.
        discount: per agent step, of the realised return that the agent's predicted value is compared with.
        stop: asked at every step; True abandons the evaluation.
        recorder: receives the frames of the first seed's episode.

    Returns:
        The results, or None when abandoned.

    Raises:
        NonFiniteLossError: the agent's action is NaN or infinite. It is the agent that diverged, not the simulator.
    """
    count = envs.num_envs
    results: dict[int, tuple[float, int, bool, Valued]] = {}
    lost: list[int] = []
    deaths = [0] * len(seeds)
    waiting = list(range(len(seeds)))[::-1]
    running = np.full(count, -1)
    total, length, success = np.zeros(count), np.zeros(count, int), np.zeros(count, bool)
    tracked = [Tracked() for _ in range(count)]
    observation = {n: np.zeros((count, *s.shape), s.dtype) for n, s in envs.env_spec.observations.items()}

    def seen(index: int, shown: Mapping[str, NDArray[Any]], reward: float = 0.0) -> bool:
        """Take what environment ``index`` shows; False where its episode is lost by that."""
        seed = seeds[running[index]]
        if fault := simulator_fault(shown, reward, step=int(length[index]), seed=seed):
            _log.warning("evaluation: environment %d %s; the episode is lost", index, fault)
            lost.append(int(running[index]))
            return False
        # The policy never sees what is not finite, not even in the row of an environment that has nothing left to do.
        for name, array in shown.items():
            observation[name][index] = array
        return True

    def begin(index: int) -> bool:
        total[index], length[index], success[index] = 0, 0, False
        tracked[index] = Tracked()
        controller.reset(np.arange(count) == index)
        if recorder is not None and running[index] == 0:
            recorder.begin()
        return seen(index, envs.reset(index, seeds[running[index]])[0])

    def begin_again(index: int) -> bool:
        """After the death of its worker; False where the episode is lost by it."""
        number = int(running[index])
        deaths[number] += 1
        if deaths[number] < DEATHS_IN_A_ROW:
            return begin(index)
        _log.warning(
            "evaluation: the worker of environment %d died %d times in the episode with seed %d; the episode is lost",
            *(index, DEATHS_IN_A_ROW, seeds[number]),
        )
        lost.append(number)
        return False

    def begin_next(index: int) -> None:
        running[index] = -1
        while waiting:
            running[index] = waiting.pop()
            if begin(index):
                return
            running[index] = -1

    for index in range(count):
        begin_next(index)
    while (running >= 0).any():
        if stop():
            return None
        if recorder is not None and 0 in running:
            recorder.take(partial(envs.render, int(np.flatnonzero(running == 0)[0])))
        active = running >= 0
        actions = controller.act(observation)
        diverged = np.flatnonzero(active & ~np.isfinite(actions).all(axis=1))
        if diverged.size:
            raise NonFiniteLossError(
                f"the agent's action became NaN or infinite in an evaluation, at step {length[diverged[0]] + 1} of the "
                f"episode with seed {seeds[running[diverged[0]]]}: the weights have diverged, or an observation is too "
                "large for them."
            )
        if controller.predicted is not None:
            for index in np.flatnonzero(active):
                tracked[index].predict(float(controller.predicted[index]))
        result = envs.step(actions, active)
        total += result.reward
        length += active
        success |= result.success
        for index in np.flatnonzero(active):
            tracked[index].reward(float(result.reward[index]))
            shown = {name: array[index] for name, array in result.obs.items()}
            alive = begin_again(index) if index in result.died else seen(index, shown, result.reward[index])
            if not alive:
                begin_next(index)
            elif result.terminated[index] or result.truncated[index]:
                results[running[index]] = (
                    float(total[index]),
                    int(length[index]),
                    bool(success[index]),
                    tracked[index].ended(discount),
                )
                begin_next(index)
    ended = sorted(results)
    columns = zip(*(results[k] for k in ended), strict=True) if ended else ([],) * 4
    returns, lengths, successes, valued = (list(column) for column in columns)
    known = all(one.predicted for one in valued)
    reported = successes if envs.env_spec.reports_success else []
    return Evaluation(
        returns,
        lengths,
        reported,
        [seeds[k] for k in ended],
        valued if known else [],
        [seeds[k] for k in sorted(lost)],
    )
