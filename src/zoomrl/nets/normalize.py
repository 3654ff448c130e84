"""Fixed standardisation of observations; it travels with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoomrl.nets.constant import is_constant

FLOOR = 1e-2
"""Smallest standard deviation divided by: an entry that hardly moved in the data must not be magnified without end."""
CLIP = 10.0
"""Largest magnitude after scaling."""


class Normalizer(nn.Module):
    """``clip((x - mean) / scale, -CLIP, CLIP)`` on [..., S], or the identity without statistics.

    The scale is the standard deviation, or FLOOR where that is larger. An entry that stood still in the data (see
    :func:`zoomrl.nets.constant.is_constant`) has told nothing of how far it may move: its scale is its own magnitude,
    at least 1, so that a small shift of it later stays small.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, statistics: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        mean, std = statistics if statistics is not None else (torch.zeros(size), torch.ones(size))
        if mean.shape != (size,) or std.shape != (size,):
            raise ValueError(f"statistics must be [{size}], got {list(mean.shape)} and {list(std.shape)}")
        self.active = statistics is not None
        mean, std = mean.to(torch.float32).clone(), std.to(torch.float32)
        scale = torch.where(is_constant(mean, std), mean.abs().clamp(min=1), std.clamp(min=FLOOR))
        self.register_buffer("mean", mean)
        self.register_buffer("std", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x``."""
        if not self.active:
            return x
        return ((x - self.mean) / self.std).clamp(-CLIP, CLIP)
