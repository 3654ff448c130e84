"""Step by step: each action is chosen with the newest weights, and waits for the updates before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoomrl.control.controller import Controller
from zoomrl.data.episode import EpisodeBuilder
from zoomrl.data.finite import simulator_fault
from zoomrl.data.replay import ReplayBuffer
from zoomrl.envs.vector.base import StepResult, VectorEnv
from zoomrl.errors import NonFiniteLossError
from zoomrl.intervention.corrector import Corrector
from zoomrl.training.collect.contract import LOST_RESETS, Ended, never_begins
from zoomrl.training.seeds import derive


class StepwiseCollector:
    """Acts in the training environments and adds their episodes to the replay.

    An episode in flight is kept as its reset seed and its actions: on resuming it is replayed, and dropped (by name)
    should the environment answer differently.

    Args:
        seed: of the run; each episode's own is derived from it.
        envs: the training environments.
        controller: acts, with exploration.
        replay: takes the episodes.
        corrector: a person who may take over, or None.
        say: prints a line for the user.
    """

    def __init__(
        self,
        seed: int,
        envs: VectorEnv,
        controller: Controller,
        replay: ReplayBuffer,
        corrector: Corrector | None,
        say: Callable[[str], None],
    ) -> None:
        self.num_envs = envs.num_envs
        self.episodes_lost = 0
        self._seed = seed
        self._envs = envs
        self._controller = controller
        self._replay = replay
        self._corrector = corrector
        self._say = say
        self._episodes_begun = [0] * envs.num_envs
        self._builders: list[EpisodeBuilder | None] = [None] * envs.num_envs
        self._logged: list[dict[str, float]] = [{} for _ in range(envs.num_envs)]

    def act(self, env_steps: int) -> NDArray[np.float32]:
        """Actions [N, A] for what the environments show; where no episode runs, one begins.

        Raises:
            NonFiniteLossError: the agent's action is NaN or infinite.
            SimulatorError: an environment shows NaN at the start of each of its episodes.
        """
        for index, builder in enumerate(self._builders):
            if builder is None:
                self._begin_episode(index)
        builders = [b for b in self._builders if b is not None]
        observation = {
            name: np.stack([b.last_observation[name] for b in builders]) for name in builders[0].last_observation
        }
        action = self._controller.act(observation, env_steps)
        if not np.isfinite(action).all():
            raise NonFiniteLossError("the agent's action became NaN or infinite.")
        return action if self._corrector is None else self._correct(self._corrector, action)

    def step(self, action: NDArray[np.float32]) -> list[Ended]:
        """Take an agent step with actions [N, A] in every environment; the episodes that it ended."""
        result = self._envs.step(action)
        found = [self._record(index, action[index], result) for index in range(self.num_envs)]
        return [ended for ended in found if ended is not None]

    def state_dict(self) -> dict[str, Any]:
        """Episodes begun, lost and in flight, and what the controller and the corrector keep."""
        return {
            "controller": self._controller.state_dict(),
            "corrections": None if self._corrector is None else self._corrector.state_dict(),
            "episodes_begun": list(self._episodes_begun),
            "episodes_lost": self.episodes_lost,
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
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`, and play the episodes in flight again. Other entries are left alone."""
        if self._corrector is not None:
            self._corrector.load_state_dict(state["corrections"])
        self._controller.load_state_dict(state["controller"])
        self._episodes_begun = list(state["episodes_begun"])
        self.episodes_lost = state["episodes_lost"]
        for index, saved in enumerate(state["in_flight"]):
            if saved is not None:
                actions = [a.numpy() for a in saved["actions"]]
                shown = {name: a.numpy() for name, a in saved["shown"].items()}
                self._replay_in_flight(index, saved["seed"], actions, shown)

    def _correct(self, corrector: Corrector, proposed: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions [N, A], one of them a person's perhaps; the action chunk that it interrupts is dropped."""
        builder = self._builders[corrector.env]
        assert builder is not None
        action, taken = corrector.act(self._episodes_begun[corrector.env] - 1, len(builder), proposed)
        if taken:
            self._controller.replan(np.arange(self.num_envs) == corrector.env)
        return action

    def _record(self, index: int, action: NDArray[np.float32], result: StepResult) -> Ended | None:
        """Add what environment ``index`` answered to its episode; the episode where it ended."""
        builder = self._builders[index]
        assert builder is not None
        if index in result.died:
            self._lose(index, f"died and was restarted; its episode of {len(builder)} steps is dropped")
            return None
        observation = {name: array[index] for name, array in result.obs.items()}
        fault = simulator_fault(observation, result.reward[index], step=len(builder) + 1, seed=builder.seed)
        if fault:
            self._lose(index, f"{fault}; the episode is dropped")
            return None
        builder.add(action, float(result.reward[index]), observation, bool(result.success[index]))
        self._logged[index].update(result.logged[index])
        terminated, truncated = bool(result.terminated[index]), bool(result.truncated[index])
        if not (terminated or truncated):
            return None
        episode = builder.build(terminated=terminated, truncated=truncated)
        self._replay.add(episode)
        self._builders[index] = None
        row = {"env": index, "return": builder.episode_return, "length": len(episode)}
        if self._envs.env_spec.reports_success:
            row["success"] = episode.success
        if self._corrector is not None:
            corrected = index == self._corrector.env
            if corrected:
                self._corrector.keep(episode)
            row["corrected"] = self._corrector.last_fraction if corrected else 0.0
        return Ended(episode, builder.episode_return, row | self._logged[index])

    def _begin_episode(self, index: int) -> None:
        for _ in range(LOST_RESETS):
            seed = derive(self._seed, "train_env", index, self._episodes_begun[index])
            self._episodes_begun[index] += 1
            observation, _ = self._envs.reset(index, seed)
            fault = simulator_fault(observation, step=0, seed=seed)
            if not fault:
                break
            self._lose(index, f"{fault}; the episode is dropped")
        else:
            raise never_begins(index, self._envs.env_spec.id)
        self._builders[index] = EpisodeBuilder(observation, seed)
        self._logged[index] = {}
        if self._corrector is not None and index == self._corrector.env:
            self._corrector.begin()
        self._controller.reset(np.arange(self.num_envs) == index)

    def _lose(self, index: int, why: str) -> None:
        """Drop what environment ``index`` is in: counted, and said by name. A person's corrections in it are kept."""
        builder = self._builders[index]
        if self._corrector is not None and index == self._corrector.env and builder is not None and len(builder):
            self._corrector.keep(builder.build(terminated=False, truncated=True))
        self._builders[index] = None
        self.episodes_lost += 1
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
        observation, _ = self._envs.reset(index, seed)
        if fault := simulator_fault(observation, step=0, seed=seed):
            return f"it {fault}"
        builder = EpisodeBuilder(observation, seed)
        self._logged[index] = {}
        for step, action in enumerate(actions, start=1):
            rows = np.zeros((self.num_envs, len(action)), np.float32)
            rows[index] = action
            result = self._envs.step(rows, np.arange(self.num_envs) == index)
            if index in result.died or result.terminated[index] or result.truncated[index]:
                return f"it ended at step {step} of {len(actions)}"
            seen = {name: array[index] for name, array in result.obs.items()}
            if fault := simulator_fault(seen, result.reward[index], step=step, seed=seed):
                return f"it {fault}"
            builder.add(action, float(result.reward[index]), seen, bool(result.success[index]))
            self._logged[index].update(result.logged[index])
        return builder
