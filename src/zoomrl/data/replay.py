"""The replay: demonstrations for good, online episodes in a ring, batches gathered by index.

A batch is a TensorDict [B] with ``obs`` and ``next_obs`` (dicts; ``state`` float32 [B, F * S], ``rgb`` uint8
[B, F, V, H, W, 3], oldest first), ``actions`` [B, T, A] in [-1, 1], ``valid`` [B, T], ``reward`` [B] (n-step return),
``discount`` [B] (gamma^n, 0 at terminal states) and ``is_demo`` [B]. For agents that predict H steps ahead also
``sequence``: ``obs`` after each step ([B, H, ...]), ``actions`` [B, H, A], ``reward`` [B, H] and ``valid`` [B, H].
With ``padding="absorbing"`` also ``absorbed`` [B, T], the steps of chunks beyond a terminal state.
With ``sampling="priority"`` also ``slot`` [B], by which :meth:`ReplayBuffer.set_priority` knows the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchrl.data
from numpy.typing import NDArray
from tensordict import TensorDict
from torchrl.data import ImmutableDatasetWriter

from zoomrl.data.config import ReplayConfig
from zoomrl.data.episode import Episode
from zoomrl.data.sampler import WindowSampler, held
from zoomrl.data.storage import CPU, DiskStorage, make_storage
from zoomrl.data.table import EpisodeTable, Row
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec

Segment = dict[str, NDArray[Any]]


class ReplayBuffer:
    """Stores episodes and samples batches, whose layout :mod:`zoomrl.data.replay` describes.

    Args:
        config: capacity and batch composition.
        spec: of the environment.
        chunk_length: steps T of the action chunks in batches.
        demos: episodes of the protected region; those with ``is_demo`` feed the imitation losses.
        to_unit: maps actions float32 [..., A] in the environment's units to [-1, 1].
        seed: of the sampling.
        directory: for the files of ``storage="disk"``.
        device: where batches go; the frames too with ``storage="gpu"``.
        sequence_length: steps H of the sequences in batches; 0 for none.
        reserved_frames: frames of the protected region that are kept free for later (see :meth:`protect`).

    Raises:
        ConfigError: ``storage="gpu"`` without a GPU, ``storage="disk"`` without room, or ``padding="hold"`` where
            actions have no known meaning.
        ValueError: a demonstration is inconsistent or not finite.
    """

    def __init__(
        self,
        config: ReplayConfig,
        spec: EnvSpec,
        chunk_length: int,
        demos: Sequence[Episode],
        to_unit: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        seed: int = 0,
        directory: Path | None = None,
        device: torch.device = CPU,
        sequence_length: int = 0,
        reserved_frames: int = 0,
    ) -> None:
        if config.storage == "gpu" and device.type == "cpu":
            raise ConfigError(
                'replay.storage="gpu" keeps frames in the memory of the GPU that learns, but learning is on the CPU. '
                'Use replay.storage="ram".'
            )
        self.config = config
        self._to_unit = to_unit
        self._table = EpisodeTable(sum(len(e) + 1 for e in demos) + reserved_frames, config.capacity)
        self._storage = make_storage(config.storage, self._table.slots, directory, device)
        hold = held(spec, to_unit) if config.padding == "hold" else None
        self.sampler = WindowSampler(config, self._table, chunk_length, seed, sequence_length, hold)
        self._buffer = torchrl.data.ReplayBuffer(
            storage=self._storage,
            sampler=self.sampler,
            writer=ImmutableDatasetWriter(),
            batch_size=config.batch_size,
            collate_fn=_identity,
        )
        # The storage allocates on its first write, whose extent becomes its length: touch the last slot.
        blank = {
            "obs": {n: torch.zeros(1, *s.shape, dtype=getattr(torch, s.dtype)) for n, s in spec.observations.items()},
            "action": torch.zeros(1, spec.action_dim),
            "reward": torch.zeros(1),
        }
        self._write(torch.tensor([self._table.slots - 1]), blank)
        if isinstance(self._storage, DiskStorage):
            self._storage.reserve()
        for episode in demos:
            self.protect(episode)

    @staticmethod
    def frame_bytes(spec: EnvSpec) -> int:
        """Bytes that one frame of an environment with this spec takes."""
        observed = (int(np.prod(a.shape)) * np.dtype(a.dtype).itemsize for a in spec.observations.values())
        return 4 * (spec.action_dim + 1) + sum(observed)

    def add(self, episode: Episode) -> None:
        """Store a finished online episode; it becomes a demonstration if successful and relabelling is on.

        Raises:
            ConfigError: it does not fit into ``capacity``.
            ValueError: it is inconsistent or not finite.
        """
        is_demo = episode.is_demo or (self.config.relabel_successes and episode.success)
        columns = self._columns(episode)
        self.sampler.remove(self._table.make_room(len(episode)))
        self._store(self._table.append, columns, episode, is_demo=is_demo)

    def protect(self, episode: Episode) -> bool:
        """Store an episode for good; False, and nothing is stored, where the protected region has no room for it.

        Raises:
            ValueError: it is inconsistent or not finite.
        """
        if not self._table.has_room(len(episode)):
            return False
        self._store(self._table.protect, self._columns(episode), episode, is_demo=episode.is_demo)
        return True

    def sample(self) -> TensorDict:
        """A learner's batch: a TensorDict [B] of ``batch_size`` samples.

        Raises:
            RuntimeError: no complete window is stored.
        """
        return self._buffer.sample()

    def sample_at_least(self, count: int) -> TensorDict:
        """As many whole batches as it takes to hold ``count`` samples, in one; raises as :meth:`sample` does."""
        return torch.cat([self.sample() for _ in range(-(-count // self.config.batch_size))])

    def set_priority(self, slot: torch.Tensor, priority: torch.Tensor) -> None:
        """Give samples new priorities, in proportion to which they will be sampled.

        Args:
            slot: [B], of the batch.
            priority: [B], positive. They are read back from the device they are on.

        Raises:
            NonFiniteLossError: a priority is NaN or infinite.
            ValueError: a priority is not positive, or samples have none (``sampling`` is not "priority").
        """
        self.sampler.set_priority(slot, priority)

    def can_sample(self) -> bool:
        """Whether any complete window is stored."""
        lengths = self._table.pool("all").length
        return bool((lengths >= self.sampler.shortest).any())

    @property
    def protected_frames(self) -> int:
        """Frames of the protected region, with what is kept free."""
        return self._table.protected

    @property
    def free_frames(self) -> int:
        """Frames of the protected region that are kept free."""
        return self._table.free

    @property
    def online_frames(self) -> int:
        """Frames of the online episodes alive."""
        return sum(row.length + 1 for row in self._table.online)

    @property
    def rows(self) -> Iterable[Row]:
        """The episodes alive, protected ones first."""
        return iter(self._table)

    @property
    def added(self) -> int:
        """Online episodes ever added."""
        return self._table.added

    @property
    def oldest(self) -> int:
        """Serial number of the oldest online episode alive; ``added`` when there is none."""
        return next((row.serial for row in self._table.online), self.added)

    def segment(self, since: int) -> Segment:
        """Arrays of the online episodes with serial number ``since`` or later, for a checkpoint.

        They are views of the ring where its end does not lie between: to be used before the next episode is added.
        """
        rows = [row for row in self._table.online if row.serial >= since]
        slots = torch.cat([self._table.indices(row) for row in rows]) if rows else torch.zeros(0, dtype=torch.int64)
        frames = self._storage.frames
        arrays = {f"obs/{name}": _frames_at(array, slots) for name, array in frames["obs"].items()}
        arrays |= {name: _frames_at(frames[name], slots) for name in ("action", "reward")}
        for name in ("serial", "start", "length", "terminated", "truncated", "success", "is_demo", "seed"):
            arrays[name] = np.array([getattr(row, name) for row in rows])
        return arrays | {"protected": np.full(len(rows), self._table.protected)}

    def load_segments(self, segments: Iterable[Segment], oldest: int) -> None:
        """Add the saved episodes from serial number ``oldest`` on, in order, into an empty ring.

        They come to the places in the ring that they had. Where the protected region and the capacity are those of
        then, these are the very slots, by which priorities are saved.
        """
        for segment in segments:
            ends = np.cumsum(segment["length"] + 1)
            for index, end in enumerate(ends):
                serial, length = int(segment["serial"][index]), int(segment["length"][index])
                if serial < max(oldest, self.added):
                    continue
                rows = slice(end - length - 1, end)
                columns = {
                    "obs": {k[4:]: torch.from_numpy(v[rows]) for k, v in segment.items() if k.startswith("obs/")},
                    "action": torch.from_numpy(segment["action"][rows]),
                    "reward": torch.from_numpy(segment["reward"][rows]),
                }
                # Segments of older versions do not say where their episodes, or the ring, were: nothing depended on it.
                before = int(segment["protected"][index]) if "protected" in segment else self._table.protected
                self._table.restart_at(serial, int(segment["start"][index]) - before if "start" in segment else 0)
                flags = {n: bool(segment[n][index]) for n in ("terminated", "truncated", "success", "is_demo")}
                slots = self._table.append(length, seed=int(segment["seed"][index]), **flags)
                self.sampler.enter(slots)
                self._write(slots, columns)

    def _columns(self, episode: Episode) -> dict[str, Any]:
        """Frames [T + 1] of an episode; the last has an observation only."""
        episode.validate()
        actions = np.zeros((len(episode) + 1, episode.actions.shape[1]), np.float32)
        actions[:-1] = self._to_unit(episode.actions)
        return {
            "obs": {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in episode.observations.items()},
            "action": torch.from_numpy(actions),
            "reward": torch.from_numpy(np.append(episode.rewards, np.float32(0))),
        }

    def _store(
        self,
        allocate: Callable[..., torch.Tensor],
        columns: Mapping[str, Any],
        episode: Episode,
        *,
        is_demo: bool,
    ) -> None:
        slots = allocate(
            len(episode),
            terminated=episode.terminated,
            truncated=episode.truncated,
            success=episode.success,
            is_demo=is_demo,
            seed=episode.seed,
        )
        self.sampler.enter(slots)
        self._write(slots, columns)

    def _write(self, slots: torch.Tensor, columns: Mapping[str, Any]) -> None:
        device = self._storage.device
        self._storage.set(slots.to(device), TensorDict(dict(columns), [len(slots)]).to(device))


def _frames_at(array: torch.Tensor, slots: torch.Tensor) -> NDArray[Any]:
    """Rows ``slots`` of ``array``: a view of it where they follow each other."""
    if len(slots) and int(slots[-1] - slots[0]) + 1 == len(slots):
        return array[int(slots[0]) : int(slots[-1]) + 1].cpu().numpy()
    return array[slots.to(array.device)].cpu().numpy()


def _identity(batch: TensorDict) -> TensorDict:
    return batch
