"""Which steps of a batch's chunks count, and for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def valued(batch: Mapping[str, Any]) -> Tensor:
    """Weight of each step [B, T] in temporal differences: 1 where it is data, or lies beyond a terminal state.

    A reward at an episode's end is within reach of windows of n steps that begin at most n steps before it, where the
    later steps of a chunk lie beyond it. Without those, the values of the steps from n on never learn from that reward:
    they learn from one another alone.

    Args:
        batch: with ``valid`` [B, T], and ``absorbed`` [B, T] with ``padding="absorbing"``.
    """
    valid = batch["valid"]
    return (valid | batch["absorbed"] if "absorbed" in batch else valid).to(torch.float32)


def demonstrated(batch: Mapping[str, Any]) -> Tensor:
    """Weight of each step [B, T] in imitation: 1 where it is demonstrated and no padding, else 0."""
    return (batch["valid"] & batch["is_demo"][:, None]).to(torch.float32)
