"""Initialisation that the coarse-to-fine papers use."""

from __future__ import annotations

from torch import nn


def orthogonal_(module: nn.Module) -> None:
    """Orthogonal weights (gain 1) and zero biases for a Linear; other modules keep PyTorch's defaults."""
    if isinstance(module, nn.Linear):
        nn.init.orthogonal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def zero_(linear: nn.Linear) -> None:
    """Zero weight and bias, so that a value head starts with equal outputs for every bin."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
