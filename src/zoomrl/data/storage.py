"""torchrl storages that answer a :class:`Windows` index with a learner's batch."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyMemmapStorage, LazyTensorStorage

from zoomrl.errors import ConfigError
from zoomrl.math.returns import n_step

CPU = torch.device("cpu")

# It announces each storage that it allocates.
logging.getLogger("torchrl").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Sequence:
    """Slots of the H steps from a window's first on.

    Attributes:
        obs: [B, H, F] slots of the stacked observations that follow each step.
        actions: [B, H], those of the rewards too; steps beyond the episode point at its last one.
        valid: [B, H], which steps lie inside the episode.
        terminal: [B, H], which of them terminate it.
    """

    obs: Tensor
    actions: Tensor
    valid: Tensor
    terminal: Tensor


@dataclass(frozen=True)
class Windows:
    """Slots that make up a batch: every frame is stored once and gathered here.

    Attributes:
        obs, next_obs: [B, F] slots of the stacked observations.
        actions: [B, T]; steps beyond the episode point at its last action.
        valid: [B, T], which steps may be learnt from.
        absorbed: [B, T], which steps lie beyond a terminal state; with ``padding="absorbing"``.
        real: [B, T], which steps lie inside the episode.
        rewards: [B, n].
        length: [B], rewards inside the window.
        terminal: [B], whether the window reaches a terminal state.
        is_demo: [B].
        gamma: discount per agent step.
        padding: [A] or [1], what stands for actions that are not real; NaN where the last one does, None if all do.
        sequence: for agents that predict several steps ahead.
        slot: [B] slots of the first steps, where samples have priorities.
    """

    obs: Tensor
    next_obs: Tensor
    actions: Tensor
    valid: Tensor
    absorbed: Tensor | None
    real: Tensor
    rewards: Tensor
    length: Tensor
    terminal: Tensor
    is_demo: Tensor
    gamma: float
    padding: Tensor | None
    sequence: Sequence | None = None
    slot: Tensor | None = None

    def to(self, device: torch.device) -> Windows:
        """The same windows with their tensors on ``device``."""
        if device.type == "cpu":
            return self
        own, ahead = _columns(self), {} if self.sequence is None else _columns(self.sequence)
        moved = iter(_sent([*own.values(), *ahead.values()], device))
        there: dict[str, Any] = dict(zip(own, moved, strict=False))
        if self.sequence is not None:
            there["sequence"] = replace(self.sequence, **dict(zip(ahead, moved, strict=True)))
        return replace(self, **there)


def _columns(windows: Windows | Sequence) -> dict[str, Tensor]:
    found = {field.name: getattr(windows, field.name) for field in fields(windows)}
    return {name: column for name, column in found.items() if isinstance(column, Tensor)}


def _sent(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copies of ``tensors`` on a GPU.

    They travel as one block of page-locked memory: a copy of a few numbers takes the host as long as an operation on
    the GPU, and it goes on to the next batch while the GPU still learns from the last one.
    """
    # A multiple of the widest number's bytes, so that each begins where its type may.
    sizes = [-(-tensor.numel() * tensor.element_size() // 8) * 8 for tensor in tensors]
    block = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
    for place, tensor in zip(block.split(sizes), tensors, strict=True):
        place[: tensor.numel() * tensor.element_size()].view(tensor.dtype).copy_(tensor.reshape(-1))
    moved = block.to(device, non_blocking=True).split(sizes)
    return [
        place[: tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
        for place, tensor in zip(moved, tensors, strict=True)
    ]


class _Gather:
    """Mixin of a tensor storage: window gathering in place of plain indexing."""

    _storage: Any
    device: Any
    """Where the frames are."""
    target: torch.device
    """Where batches go."""

    @property
    def frames(self) -> TensorDict:
        """All slots, written or not; plain indexing ends where it counts the last one written."""
        frames: TensorDict = self._storage
        return frames

    def get(self, index: Any) -> TensorDict:
        """Batch for a :class:`Windows` (see :mod:`zoomrl.data.replay` for its layout), or plain frames."""
        if not isinstance(index, Windows):
            return super().get(index)  # type: ignore[misc]
        frames, index = self._storage, index.to(self.device)
        # By kind: ``cuda`` and ``cuda:0`` are one place, and do not compare equal.
        pinned = self.target.type == "cuda" and self.device.type == "cpu"
        actions = frames["action"][index.actions]
        if index.padding is not None:
            actions = torch.where(index.real[..., None] | index.padding.isnan(), actions, index.padding)
        reward, discount = n_step(frames["reward"][index.rewards], index.length, index.terminal, index.gamma)
        size = [len(index.length)]
        batch = TensorDict(
            {
                "obs": TensorDict(_stacked(frames["obs"], index.obs, pinned), size),
                "next_obs": TensorDict(_stacked(frames["obs"], index.next_obs, pinned), size),
                "actions": actions,
                "valid": index.valid,
                "reward": reward,
                "discount": discount,
                "is_demo": index.is_demo,
            },
            size,
        )
        if index.absorbed is not None:
            batch["absorbed"] = index.absorbed
        if index.sequence is not None:
            batch["sequence"] = _sequence(frames, index.sequence, index.gamma, pinned)
        if index.slot is not None:
            batch["slot"] = index.slot
        return self._send(batch) if pinned else batch

    def _send(self, batch: TensorDict) -> TensorDict:
        leaves = dict(batch.items(include_nested=True, leaves_only=True))
        small = {name: leaf for name, leaf in leaves.items() if not leaf.is_pinned()}
        moved = dict(zip(small, _sent(list(small.values()), self.target), strict=True))
        for name in leaves.keys() - small.keys():
            moved[name] = leaves[name].to(self.target, non_blocking=True)
        return batch.named_apply(lambda name, _: moved[name], nested_keys=True)


class RamStorage(_Gather, LazyTensorStorage):
    """Frames in memory: the computer's, or a GPU's."""


class DiskStorage(_Gather, LazyMemmapStorage):
    """Frames in memory-mapped files."""

    def reserve(self) -> None:
        """Take all the room that the files will need, where the system can.

        They are full of holes at first. A disk that is full when one of these is written ends the process by a signal,
        without a word.

        Raises:
            ConfigError: there is not enough.
        """
        if not hasattr(os, "posix_fallocate"):  # macOS and Windows have none
            return
        arrays = [array for _, array in self.frames.items(include_nested=True, leaves_only=True)]
        total = sum(array.numel() * array.element_size() for array in arrays)
        try:
            for array in arrays:
                with open(array.filename, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, array.numel() * array.element_size())
        except OSError as error:
            raise ConfigError(
                f"replay.storage=disk needs {total / 1e9:.3g} GB, for which there is no room ({error.strerror}). Free "
                "some, or lower replay.capacity"
            ) from error


def make_storage(kind: str, slots: int, directory: Path | None, device: torch.device = CPU) -> RamStorage | DiskStorage:
    """Storage of ``slots`` frames.

    Args:
        kind: ``ram``, ``disk`` or ``gpu``.
        slots: frames it holds.
        directory: receives the files of the ``disk`` kind.
        device: where batches go; the ``gpu`` kind keeps the frames there too.
    """
    storage: RamStorage | DiskStorage
    if kind == "disk":
        storage = DiskStorage(slots, scratch_dir=directory, existsok=True)
    else:
        storage = RamStorage(slots, device=device if kind == "gpu" else CPU)
    storage.target = device
    return storage


def _sequence(frames: TensorDict, index: Sequence, gamma: float, pinned: bool) -> TensorDict:
    """Observations [B, H, ...], actions, rewards and discounts of a sequence."""
    count, steps, _ = index.obs.shape
    stacks = _stacked(frames["obs"], index.obs.flatten(0, 1), pinned)
    columns = {
        "obs": TensorDict({name: stack.unflatten(0, (count, steps)) for name, stack in stacks.items()}, [count]),
        "actions": frames["action"][index.actions],
        "reward": frames["reward"][index.actions],
        "discount": torch.where(index.valid, torch.where(index.terminal, 0.0, gamma), 1.0),
        "valid": index.valid,
    }
    return TensorDict(columns, [count])


def _stacked(observations: TensorDict, slots: Tensor, pinned: bool) -> dict[str, Tensor]:
    """Gather [B, F] slots: vectors [S] become [B, F * S]; arrays of more dimensions keep the stack, [B, F, ...]."""
    stacks = {name: _gathered(array, slots, pinned) for name, array in observations.items()}
    return {name: stack if stack.ndim > 3 else stack.flatten(1, 2) for name, stack in stacks.items()}


def _gathered(array: Tensor, slots: Tensor, pinned: bool) -> Tensor:
    """Rows ``slots`` [B, F] of ``array`` [slots, ...], as [B, F, ...].

    ``index_select`` copies whole rows; indexing with brackets goes element by element, seven times slower on images.
    """
    rows = slots.flatten()
    shape = (len(rows), *array.shape[1:])
    if array.device.type != "cpu":
        found = array.index_select(0, rows)
    elif pinned:
        # Page-locked memory is copied to the GPU while the CPU goes on.
        found = torch.index_select(array, 0, rows, out=torch.empty(shape, dtype=array.dtype, pin_memory=True))
    else:
        # numpy asks for huge pages: fresh memory of many megabytes costs as much as the copy otherwise.
        fresh = torch.from_numpy(np.empty(shape, str(array.dtype).removeprefix("torch.")))
        found = torch.index_select(array, 0, rows, out=fresh)
    return found.unflatten(0, slots.shape)
