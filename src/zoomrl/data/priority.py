"""Priorities of stored steps, and sampling in proportion to them.

Paper: Fujimoto, Meger, Precup, "An Equivalence between Loss Functions and Non-Uniform Sampling in Experience Replay"
(2020), as used by TD7 (2023). There is no tree that could fall out of step with the priorities: sums are computed
anew for each batch, in two levels. For a million slots that takes 0.2 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoomrl.errors import NonFiniteLossError

BLOCK = 256
"""Slots that are summed together."""


class Priorities:
    """One priority for each slot: positive where a window may start, 0 elsewhere.

    New steps get the largest priority there is at that moment. It is looked up whenever an episode comes in, so that
    it is never out of date, and nothing of it needs to be saved.

    Args:
        slots: of the replay.
    """

    def __init__(self, slots: int) -> None:
        self._values = torch.zeros(-(-slots // BLOCK) * BLOCK)

    def largest(self) -> Tensor:
        """The largest priority, 0-d; 1 where nothing is stored."""
        largest = self._values.amax()
        return torch.where(largest > 0, largest, torch.ones_like(largest))

    def enter(self, slots: Tensor) -> None:
        """Make windows start at the new ``slots``."""
        self._values[slots] = self.largest()

    def remove(self, slots: Tensor) -> None:
        """Let no window start at ``slots`` any more."""
        self._values[slots] = 0

    def set(self, slot: Tensor, priority: Tensor) -> None:
        """Give new priorities to sampled steps; of a step that was sampled several times, the largest counts.

        Args:
            slot: [B] int64. Slots at which no window starts stay as they are.
            priority: [B], positive.

        Raises:
            NonFiniteLossError: a priority is NaN or infinite.
            ValueError: a priority is not positive: its step would never be sampled again.
        """
        slot, priority = slot.cpu(), priority.detach().to("cpu", torch.float32)
        if not torch.isfinite(priority).all():
            raise NonFiniteLossError("the priorities of the samples became NaN or infinite. Lower agent.lr.")
        if not (priority > 0).all():
            raise ValueError(f"priorities must be positive, got {float(priority.min())}")
        priority = torch.where(self._values[slot] > 0, priority, torch.zeros_like(priority))
        self._values.scatter_reduce_(0, slot, priority, "amax", include_self=False)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` slots, each with a probability in proportion to its priority, with replacement: [count] int64.

        Raises:
            RuntimeError: no slot has a priority.
        """
        blocks = self._values.view(-1, BLOCK)
        mass = blocks.sum(1).to(torch.float64)
        upto = mass.cumsum(0)
        if upto[-1] == 0:
            raise RuntimeError("the replay holds no complete window to sample; add an episode first")
        fraction = torch.rand(count, generator=generator, dtype=torch.float64)
        wanted = _below(fraction * upto[-1], upto[-1])
        block = torch.searchsorted(upto, wanted, right=True)
        # How far into its block the sampled mass reaches, as a fraction of the block's mass, selects the slot.
        fraction = (wanted - (upto[block] - mass[block])) / mass[block]
        within = blocks[block].to(torch.float64).cumsum(1)
        wanted = _below(fraction * within[:, -1], within[:, -1])
        return block * BLOCK + torch.searchsorted(within, wanted[:, None], right=True)[:, 0]

    def state(self) -> Tensor:
        """The priorities up to the last that is not 0: a resumed run may have a replay of another capacity."""
        used = self._values.nonzero()
        return self._values[: int(used[-1]) + 1 if len(used) else 0].clone()

    def load(self, state: Tensor) -> None:
        """Restore :meth:`state`."""
        self._values.zero_()
        self._values[: len(state)] = state


def _below(wanted: Tensor, total: Tensor) -> Tensor:
    """``wanted`` in 0 .. ``total``, the end left out.

    The first cumulative sum above such a number has grown at its place: a slot of priority 0 is never found, however
    the product was rounded.
    """
    return torch.minimum(wanted.clamp(min=0), torch.nextafter(total, torch.zeros_like(total)))
