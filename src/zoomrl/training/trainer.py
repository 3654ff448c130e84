"""The one loop: every agent, every environment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoomrl.agents.contract import Agent, Metrics
from zoomrl.control.controller import Controller
from zoomrl.data.episode import EpisodeBuilder
from zoomrl.data.finite import simulator_fault
from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.vector.base import StepResult, VectorEnv
from zoomrl.errors import CheckpointError, NonFiniteLossError, SimulatorError, plural
from zoomrl.files import write_atomically
from zoomrl.intervention.corrector import Corrector
from zoomrl.math.schedules import schedule
from zoomrl.training.callbacks import Callbacks, Run
from zoomrl.training.checkpoint import Checkpoints
from zoomrl.training.config import TrainConfig
from zoomrl.training.evaluate import Evaluation
from zoomrl.training.logger import Logger
from zoomrl.training.progress import ProgressLine
from zoomrl.training.seeds import derive
from zoomrl.training.value_range import ValueRange

VALIDATION_BATCHES = 10
"""Batches that a validation loss is the mean of."""
LOST_RESETS = 20
"""Episodes in a row that one environment may lose at their resets; what shows NaN that often never shows anything."""
Evaluator = Callable[[int], Evaluation | None]


class Trainer:
    """Steps environments, stores episodes, updates the agent, evaluates, saves.

    Everything that the future depends on is in :meth:`state_dict`, so that a checkpoint may be taken between any two
    steps.
    The episode in flight is kept as its reset seed and its actions: on resuming it is replayed, and dropped (by name)
    should the environment answer differently.

    Args:
        config: the run.
        directory: of the run.
        agent, replay, controller, envs: the parts, already built; the controller explores.
        evaluator: runs the evaluation at the given environment step, or returns None when abandoned.
        validation: demonstrations that are not learnt from, or None.
        corrector: a person who may take over, or None.
        callbacks: what else sees the run.
        checkpoints, logger, progress: where results go.
        stop: True asks for a checkpoint and an early return.
        say: prints a line for the user.
    """

    def __init__(
        self,
        config: TrainConfig,
        directory: Path,
        *,
        agent: Agent,
        replay: ReplayBuffer,
        controller: Controller,
        envs: VectorEnv,
        evaluator: Evaluator,
        validation: ReplayBuffer | None,
        corrector: Corrector | None,
        callbacks: Callbacks,
        checkpoints: Checkpoints,
        logger: Logger,
        progress: ProgressLine,
        stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self.config = config
        self.agent = agent
        self.replay = replay
        self.directory = directory
        self._callbacks = callbacks
        self._end_reason = ""
        self._controller = controller
        self._envs = envs
        self._evaluator = evaluator
        self._validation = validation
        self._corrector = corrector
        self._checkpoints = checkpoints
        self._logger = logger
        self._progress = progress
        self._stop = stop
        self._say = say
        self.env_steps = 0
        self.agent_steps = 0
        self.updates = 0
        self._credit = 0.0
        self._next_eval = 0
        self._next_offline_eval = config.offline_eval_every
        self._best: tuple[float, ...] | None = None
        self._best_at: tuple[int, int] | None = None
        self._next_log = config.log.every
        self._next_checkpoint = config.checkpoint.every
        self._episodes_begun = [0] * envs.num_envs
        self._episodes_lost = 0
        self._builders: list[EpisodeBuilder | None] = [None] * envs.num_envs
        self._due = 0.0
        self._sums: dict[str, torch.Tensor] = {}
        self._summed: dict[str, int] = {}
        self._recent: list[float] = []
        self._last_eval: Evaluation | None = None
        self._value_range = ValueRange(config, say)
        self._saved_at: tuple[int, int] | None = None
        self._seconds_before = 0.0
        self._started = time.perf_counter()

    def run(self) -> bool:
        """Train until the configured step.

        Returns:
            Whether the end was reached; False when ``stop`` asked to leave (a checkpoint has been written).

        Raises:
            NonFiniteLossError: a loss became NaN or infinite.
        """
        run: Run = self
        self._callbacks.call("on_start", run)
        if self._saved_at is None:
            # From now on a directory with rows has a checkpoint: one without has lost it, and is not begun again.
            self.save()
        finished = self._learn_offline() and (bool(self._end_reason) or self._learn_online())
        if not finished or self._saved_at != (self.env_steps, self.updates):
            self.save()
        self._callbacks.call("on_end", run, finished)
        return finished

    def log(self, metrics: Mapping[str, float]) -> None:
        """Report numbers of a callback (see :class:`Run`)."""
        self._add({f"callback/{name}": torch.tensor(float(value)) for name, value in metrics.items()})

    def end(self, reason: str) -> None:
        """End the run early (see :class:`Run`)."""
        if not self._end_reason:
            self._end_reason = reason
            self._say(f"ended early at step {self.env_steps:,}: {reason}")

    def save(self) -> Path:
        """Write a checkpoint of this very moment.

        Raises:
            NonFiniteLossError: the weights hold NaN or infinity; the checkpoints stay as they are.
            CheckpointError: it could not be written.
        """
        state = self.state_dict()
        if not _all_finite(state["agent"]):
            raise NonFiniteLossError(
                f"the agent's weights hold NaN or infinity at update {self.updates}; they are not saved. "
                f"{self._last_good()}"
            )
        state |= self._logger.sync()
        path = self._checkpoints.save(self.env_steps, state, self.replay)
        self._saved_at = (self.env_steps, self.updates)
        self._callbacks.call("on_checkpoint", self, path)
        return path

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future of the run depends on, except the online episodes and the log."""
        return {
            "agent": self.agent.state_dict(),
            "controller": self._controller.state_dict(),
            "sampler": self.replay.sampler.state_dict(),
            "env_steps": self.env_steps,
            "agent_steps": self.agent_steps,
            "updates": self.updates,
            "credit": self._credit,
            "due": self._due,
            "next_eval": self._next_eval,
            "next_offline_eval": self._next_offline_eval,
            "best": None if self._best is None else list(self._best),
            "best_at": None if self._best_at is None else list(self._best_at),
            "next_log": self._next_log,
            "next_checkpoint": self._next_checkpoint,
            "episodes_begun": list(self._episodes_begun),
            "episodes_lost": self._episodes_lost,
            "in_flight": [
                None
                if b is None
                else {
                    "seed": b.seed,
                    "actions": [torch.from_numpy(a) for a in b.actions],
                    "shown": {name: torch.from_numpy(a) for name, a in b.last_observation.items()},
                }
                for b in self._builders
            ],
            "corrections": None if self._corrector is None else self._corrector.state_dict(),
            "seconds": self.seconds,
            "sums": dict(self._sums),
            "summed": dict(self._summed),
            "callbacks": self._callbacks.state_dict(),
            "end_reason": self._end_reason,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict` and play the episodes in flight again.

        Raises:
            CheckpointError: the state was saved by a version that kept other counters.
        """
        if not self.state_dict().keys() - {"best_at", "callbacks", "end_reason"} <= state.keys():
            raise CheckpointError(
                "the checkpoint was saved by an earlier version of zoomrl, which can still resume it. Start a new run "
                "with this one."
            )
        if self._corrector is not None:
            # Before the sampler: priorities are those of episodes that are there.
            self._corrector.load_state_dict(state["corrections"])
        self.agent.load_state_dict(state["agent"])
        self._controller.load_state_dict(state["controller"])
        self.replay.sampler.load_state_dict(state["sampler"])
        self.env_steps = state["env_steps"]
        self.agent_steps = state["agent_steps"]
        self.updates = state["updates"]
        self._credit = state["credit"]
        self._due = state["due"]
        # A resumed run may ask for other intervals.
        self._next_eval = min(state["next_eval"], _following(self.env_steps, self.config.eval.every))
        self._next_offline_eval = state["next_offline_eval"]
        best = state["best"]
        # Earlier versions did not rank by lost episodes, nor did they keep where the best evaluation was.
        self._best = None if best is None else tuple(best if len(best) == 3 else [0.0, *best])
        self._best_at = None if state.get("best_at") is None else tuple(state["best_at"])
        self._next_log = min(state["next_log"], _following(self.env_steps, self.config.log.every))
        self._next_checkpoint = min(state["next_checkpoint"], self.env_steps + self.config.checkpoint.every)
        self._episodes_begun = list(state["episodes_begun"])
        self._episodes_lost = state["episodes_lost"]
        self._sums = dict(state["sums"])
        self._summed = dict(state["summed"])
        self._seconds_before = state["seconds"]
        self._callbacks.load_state_dict(state.get("callbacks", {}))
        self._end_reason = state.get("end_reason", "")
        self._saved_at = (self.env_steps, self.updates)
        for index, saved in enumerate(state["in_flight"]):
            if saved is not None:
                actions = [a.numpy() for a in saved["actions"]]
                shown = {name: a.numpy() for name, a in saved["shown"].items()}
                self._replay_in_flight(index, saved["seed"], actions, shown)

    def _learn_offline(self) -> bool:
        total = self.config.offline_updates
        if self.updates < total:
            self._progress.phase("offline", total, self.updates)
        while True:
            if self._offline_eval_due() and not self._evaluate():
                return False
            if self.updates >= total or self._end_reason:
                return True
            if self._stop():
                return False
            metrics = self._update()
            if self.updates % 100 == 0 or self.updates == total:
                self._progress.advance(self.updates, f"loss {metrics['loss']:.3f}  {self._speed():.0f} updates/s")
            if self.updates == total or self._offline_eval_due():
                self._log_metrics()
            if self.updates == total or self.updates % self.config.checkpoint.every == 0:
                self.save()

    def _offline_eval_due(self) -> bool:
        every, total = self.config.offline_eval_every, self.config.offline_updates
        return bool(every) and self._next_offline_eval <= min(self.updates, total)

    def _learn_online(self) -> bool:
        config = self.config
        self._progress.phase("train", config.steps, self.env_steps)
        while True:
            if self._stop() or not self._make_due_updates():
                return False
            if config.eval.every and self.env_steps >= self._next_eval and not self._evaluate():
                return False
            if self.env_steps >= self._next_checkpoint:
                self._next_checkpoint = self.env_steps + config.checkpoint.every
                self.save()
            if self.env_steps >= config.steps or self._end_reason:
                return True
            self._step()
            if not self._make_due_updates():
                return False
            if self.env_steps >= self._next_log:
                self._next_log += config.log.every
                self._log_metrics()

    def _make_due_updates(self) -> bool:
        """Those that an episode's end has called for; False when asked to stop between them."""
        while self._due >= 1:
            if self._stop():
                return False
            self._due -= 1
            self._update()
            self._progress.advance(self.env_steps, self._status())
        return True

    def _step(self) -> None:
        """One agent step in every environment, with the updates that belong to it."""
        for index, builder in enumerate(self._builders):
            if builder is None:
                self._begin_episode(index)
        builders = [b for b in self._builders if b is not None]
        observation = {
            name: np.stack([b.last_observation[name] for b in builders]) for name in builders[0].last_observation
        }
        action = self._controller.act(observation, self.env_steps)
        if not np.isfinite(action).all():
            raise NonFiniteLossError(
                f"the agent's action became NaN or infinite at environment step {self.env_steps} "
                f"(update {self.updates}). {self._last_good()}"
            )
        if self._corrector is not None:
            action = self._correct(self._corrector, action)
        # The action is chosen before the update of its step, as published.
        if self.env_steps >= self.config.seed_steps and self.replay.can_sample():
            self._credit += self.config.updates_per_step * self._envs.num_envs
            if self.config.update_at == "step":
                self._due, self._credit = self._credit // 1, self._credit % 1
                while self._due >= 1:
                    self._due -= 1
                    self._update()
        result = self._envs.step(action)
        self.agent_steps += self._envs.num_envs
        self.env_steps += self._envs.num_envs * self.config.env.action_repeat
        for index, builder in enumerate(builders):
            self._record(index, builder, action[index], result)
        self._callbacks.call("on_step", self)
        self._progress.advance(self.env_steps, self._status())

    def _correct(self, corrector: Corrector, proposed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions [N, A], one of them a person's perhaps; the action chunk that it interrupts is dropped."""
        builder = self._builders[corrector.env]
        assert builder is not None
        action, taken = corrector.act(self._episodes_begun[corrector.env] - 1, len(builder), proposed)
        if taken:
            self._controller.replan(np.arange(self._envs.num_envs) == corrector.env)
        return action

    def _record(self, index: int, builder: EpisodeBuilder, action: NDArray[np.float32], result: StepResult) -> None:
        if index in result.died:
            self._lose(index, f"died and was restarted; its episode of {len(builder)} steps is dropped")
            return
        observation = {name: array[index] for name, array in result.obs.items()}
        fault = simulator_fault(observation, result.reward[index], step=len(builder) + 1, seed=builder.seed)
        if fault:
            self._lose(index, f"{fault}; the episode is dropped")
            return
        builder.add(action, float(result.reward[index]), observation, bool(result.success[index]))
        terminated, truncated = bool(result.terminated[index]), bool(result.truncated[index])
        if terminated or truncated:
            episode = builder.build(terminated=terminated, truncated=truncated)
            self.replay.add(episode)
            self._builders[index] = None
            if self._corrector is not None and index == self._corrector.env:
                self._corrector.keep(episode)
            reports_success = self._envs.env_spec.reports_success
            self._recent = [*self._recent[-19:], float(episode.success) if reports_success else builder.episode_return]
            # Whatever ends now has taken as many steps in every environment.
            began = self.env_steps - len(episode) * self._envs.num_envs * self.config.env.action_repeat
            warm_up = began < max(self.config.control.uniform_steps, self.config.seed_steps)
            judged = warm_up or self.agent.episode_ended(builder.episode_return)
            if judged and self.config.update_at == "episode":
                self._due, self._credit = self._due + self._credit // 1, self._credit % 1
            row = {
                "env": index,
                "return": builder.episode_return,
                "length": len(episode),
            }
            if reports_success:
                row["success"] = episode.success
            if self._corrector is not None:
                row["corrected"] = self._corrector.last_fraction if index == self._corrector.env else 0.0
            self._logger.write("episode", {**self.counters, **row})
            self._callbacks.call("on_episode", self, episode, {**self.counters, **row})

    def _begin_episode(self, index: int) -> None:
        for _ in range(LOST_RESETS):
            seed = derive(self.config.seed, "train_env", index, self._episodes_begun[index])
            self._episodes_begun[index] += 1
            observation, _ = self._envs.reset(index, seed)
            fault = simulator_fault(observation, step=0, seed=seed)
            if not fault:
                break
            self._lose(index, f"{fault}; the episode is dropped")
        else:
            raise SimulatorError(
                f"environment {index} ({self._envs.env_spec.id}) showed NaN or infinite values in the first "
                f"observations of {LOST_RESETS} episodes in a row: no episode can begin there. Mend the simulator, "
                "which `zoomrl env check` examines, and run the same command again."
            )
        self._builders[index] = EpisodeBuilder(observation, seed)
        if self._corrector is not None and index == self._corrector.env:
            self._corrector.begin()
        self._controller.reset(np.arange(self._envs.num_envs) == index)

    def _lose(self, index: int, why: str) -> None:
        """Drop what environment ``index`` is in: counted, and said by name."""
        self._builders[index] = None
        self._episodes_lost += 1
        self._say(f"environment {index} {why}")

    def _replay_in_flight(
        self, index: int, seed: int, actions: list[NDArray[np.float32]], shown: Mapping[str, NDArray[Any]]
    ) -> None:
        """Rebuild the episode that environment ``index`` was in; ``shown`` is the observation it had come to."""
        repeated = self._repeat(index, seed, actions)
        if isinstance(repeated, EpisodeBuilder):
            if all(np.array_equal(repeated.last_observation[name], shown[name]) for name in shown):
                self._builders[index] = repeated
                return
            repeated = f"other observations after {len(actions)} steps"
        self._lose(index, f"did not repeat its episode in flight after resuming ({repeated}); the episode is dropped")

    def _repeat(self, index: int, seed: int, actions: list[NDArray[np.float32]]) -> EpisodeBuilder | str:
        """Run ``actions`` from the reset with ``seed``; the episode so far, or why it is another one."""
        count = self._envs.num_envs
        observation, _ = self._envs.reset(index, seed)
        if fault := simulator_fault(observation, step=0, seed=seed):
            return f"it {fault}"
        builder = EpisodeBuilder(observation, seed)
        for step, action in enumerate(actions, start=1):
            rows = np.zeros((count, len(action)), np.float32)
            rows[index] = action
            result = self._envs.step(rows, np.arange(count) == index)
            if index in result.died or result.terminated[index] or result.truncated[index]:
                return f"it ended at step {step} of {len(actions)}"
            seen = {name: array[index] for name, array in result.obs.items()}
            if fault := simulator_fault(seen, result.reward[index], step=step, seed=seed):
                return f"it {fault}"
            builder.add(action, float(result.reward[index]), seen, bool(result.success[index]))
        return builder

    def _update(self) -> Metrics:
        batch = self.replay.sample()
        metrics = self.agent.update(batch, schedule(self.config.control.noise, self.env_steps))
        priority = metrics.pop("priority", None)
        # Reading a value back makes a GPU wait; there the sums show it when they are logged.
        if self.agent.device.type == "cpu" and not torch.isfinite(metrics["loss"]):
            path = self.directory / f"nonfinite_batch_{self.updates}.pt"
            state = {"batch": batch.to_dict(), "metrics": metrics}
            kept = f"The batch is saved in {path}."
            try:
                write_atomically(path, lambda file: torch.save(state, file))
            except OSError as error:  # what diverged matters more than a full disk
                kept = f"The batch could not be saved in {path}: {error.strerror or error}."
            raise NonFiniteLossError(
                f"the loss became {metrics['loss'].item()} at update {self.updates} "
                f"(environment step {self.env_steps}). {kept} {self._last_good()}"
            )
        if priority is not None and self.config.replay.sampling == "priority":
            self.replay.set_priority(batch["slot"], priority)
        self.updates += 1
        self._add(metrics)
        self._callbacks.call("on_update", self, metrics)
        return metrics

    def _add(self, metrics: Metrics) -> None:
        """To the means of the next row."""
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._summed[name] = self._summed.get(name, 0) + 1

    def _evaluate(self) -> bool:
        try:
            evaluation = self._evaluator(self.env_steps)
        except NonFiniteLossError as error:
            raise NonFiniteLossError(
                f"{error} It is that of environment step {self.env_steps} (update {self.updates}). {self._last_good()}"
            ) from error
        if evaluation is None:
            return False
        if self._offline_eval_due():
            self._next_offline_eval += self.config.offline_eval_every
            if self.updates >= self.config.offline_updates:
                self._next_eval = _following(self.env_steps, self.config.eval.every)  # the same weights
        else:
            self._next_eval = _following(self.env_steps, self.config.eval.every)
        self._last_eval = evaluation
        measured = {**self._validated(), **self._diagnosis()}
        self._logger.write("eval", {**self.counters, **evaluation.row(), **measured, "seconds": self.seconds})
        score = evaluation.score
        if score is None:
            self._say(f"the evaluation at step {self.env_steps} has no result: the simulator failed in every episode")
        elif self.config.eval.keep_best and (self._best is None or score >= self._best):
            # Among equals the later one: it has learnt for longer.
            self._best, self._best_at = score, (self.env_steps, self.updates)
            self._checkpoints.save_best({"agent": self.agent.state_dict(), **self.counters})
        self._callbacks.call("on_evaluation", self, evaluation)
        return True

    def _validated(self) -> dict[str, float]:
        """Means of the agent's losses on demonstrations that it does not learn from: the same samples each time."""
        if self._validation is None:
            return {}
        before = self._validation.sampler.state_dict()
        rows = [self.agent.validate(self._validation.sample()) for _ in range(VALIDATION_BATCHES)]
        self._validation.sampler.load_state_dict(before)
        return {name: sum(float(row[name]) for row in rows) / len(rows) for name in rows[0]}

    def _diagnosis(self) -> dict[str, float]:
        """What the agent measures of itself on some replayed samples; the random state of training is not touched."""
        count = self.agent.diagnosed
        if not count or not self.replay.can_sample():
            return {}
        before = self.replay.sampler.state_dict()
        batch = self.replay.sample_at_least(count)
        self.replay.sampler.load_state_dict(before)
        return {name: float(value) for name, value in self.agent.diagnose(batch).items()}

    def _log_metrics(self) -> None:
        means = {name: float(total / self._summed[name]) for name, total in self._sums.items()}
        if not math.isfinite(means.get("loss", 0.0)):
            raise NonFiniteLossError(
                f"the loss became {means['loss']} within the {self._summed['loss']} updates before "
                f"update {self.updates} (environment step {self.env_steps}). {self._last_good()}"
            )
        self._value_range.look(means)
        speed = {"updates_per_s": self._speed(), "env_steps_per_s": self.env_steps / max(self.seconds, 1e-9)}
        lost = {"episodes_lost": self._episodes_lost}
        self._logger.write("train", {**self.counters, **means, **lost, "seconds": self.seconds, **speed})
        self._sums, self._summed = {}, {}

    def _last_good(self) -> str:
        last = self._checkpoints.newest()
        found = f"The last good checkpoint is {last}." if last else "No checkpoint was due yet."
        return f"{found} Lower agent.lr, or look at the data for extreme values."

    @property
    def counters(self) -> dict[str, int]:
        """The three counters that every row carries."""
        return {"env_steps": self.env_steps, "agent_steps": self.agent_steps, "updates": self.updates}

    @property
    def seconds(self) -> float:
        """Wall time spent on this run so far, earlier calls included."""
        return self._seconds_before + time.perf_counter() - self._started

    def _speed(self) -> float:
        return self.updates / max(self.seconds, 1e-9)

    def _status(self) -> str:
        """Success where the environment reports it, else return: of the last episodes and evaluation; and the speed."""
        parts = []
        success = self._envs.env_spec.reports_success
        if self._recent:
            mean = float(np.mean(self._recent))
            shown = f"success {mean:.0%}" if success else f"return {mean:.4g}"
            parts.append(f"{shown} of last {plural(len(self._recent), 'episode')}")
        if self._last_eval is not None and self._last_eval.score is not None:
            rate = self._last_eval.success_rate
            shown = f"return {self._last_eval.return_mean:.4g}" if rate is None else f"{rate:.0%}"
            parts.append(f"eval {shown}")
        steps = self.env_steps / max(self.seconds, 1e-9)
        parts.append(f"{steps:.3g} steps/s, {self._speed():.3g} updates/s")
        return "  ".join(parts)


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
