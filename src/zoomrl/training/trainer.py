"""The one loop: every agent, every environment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from zoomrl.agents.contract import Agent, Metrics
from zoomrl.data.replay import ReplayBuffer
from zoomrl.errors import CheckpointError, NonFiniteLossError
from zoomrl.training.callbacks import Callbacks
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.collect.contract import Collector, Ended
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluator import Evaluator
from zoomrl.training.means import Means
from zoomrl.training.update_schedule import UpdateSchedule
from zoomrl.training.updater import Updater

_OF_LATER_VERSIONS = {"best_at", "callbacks", "end_reason", "step_over"}
"""Entries of a state that earlier versions did not save."""


class Trainer:
    """Collects episodes, updates the agent, evaluates and saves, and tells the callbacks of all of it.

    Everything that the future depends on is in :meth:`state_dict`, so that a checkpoint may be taken between any two
    steps and updates. It is the :class:`~zoomrl.training.callbacks.Run` that callbacks are given.

    Args:
        config: the run.
        collector: acts, and fills the replay.
        updater: learns from it.
        evaluator: evaluates during training.
        checkpoints: of the run's directory.
        callbacks: what sees the run: rows, progress and what the user adds.
        stop: True asks for a checkpoint and an early return.
        say: prints a line for the user.
    """

    def __init__(
        self,
        config: TrainConfig,
        collector: Collector,
        updater: Updater,
        evaluator: Evaluator,
        checkpoints: Checkpoints,
        callbacks: Callbacks,
        stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.config = config
        self.env_steps = 0
        self.agent_steps = 0
        self.updates = 0
        self._collector = collector
        self._updater = updater
        self._evaluator = evaluator
        self._checkpoints = checkpoints
        self._callbacks = callbacks
        self._stop = stop
        self._say = say
        self._schedule = UpdateSchedule(config.updates_per_step, config.update_at)
        self._means = Means()
        self._next_eval = 0
        self._next_offline_eval = config.offline_eval_every
        self._next_log = config.log.every
        self._next_checkpoint = config.checkpoint.every
        self._step_over = True
        self._best: tuple[float, ...] | None = None
        self._best_at: tuple[int, int] | None = None
        self.end_reason = ""
        self._saved_at: tuple[int, int] | None = None
        self._seconds_before = 0.0
        self._started = time.perf_counter()

    # ---- what callbacks see ------------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """Where the run writes."""
        return self._checkpoints.directory

    @property
    def agent(self) -> Agent:
        """What learns."""
        return self._updater.agent

    @property
    def replay(self) -> ReplayBuffer:
        """What it learns from."""
        return self._updater.replay

    @property
    def counters(self) -> dict[str, int]:
        """The three counters that every row carries."""
        return {"env_steps": self.env_steps, "agent_steps": self.agent_steps, "updates": self.updates}

    @property
    def seconds(self) -> float:
        """Wall time spent on this run so far, earlier calls included."""
        return self._seconds_before + time.perf_counter() - self._started

    def log(self, metrics: Mapping[str, float]) -> None:
        """Report numbers of a callback."""
        self._means.add({f"callback/{name}": torch.tensor(float(value)) for name, value in metrics.items()})

    def end(self, reason: str) -> None:
        """End the run early."""
        if not self.end_reason:
            self.end_reason = reason
            self._say(f"ended early at step {self.env_steps:,}: {reason}")

    # ---- the loop ----------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train until the configured step.

        Returns:
            Whether the end was reached; False when ``stop`` asked to leave (a checkpoint has been written).

        Raises:
            NonFiniteLossError: a loss, a weight or an action became NaN or infinite.
            CheckpointError: something could not be written.
        """
        try:
            return self._run()
        except NonFiniteLossError as error:
            last = self._checkpoints.newest()
            raise NonFiniteLossError(
                f"{error} This happened at environment step {self.env_steps}, update {self.updates}. "
                + (f"The last good checkpoint is {last}. " if last else "No checkpoint was due yet. ")
                + "Lower agent.lr, or look at the data for extreme values."
            ) from error

    def _run(self) -> bool:
        self._callbacks.call("on_start", self)
        if self._saved_at is None:
            # From now on a directory with rows has a checkpoint: one without has lost it, and is not begun again.
            self.save()
        finished = self._learn_offline() and (bool(self.end_reason) or self._learn_online())
        if not finished or self._saved_at != (self.env_steps, self.updates):
            self.save()
        self._callbacks.call("on_end", self, finished)
        return finished

    def _learn_offline(self) -> bool:
        total = self.config.offline_updates
        while True:
            if self._offline_eval_due() and not self._evaluate():
                return False
            if self.updates >= total or self.end_reason:
                return True
            if self._stop():
                return False
            self._update()
            if self.updates % self.config.log.every == 0 or self.updates == total or self._offline_eval_due():
                self._report()
            if self.updates == total or self.updates % self.config.checkpoint.every == 0:
                self.save()

    def _offline_eval_due(self) -> bool:
        every, total = self.config.offline_eval_every, self.config.offline_updates
        return bool(every) and self._next_offline_eval <= min(self.updates, total)

    def _learn_online(self) -> bool:
        config = self.config
        while True:
            if self._stop() or not self._end_step():
                return False
            if config.eval.every and self.env_steps >= self._next_eval and not self._evaluate():
                return False
            if self.env_steps >= self._next_checkpoint:
                self._next_checkpoint = self.env_steps + config.checkpoint.every
                self.save()
            if self.env_steps >= config.steps or self.end_reason:
                return True
            self._step()

    def _step(self) -> None:
        """One agent step in every environment, with the updates that belong to it."""
        action = self._collector.act(self.env_steps)
        if action is None:
            return  # asked to stop, which the loop looks at next
        count = self._collector.num_envs
        # The action is chosen before the update of its step, as published.
        if self.env_steps >= self.config.seed_steps and self.replay.can_sample():
            self._schedule.steps(count)
            while self._schedule.at == "step" and self._schedule.due:
                self._schedule.take()
                self._update()
        ended = self._collector.step(action)
        self.agent_steps += count
        self.env_steps += count * self.config.env.action_repeat
        self._step_over = False
        for one in ended:
            self._end_episode(one)

    def _end_episode(self, ended: Ended) -> None:
        # Whatever ends now has taken as many steps in every environment.
        began = self.env_steps - len(ended.episode) * self._collector.num_envs * self.config.env.action_repeat
        warm_up = began < max(self.config.control.uniform_steps, self.config.seed_steps)
        if warm_up or self.agent.episode_ended(ended.episode_return):
            self._schedule.episode_ended()
        self._callbacks.call(
            "on_episode", self, ended.episode, {**self.counters, **ended.row, "terminated": ended.episode.terminated}
        )

    def _end_step(self) -> bool:
        """Make the updates that the end of an episode called for; False when asked to stop between them."""
        while self._schedule.due:
            if self._stop():
                return False
            self._schedule.take()
            self._update()
        if not self._step_over:
            self._step_over = True
            self._callbacks.call("on_step", self)
            if self.env_steps >= self._next_log:
                self._next_log += self.config.log.every
                self._report()
        return True

    def _update(self) -> Metrics:
        metrics = self._updater.update(self.env_steps, self.updates)
        self.updates += 1
        self._means.add(metrics)
        self._callbacks.call("on_update", self, metrics)
        return metrics

    def _evaluate(self) -> bool:
        """Evaluate, and keep what is best; False when abandoned."""
        evaluation = self._evaluator.evaluate(self.env_steps)
        if evaluation is None:
            return False
        offline = self._offline_eval_due()
        if offline:
            self._next_offline_eval += self.config.offline_eval_every
        # One after the last offline update is that of the first step as well.
        if not offline or self.updates >= self.config.offline_updates:
            self._next_eval = _following(self.env_steps, self.config.eval.every)
        row = {**self.counters, **evaluation.row(), **self._evaluator.measure(), "seconds": self.seconds}
        score = evaluation.score
        if score is None and evaluation.lost:
            self._say(f"the evaluation at step {self.env_steps} has no result: the simulator failed in every episode")
        elif score is not None and self.config.eval.keep_best and (self._best is None or score >= self._best):
            # Among equals the later one: it has learnt for longer.
            self._best, self._best_at = score, (self.env_steps, self.updates)
            self._checkpoints.save_best({"agent": self.agent.state_dict(), **self.counters})
        self._callbacks.call("on_evaluation", self, evaluation, row)
        return True

    def _report(self) -> None:
        """Tell the means of the metrics since the last row."""
        means, counts = self._means.take()
        if not math.isfinite(means.get("loss", 0.0)):
            raise NonFiniteLossError(f"the loss became {means['loss']} within the last {counts['loss']} updates.")
        seconds = max(self.seconds, 1e-9)
        row = {
            **self.counters,
            **means,
            "episodes_lost": self._collector.episodes_lost,
            "seconds": seconds,
            "updates_per_s": self.updates / seconds,
            "env_steps_per_s": self.env_steps / seconds,
        }
        self._callbacks.call("on_metrics", self, row)

    # ---- what is kept ------------------------------------------------------------------------------------

    def save(self) -> Path:
        """Write a checkpoint of this very moment.

        Raises:
            NonFiniteLossError: the weights hold NaN or infinity; the checkpoints stay as they are.
            CheckpointError: it could not be written.
        """
        state = self.state_dict()
        if not _all_finite(state["agent"]):
            raise NonFiniteLossError("the agent's weights hold NaN or infinity; they are not saved.")
        path = self._checkpoints.save(self.env_steps, state, self.replay)
        self._saved_at = (self.env_steps, self.updates)
        self._callbacks.call("on_checkpoint", self, path)
        return path

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future of the run depends on, except the online episodes."""
        return {
            **self.counters,
            **self._schedule.state_dict(),
            **self._collector.state_dict(),
            **self._means.state_dict(),
            **self._callbacks.state_dict(),
            "agent": self.agent.state_dict(),
            "sampler": self.replay.sampler.state_dict(),
            "next_eval": self._next_eval,
            "next_offline_eval": self._next_offline_eval,
            "next_log": self._next_log,
            "next_checkpoint": self._next_checkpoint,
            "step_over": self._step_over,
            "best": None if self._best is None else list(self._best),
            "best_at": None if self._best_at is None else list(self._best_at),
            "end_reason": self.end_reason,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict` and play the episodes in flight again.

        Raises:
            CheckpointError: the state was saved by a version that kept other counters.
        """
        if not self.state_dict().keys() - _OF_LATER_VERSIONS <= state.keys():
            raise CheckpointError(
                "the checkpoint was saved by an earlier version of zoomrl, which can still resume it. Start a new run "
                "with this one."
            )
        # Before the sampler: priorities are also those of a person's corrections.
        self._collector.load_state_dict(state)
        self.agent.load_state_dict(state["agent"])
        self.replay.sampler.load_state_dict(state["sampler"])
        self._schedule.load_state_dict(state)
        self._means.load_state_dict(state)
        self._callbacks.load_state_dict(state)
        self.env_steps = state["env_steps"]
        self.agent_steps = state["agent_steps"]
        self.updates = state["updates"]
        # A resumed run may ask for other intervals.
        self._next_eval = min(state["next_eval"], _following(self.env_steps, self.config.eval.every))
        self._next_offline_eval = state["next_offline_eval"]
        every, offline = self.config.offline_eval_every, self.updates < self.config.offline_updates
        if every and offline and self._next_offline_eval < self.updates:  # a fork of a run without such evaluations
            self._next_offline_eval = _following(self.updates, every)
        self._next_log = min(state["next_log"], _following(self.env_steps, self.config.log.every))
        self._next_checkpoint = min(state["next_checkpoint"], self.env_steps + self.config.checkpoint.every)
        self._step_over = state.get("step_over", True)
        best, best_at = state["best"], state.get("best_at")
        # Earlier versions did not rank by lost episodes, nor did they keep where the best evaluation was.
        self._best = None if best is None else tuple(best if len(best) == 3 else [0.0, *best])
        self._best_at = None if best_at is None else tuple(best_at)
        self.end_reason = state.get("end_reason", "")
        self._seconds_before = state["seconds"]
        self._saved_at = (self.env_steps, self.updates)


def _following(step: int, every: int) -> int:
    """The multiple of ``every`` after ``step``; ``step`` itself when there is no interval."""
    return (step // every + 1) * every if every else step


def _all_finite(state: Any) -> bool:
    """Whether every floating-point tensor in a nested state is finite."""
    if isinstance(state, torch.Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, Mapping):
        return all(_all_finite(value) for value in state.values())
    return True
