"""Optimizers, and the moves of target networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def optimizer_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of ``optimizer`` down the gradient of ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Leave the weights of ``modules`` out of gradients that would be thrown away."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)


def make_optimizer(kind: str, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Fused ``adam`` or ``adamw``; on a GPU ready for capture in a graph."""
    capturable = bool(parameters) and parameters[0].is_cuda
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=lr, fused=True, capturable=capturable)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True, capturable=capturable)


def polyak_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Exponential moving average of parameters: ``target += tau * (online - target)``."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)
