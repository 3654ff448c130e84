"""Bounds of what target values have been so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGE = torch.finfo(torch.float32).max


class TargetBounds(nn.Module):
    """Smallest and largest target so far, used to clamp later ones once published (TD7).

    Attributes:
        low, high: the published bounds, 0-d; both 0 at first.
        seen_low, seen_high: of all targets so far, 0-d. They only widen.
    """

    low: Tensor
    high: Tensor
    seen_low: Tensor
    seen_high: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Finite from the beginning: a state with infinity would count as diverged.
        for name, value in (("low", 0.0), ("high", 0.0), ("seen_low", LARGE), ("seen_high", -LARGE)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, values: Tensor) -> Tensor:
        """``values`` clamped to the published bounds."""
        return torch.maximum(torch.minimum(values, self.high), self.low)

    @torch.no_grad()
    def see(self, targets: Tensor) -> None:
        """Take note of new targets."""
        self.seen_low.copy_(torch.minimum(self.seen_low, targets.amin()))
        self.seen_high.copy_(torch.maximum(self.seen_high, targets.amax()))

    def publish(self) -> None:
        """Clamp to what has been seen from now on."""
        self.low.copy_(self.seen_low)
        self.high.copy_(self.seen_high)
