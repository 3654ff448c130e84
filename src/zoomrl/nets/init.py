"""Initialisation that the coarse-to-fine papers use."""

from __future__ import annotations

import math

import torch
from torch import nn


def orthogonal_(module: nn.Module) -> None:
    """Orthogonal weights, zero biases: Linear with gain 1, Conv2d with gain sqrt 2. Others keep PyTorch's defaults."""
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return
    # The published gain is that of ReLU, under SiLU too.
    gain = math.sqrt(2) if isinstance(module, nn.Conv2d) else 1.0
    # Sampled in contiguous memory: torch cannot flatten weights that are stored channels-last.
    weight = torch.empty_like(module.weight, memory_format=torch.contiguous_format)
    nn.init.orthogonal_(weight, gain)
    with torch.no_grad():
        module.weight.copy_(weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def zero_(linear: nn.Linear) -> None:
    """Zero weight and bias, so that a value head starts with equal outputs for every bin."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


def to_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions with channels innermost, as images are."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
