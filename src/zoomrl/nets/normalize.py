"""Fixed standardisation of observations; it travels with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-2
"""Smallest standard deviation divided by: an entry that hardly moved in the data must not be magnified without end."""
CLIP = 10.0
"""Largest magnitude after scaling."""


class Normalizer(nn.Module):
    """``clip((x - mean) / max(std, FLOOR), -CLIP, CLIP)`` on [..., S], or the identity without statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, statistics: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        mean, std = statistics if statistics is not None else (torch.zeros(size), torch.ones(size))
        if mean.shape != (size,) or std.shape != (size,):
            raise ValueError(f"statistics must be [{size}], got {list(mean.shape)} and {list(std.shape)}")
        self.active = statistics is not None
        self.register_buffer("mean", mean.to(torch.float32).clone())
        self.register_buffer("std", std.to(torch.float32).clamp(min=FLOOR))

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x``."""
        if not self.active:
            return x
        return ((x - self.mean) / self.std).clamp(-CLIP, CLIP)
