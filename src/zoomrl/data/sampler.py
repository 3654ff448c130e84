"""Samples windows of stored episodes: which episode, which start, and the slots that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchrl.data.replay_buffers.samplers import Sampler

from zoomrl.data.config import ReplayConfig
from zoomrl.data.priority import Priorities
from zoomrl.data.storage import Sequence, Windows
from zoomrl.data.table import EpisodeTable, Pool, Row, Which
from zoomrl.errors import ConfigError
from zoomrl.spec import EnvSpec


class WindowSampler(Sampler):
    """Samples a fixed fraction from demonstrations, and the rest from everything (CQN paper, section 3.3).

    A fraction may come from episodes that succeeded: a reward that is rare among a million steps is then met.

    Args:
        config: batch composition.
        table: the episodes.
        chunk_length: T.
        seed: of the sampling.
        sequence_length: steps H of the sequences that windows hold in addition; 0 for none.
        hold: what ``padding="hold"`` pads with: the result of :func:`held`.
    """

    def __init__(
        self,
        config: ReplayConfig,
        table: EpisodeTable,
        chunk_length: int,
        seed: int,
        sequence_length: int = 0,
        hold: Tensor | None = None,
    ) -> None:
        self.config = config
        self.table = table
        self.generator = torch.Generator().manual_seed(seed)
        self._fractions: dict[Which, float] = {"demos": config.demo_fraction, "successes": config.success_fraction}
        self._steps = torch.arange(max(chunk_length, config.n_step))
        self._chunk_length = chunk_length
        self._span = torch.arange(sequence_length)
        self.shortest = 1 if config.tail == "shorten" else max(config.n_step, sequence_length)
        """Length of the shortest episode that a window can be sampled from."""
        self._back = torch.arange(config.frame_stack - 1, -1, -1)
        self._priorities = Priorities(table.slots) if config.sampling == "priority" else None
        if config.padding == "hold" and hold is None:
            raise ValueError('padding="hold" needs to know what holds still; pass hold=held(spec, to_unit)')
        self._padding = {"zeros": torch.zeros(1), "hold": hold}.get(config.padding)

    def sample(self, storage: Any, batch_size: int) -> tuple[Windows, dict[str, Any]]:
        """Sample ``batch_size`` windows."""
        parts, count = [], batch_size
        for which, fraction in self._fractions.items():
            pool, number = self.table.pool(which), min(round(fraction * batch_size), count)
            if number and self._starts(pool).any():
                parts.append(self._sample_from(pool, number))
                count -= number
        if count:
            by_priority = self._priorities is not None
            parts.append(self._sample_by_priority(count) if by_priority else self._sample_from(self._all, count))
        columns = parts[0] if len(parts) == 1 else [torch.cat(pair) for pair in zip(*parts, strict=True)]
        return self._windows(*columns), {}

    @property
    def _all(self) -> Pool:
        return self.table.pool("all")

    def _starts(self, pool: Pool) -> Tensor:
        """Number of start indices of each episode [E]."""
        return (pool.length - self.shortest + 1).clamp(min=0)

    def _sample_from(self, pool: Pool, count: int) -> list[Tensor]:
        """Columns start, length, terminated, is_demo and first step [count]."""
        starts = self._starts(pool)
        ends = starts.cumsum(0)
        if not len(starts) or ends[-1] == 0:
            raise RuntimeError("the replay holds no complete window to sample; add an episode first")
        if self.config.sampling == "episode":
            usable = starts.nonzero()[:, 0]
            episode = usable[torch.randint(len(usable), (count,), generator=self.generator)]
            fraction = torch.rand(count, generator=self.generator, dtype=torch.float64)
            first = (fraction * starts[episode]).long()
        else:
            flat = torch.randint(int(ends[-1]), (count,), generator=self.generator)
            episode = torch.searchsorted(ends, flat, right=True)
            first = flat - (ends[episode] - starts[episode])
        return _columns(pool, episode, first)

    def _sample_by_priority(self, count: int) -> list[Tensor]:
        """The columns of :meth:`_sample_from`, from everything."""
        episode, first = self.table.locate(self._given_priorities().sample(count, self.generator))
        return _columns(self._all, episode, first)

    def enter(self, slots: Tensor) -> None:
        """Give the slots [T + 1] of a new episode the largest priority, where windows may start."""
        if self._priorities is not None:
            self._priorities.enter(slots[: max(0, len(slots) - self.shortest)])

    def remove(self, rows: list[Row]) -> None:
        """Take the priorities from episodes that were evicted."""
        if self._priorities is not None and rows:
            self._priorities.remove(torch.cat([self.table.indices(row) for row in rows]))

    def set_priority(self, slot: Tensor, priority: Tensor) -> None:
        """Give the steps that a batch was sampled from new priorities (see :class:`Priorities`)."""
        self._given_priorities().set(slot, priority)

    def _given_priorities(self) -> Priorities:
        if self._priorities is None:
            raise ValueError(
                f'samples have priorities with sampling="priority" only, not with {self.config.sampling!r}'
            )
        return self._priorities

    def _windows(self, start: Tensor, length: Tensor, terminated: Tensor, is_demo: Tensor, first: Tensor) -> Windows:
        config = self.config
        left = length - first
        count = left.clamp(max=config.n_step)
        step = first[:, None] + self._steps
        inside = torch.minimum(step, length[:, None] - 1)
        # One fold for all columns: slots past the ring's end continue at its beginning.
        columns = torch.cat([(first[:, None] - self._back), ((first + count)[:, None] - self._back)], 1).clamp_(min=0)
        slots = self.table.wrap(torch.cat([columns, inside], 1).add_(start[:, None]))
        stack = config.frame_stack
        real = self._steps[: self._chunk_length] < left[:, None]
        return Windows(
            obs=slots[:, :stack],
            next_obs=slots[:, stack : 2 * stack],
            actions=slots[:, 2 * stack : 2 * stack + self._chunk_length],
            valid=real if config.padding in ("mask", "absorbing") else torch.ones_like(real),
            absorbed=terminated[:, None] & ~real if config.padding == "absorbing" else None,
            real=real,
            rewards=slots[:, 2 * stack : 2 * stack + config.n_step],
            length=count,
            terminal=terminated & (count == left),
            is_demo=is_demo,
            gamma=config.discount,
            padding=self._padding,
            sequence=self._sequence(start, length, terminated, first) if len(self._span) else None,
            slot=None if self._priorities is None else self.table.wrap(start + first),
        )

    def _sequence(self, start: Tensor, length: Tensor, terminated: Tensor, first: Tensor) -> Sequence:
        step = first[:, None] + self._span
        following = (torch.minimum(step + 1, length[:, None])[..., None] - self._back).clamp_(min=0)
        inside = torch.minimum(step, length[:, None] - 1)
        return Sequence(
            obs=self.table.wrap(following + start[:, None, None]),
            actions=self.table.wrap(inside + start[:, None]),
            valid=step < length[:, None],
            terminal=terminated[:, None] & (step + 1 == length[:, None]),
        )

    def state_dict(self) -> dict[str, Any]:
        """State of the random generator, and the priorities."""
        state = {"generator": self.generator.get_state()}
        return state if self._priorities is None else {**state, "priorities": self._priorities.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.generator.set_state(state_dict["generator"])
        if self._priorities is not None:
            self._priorities.load(state_dict["priorities"])

    def _empty(self) -> None:
        raise NotImplementedError("a replay keeps its demonstrations; make a new one instead of emptying it")

    def dumps(self, path: Any) -> None:
        """Save :meth:`state_dict` to the file ``path``."""
        torch.save(self.state_dict(), path)

    def loads(self, path: Any) -> None:
        """Load what :meth:`dumps` saved."""
        self.load_state_dict(torch.load(path, weights_only=True))


def _columns(pool: Pool, episode: Tensor, first: Tensor) -> list[Tensor]:
    """Start, length, terminated, is_demo and first step [count] of sampled windows."""
    return [pool.start[episode], pool.length[episode], pool.terminated[episode], pool.is_demo[episode], first]


def held(spec: EnvSpec, to_unit: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Tensor:
    """What commands a robot to stay put after its last action, [A] in [-1, 1]; NaN where that is the last value.

    A dimension that changes a position gets no change, 0 in the environment's units, which need not be 0 in [-1, 1].

    Raises:
        ConfigError: when the environment does not say what its actions mean.
    """
    if not spec.action_meaning:
        raise ConfigError(
            f'replay.padding="hold" needs to know which actions are changes of position, and {spec.id} does not say. '
            'Use replay.padding="mask" or "last_action"'
        )
    still = np.array([meaning == "delta" for meaning in spec.action_meaning])
    return torch.from_numpy(np.where(still, to_unit(np.zeros(spec.action_dim, np.float32)), np.float32(np.nan)))
