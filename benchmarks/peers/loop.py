"""The straightforward loop itself: one environment, act, step, sample and update one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.loader import make_loader, to_float, write_episode
from peers.update import Peer
from zoomrl.agents.cqn.learner import CQN
from zoomrl.data.episode import Episode, EpisodeBuilder
from zoomrl.envs.registry import make_env
from zoomrl.training.config import TrainConfig


class PeerLoop:
    """Trains on ``config``'s environment; ``seconds`` adds up where the time goes.

    Args:
        config: environment, batch and hyper-parameters.
        like: agent whose sizes and weights are taken.
        demos: demonstrations, actions in [-1, 1].
        directory: for the episodes.
        workers: loader processes for each of the two stores.
    """

    def __init__(
        self, config: TrainConfig, like: CQN, demos: Sequence[Episode], directory: Path, workers: int = 1
    ) -> None:
        self.config, self.peer = config, Peer(like)
        self.seconds = dict.fromkeys(("act", "env", "sample", "update"), 0.0)
        self.steps = self.updates = self._count = 0
        self._credit = 0.0
        self._online, self._demos = directory / "online", directory / "demos"
        for place in (self._online, self._demos):
            place.mkdir(parents=True)
            for index, episode in enumerate(demos):
                write_episode(place, index, episode, is_demo=True)
        self._count = len(demos)
        half = config.replay.batch_size // 2
        self._loaders = [
            make_loader(place, config.replay, like.chunk_length, half, workers) for place in (self._online, self._demos)
        ]
        self._env = make_env(config.env)
        self._builder: EpisodeBuilder | None = None

    def advance(self, steps: int) -> None:
        """Take ``steps`` environment steps, with the updates that belong to them."""
        for _ in range(steps):
            if self._builder is None:
                self._timed("env", self._begin)
            action = self._timed("act", self._act)
            self._credit += self.config.updates_per_step
            while self._credit >= 1:
                self._credit -= 1
                batch = self._timed("sample", self._batch)
                self._timed("update", lambda batch=batch: self.peer.update(batch))
                self.updates += 1
            self._timed("env", lambda action=action: self._step(action))
            self.steps += 1

    def close(self) -> None:
        """End the loader processes and the environment."""
        self._loaders = []
        self._env.close()

    def _begin(self) -> None:
        observation, _ = self._env.reset(seed=self._count)
        self._builder = EpisodeBuilder(observation, self._count)
        limit, chunk_length = self._env.env_spec.time_limit, self.peer.critic.chunk_length
        # Row: when the plan was made. Column: when its action is due. NaN: no plan.
        self._plans = np.full((limit, limit + chunk_length, self._env.env_spec.action_dim), np.nan, np.float32)

    def _act(self) -> np.ndarray:
        time_step, chunk_length = len(self._builder), self.peer.critic.chunk_length
        rgb = np.concatenate([o["rgb"] for o in self._stack()], -1).transpose(0, 3, 1, 2)
        state = np.concatenate([o["state"] for o in self._stack()])
        inputs = [torch.as_tensor(x[None], dtype=torch.float32) for x in (rgb, state)]
        self._plans[time_step, time_step : time_step + chunk_length] = self.peer.act(*inputs)[0].numpy()
        due = self._plans[:, time_step]
        due = due[~np.isnan(due).any(1)]
        weights = np.exp(-0.01 * np.arange(len(due)))
        action = (due * (weights / weights.sum())[:, None]).sum(0)
        noise = np.random.normal(scale=float(self.config.control.noise), size=action.shape)
        return np.clip(action + noise, -1, 1).astype(np.float32)

    def _stack(self) -> list[dict[str, Any]]:
        # Every preset measured here stacks one frame.
        assert self.config.replay.frame_stack == 1
        return [self._builder.last_observation]

    def _batch(self) -> dict[str, torch.Tensor]:
        parts = [next(loader) for loader in self._loaders]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return to_float(joined, self.peer.device)

    def _step(self, action: np.ndarray) -> None:
        observation, reward, terminated, truncated, info = self._env.step(action)
        self._builder.add(action, reward, observation, info["success"])
        if terminated or truncated:
            episode = self._builder.build(terminated=terminated, truncated=truncated)
            write_episode(self._online, self._count, episode, is_demo=episode.success)
            if episode.success:
                write_episode(self._demos, self._count, episode, is_demo=True)
            self._count += 1
            self._builder = None

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[name] += time.perf_counter() - start
        return result
