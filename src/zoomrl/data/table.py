"""Which frame slots hold which episode: a protected region, then a ring that evicts whole episodes.

An episode of T actions takes T + 1 consecutive slots (the last holds the final observation only). Ring episodes may
wrap around its end. Nothing but finished episodes is ever listed, so that no window can reach the write head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoomrl.errors import ConfigError


@dataclass(frozen=True)
class Row:
    """One stored episode."""

    serial: int
    """Online episodes count up from 0; protected ones have -1."""
    start: int
    """Slot of its first frame."""
    length: int
    """Number of actions T."""
    terminated: bool
    truncated: bool
    success: bool
    is_demo: bool
    seed: int


@dataclass(frozen=True)
class Pool:
    """Episodes to sample from, as columns [E]."""

    start: Tensor
    length: Tensor
    terminated: Tensor
    is_demo: Tensor

    def __len__(self) -> int:
        return len(self.start)


Which = Literal["all", "demos", "successes"]
_BELONGS: dict[Which, Callable[[Row], bool]] = {
    "all": lambda row: True,
    "demos": lambda row: row.is_demo,
    "successes": lambda row: row.success,
}


class EpisodeTable:
    """Allocates slots and lists the episodes that are alive.

    Args:
        protected: slots of the protected region, at the front.
        capacity: slots of the ring behind it.
    """

    def __init__(self, protected: int, capacity: int) -> None:
        self.protected = protected
        self.capacity = capacity
        self.added = 0
        self._protected_rows: list[Row] = []
        self._ring: deque[Row] = deque()
        self._filled = 0
        self._head = 0
        self._used = 0
        self._pools: dict[Which, Pool] = {}

    def __iter__(self) -> Iterator[Row]:
        yield from self._protected_rows
        yield from self._ring

    def __len__(self) -> int:
        return len(self._protected_rows) + len(self._ring)

    @property
    def online(self) -> Iterable[Row]:
        """Ring episodes, oldest first."""
        return self._ring

    @property
    def slots(self) -> int:
        """Slots in all."""
        return self.protected + self.capacity

    def protect(
        self, length: int, *, terminated: bool, truncated: bool, success: bool, is_demo: bool, seed: int
    ) -> Tensor:
        """Reserve protected slots for an episode; returns their indices [T + 1]."""
        if not self.has_room(length):
            raise ValueError(f"the protected region of {self.protected} slots is full")
        row = Row(-1, self._filled, length, terminated, truncated, success, is_demo, seed)
        self._protected_rows.append(row)
        self._filled += length + 1
        self._pools.clear()
        return self.indices(row)

    @property
    def free(self) -> int:
        """Slots of the protected region that hold no episode yet."""
        return self.protected - self._filled

    def has_room(self, length: int) -> bool:
        """Whether the protected region can take an episode of ``length`` steps."""
        return length + 1 <= self.free

    def append(
        self, length: int, *, terminated: bool, truncated: bool, success: bool, is_demo: bool, seed: int
    ) -> Tensor:
        """Make room in the ring for an episode, evicting the oldest; returns its slots [T + 1]."""
        self.make_room(length)
        need = length + 1
        row = Row(self.added, self.protected + self._head, length, terminated, truncated, success, is_demo, seed)
        self._ring.append(row)
        self._used += need
        self._head = (self._head + need) % self.capacity
        self.added += 1
        self._pools.clear()
        return self.indices(row)

    def make_room(self, length: int) -> list[Row]:
        """Evict the oldest ring episodes until one of ``length`` steps fits; those evicted."""
        need = length + 1
        if need > self.capacity:
            raise ConfigError(
                f"an episode of {length} steps needs {need} replay slots, but replay.capacity is {self.capacity}. "
                "Raise replay.capacity or lower env.time_limit."
            )
        evicted = []
        while self._used + need > self.capacity:
            evicted.append(self._ring.popleft())
            self._used -= evicted[-1].length + 1
        self._pools.clear()
        return evicted

    def indices(self, row: Row) -> Tensor:
        """Slots [T + 1] of an episode, in time order."""
        return self.wrap(row.start + torch.arange(row.length + 1))

    def wrap(self, slot: Tensor) -> Tensor:
        """Fold slots that ran past the ring's end back to its beginning."""
        return torch.where(slot >= self.slots, slot - self.capacity, slot)

    def locate(self, slot: Tensor) -> tuple[Tensor, Tensor]:
        """Episode and step of ``slot`` [B], which must belong to episodes alive.

        Returns:
            Index into the pool of all episodes [B], and step [B].
        """
        # Counted from the oldest episode on, frames lie in the order of the pool, without gaps.
        oldest = self._ring[0].start if self._ring else self.protected
        place = torch.where(slot < self.protected, slot, self._filled + (slot - oldest) % self.capacity)
        frames = self.pool("all").length + 1
        ends = frames.cumsum(0)
        episode = torch.searchsorted(ends, place, right=True)
        return episode, place - (ends - frames)[episode]

    def pool(self, which: Which) -> Pool:
        """Columns of all episodes, of the demonstrations, or of those that succeeded."""
        if which not in self._pools:
            belongs = _BELONGS[which]
            rows = [row for row in self if belongs(row)]
            self._pools[which] = Pool(
                torch.tensor([row.start for row in rows], dtype=torch.int64),
                torch.tensor([row.length for row in rows], dtype=torch.int64),
                torch.tensor([row.terminated for row in rows], dtype=torch.bool),
                torch.tensor([row.is_demo for row in rows], dtype=torch.bool),
            )
        return self._pools[which]

    def restart_at(self, added: int, offset: int) -> None:
        """Continue an earlier run whose evicted episodes are not loaded again.

        Args:
            added: serial number of the next episode.
            offset: of its first frame from the beginning of the ring, where this is still empty; it follows the others
                where it is not.
        """
        self.added = added
        if not self._ring:
            self._head = offset % self.capacity
