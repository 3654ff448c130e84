"""torchrl storages that answer a :class:`Windows` index with a learner's batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyMemmapStorage, LazyTensorStorage

from zoomrl.math.returns import n_step


@dataclass(frozen=True)
class Windows:
    """Slots that make up a batch: every frame is stored once and gathered here.

    Attributes:
        obs, next_obs: [B, F] slots of the stacked observations.
        actions: [B, T]; steps beyond the episode point at its last action.
        valid: [B, T], which steps may be learnt from.
        real: [B, T], which steps lie inside the episode.
        rewards: [B, n].
        length: [B], rewards inside the window.
        terminal: [B], whether the window reaches a terminal state.
        is_demo: [B].
        gamma: discount per decision.
        zero_padding: replace actions that are not real by zeros.
    """

    obs: Tensor
    next_obs: Tensor
    actions: Tensor
    valid: Tensor
    real: Tensor
    rewards: Tensor
    length: Tensor
    terminal: Tensor
    is_demo: Tensor
    gamma: float
    zero_padding: bool


class _Gather:
    """Mixin of a tensor storage: window gathering in place of plain indexing."""

    _storage: Any

    def get(self, index: Any) -> TensorDict:
        """Batch for a :class:`Windows` (see :mod:`zoomrl.data.replay` for its layout), or plain frames."""
        if not isinstance(index, Windows):
            return super().get(index)  # type: ignore[misc]
        frames = self._storage
        actions = frames["action"][index.actions]
        if index.zero_padding:
            actions = torch.where(index.real[..., None], actions, torch.zeros_like(actions))
        reward, discount = n_step(frames["reward"][index.rewards], index.length, index.terminal, index.gamma)
        batch = [len(index.length)]
        return TensorDict(
            {
                "obs": TensorDict(_stacked(frames["obs"], index.obs), batch),
                "next_obs": TensorDict(_stacked(frames["obs"], index.next_obs), batch),
                "actions": actions,
                "valid": index.valid,
                "reward": reward,
                "discount": discount,
                "is_demo": index.is_demo,
            },
            batch,
        )


class RamStorage(_Gather, LazyTensorStorage):
    """Frames in memory."""


class DiskStorage(_Gather, LazyMemmapStorage):
    """Frames in a memory-mapped file."""


def make_storage(kind: str, slots: int, directory: Path | None) -> RamStorage | DiskStorage:
    """Storage of ``slots`` frames; ``directory`` receives the files of the ``disk`` kind."""
    if kind == "ram":
        return RamStorage(slots)
    return DiskStorage(slots, scratch_dir=directory, existsok=True)


def _stacked(observations: TensorDict, slots: Tensor) -> dict[str, Tensor]:
    """Gather [B, F] slots of each [S] observation and flatten the stack: [B, F * S]."""
    return {name: array[slots].flatten(1, 2) for name, array in observations.items()}
