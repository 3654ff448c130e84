"""Plain networks: hidden layers with or without normalisation, one at a time or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from zoomrl.nets.activations import ACTIVATIONS
from zoomrl.nets.init import orthogonal_


def mlp(
    size: int, hidden: Sequence[int], outputs: int, *, norm: bool, activation: str, init: str = "default"
) -> nn.Sequential:
    """Hidden layers of Linear, LayerNorm (with ``norm``) and activation, then a plain Linear.

    With ``init="orthogonal"`` weights start orthogonal and biases zero; otherwise initialization is PyTorch's.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((size, *hidden)):
        layers.append(nn.Linear(before, after))
        if norm:
            layers.append(nn.LayerNorm(after))
        layers.append(ACTIVATIONS[activation]())
    network = nn.Sequential(*layers, nn.Linear((size, *hidden)[-1], outputs))
    return network.apply(orthogonal_) if init == "orthogonal" else network


class Ensemble(nn.Module):
    """M networks of the same shape that read the same rows: [B, size] to [M, B, outputs]."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.capturable = False
        """Choose members without reading their numbers back, at the price of copying weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all networks."""
        return torch.stack([network(x) for network in self.networks])

    def subset(self, x: Tensor, members: Tensor) -> Tensor:
        """Outputs of the networks that ``members`` [m] numbers: [m, B, outputs]. No gradient of their weights."""
        if not self.capturable:
            return torch.stack([self.networks[index](x) for index in members.tolist()])
        named = [dict(network.named_parameters()) for network in self.networks]
        weights = {name: torch.stack([p[name].detach() for p in named])[members].unbind(0) for name in named[0]}
        picked = [{name: weights[name][index] for name in weights} for index in range(len(members))]
        return torch.stack([functional_call(self.networks[0], chosen, (x,)) for chosen in picked])
