"""Data of the straightforward loop: a compressed file for each episode, samples copied out by worker processes.

A batch is a dict of float32 tensors: ``rgb`` and ``next_rgb`` [B, V, 3 * F, H, W], ``state`` and ``next_state``
[B, F * S], ``actions`` [B, T, A], ``valid`` [B, T], ``reward``, ``discount`` and ``is_demo`` [B].
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode

FETCH_EVERY = 100
"""Samples between looks at the directory."""


def write_episode(directory: Path, index: int, episode: Episode, is_demo: bool) -> None:
    """Save an episode, images as [T + 1, V, 3, H, W]."""
    arrays = {
        "rgb": np.ascontiguousarray(episode.observations["rgb"].transpose(0, 1, 4, 2, 3)),
        "state": episode.observations["state"],
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminated": np.array(episode.terminated),
        "is_demo": np.array(is_demo, np.float32),
    }
    unfinished = directory / f"{index}.writing"
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.rename(directory / f"{index:06d}_{len(episode)}.npz")


class Samples(IterableDataset):
    """Endless samples of the episodes in ``directory``; each worker reads its share of the files."""

    def __init__(self, directory: Path, config: ReplayConfig, chunk_length: int) -> None:
        self.directory, self.config, self.chunk_length = directory, config, chunk_length
        self.episodes: dict[Path, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        drawn = 0
        while True:
            if drawn % FETCH_EVERY == 0:
                self._fetch()
            drawn += 1
            yield self._sample()

    def _fetch(self) -> None:
        worker = get_worker_info()
        fraction, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for path in sorted(self.directory.glob("*.npz")):
            if path not in self.episodes and int(path.name.split("_")[0]) % workers == fraction:
                with np.load(path) as file:
                    self.episodes[path] = {name: file[name] for name in file.files}

    def _sample(self) -> dict[str, Any]:
        config = self.config
        episode = random.choice(list(self.episodes.values()))
        length = len(episode["actions"])
        first = random.randrange(length)
        count = min(config.n_step, length - first)
        reward, discount = np.float32(0), np.float32(1)
        for step in range(first, first + count):
            reward += discount * episode["rewards"][step]
            discount *= np.float32(config.discount)
        if episode["terminated"] and first + count == length:
            discount = np.float32(0)
        steps = np.arange(first, first + self.chunk_length)
        return {
            "rgb": self._stacked(episode["rgb"], first),
            "state": self._stacked(episode["state"], first),
            "next_rgb": self._stacked(episode["rgb"], first + count),
            "next_state": self._stacked(episode["state"], first + count),
            "actions": episode["actions"][np.minimum(steps, length - 1)],
            "valid": (steps < length).astype(np.float32),
            "reward": reward,
            "discount": discount,
            "is_demo": episode["is_demo"],
        }

    def _stacked(self, array: np.ndarray, last: int) -> np.ndarray:
        """Frames up to ``last``, joined on the axis behind the views; the first one fills the stack."""
        frames = [array[max(last - back, 0)] for back in reversed(range(self.config.frame_stack))]
        return np.concatenate(frames, 1 if array.ndim > 2 else 0)


def make_loader(directory: Path, config: ReplayConfig, chunk_length: int, batch: int, workers: int) -> Iterator[Any]:
    """Batches of ``batch`` samples from worker processes."""
    samples = Samples(directory, config, chunk_length)
    # PyTorch's own default on Linux, which torchrl changes for the whole process.
    options = {"num_workers": workers, "worker_init_fn": _seed, "multiprocessing_context": "fork"}
    return iter(DataLoader(samples, batch_size=batch, **options))


def to_float(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Everything as float32 on ``device``; the conversion takes place on the host."""
    return {name: array.to(torch.float32).to(device) for name, array in batch.items()}


def _seed(worker: int) -> None:
    random.seed(worker)
