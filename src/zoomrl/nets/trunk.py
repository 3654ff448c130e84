"""Trunks: what a stream makes of the features before anything else joins them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoomrl.nets.config import EncoderConfig


class Trunk(nn.Module):
    """Image and state each through a trunk of their own, concatenated: [B, F].

    Args:
        sizes: lengths of the features by name, ``image`` and ``state`` (of :class:`zoomrl.nets.perception.Perception`).
        image_dim: width of the image trunk (Linear, LayerNorm, tanh).
        state_dim: width of the state trunk; 0 passes the state on as it is.
        image_layers: layers (Linear, LayerNorm, SiLU) before the image trunk.
        hidden_dim: their width.
        bias: biases in the Linear layers.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        image_dim: int,
        state_dim: int,
        image_layers: int = 0,
        hidden_dim: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        self.out_dim = 0
        if "image" in sizes:
            layers: list[nn.Module] = []
            width = sizes["image"]
            for _ in range(image_layers):
                layers += [nn.Linear(width, hidden_dim, bias=bias), nn.LayerNorm(hidden_dim), nn.SiLU()]
                width = hidden_dim
            self.parts["image"] = nn.Sequential(*layers, *squashed(width, image_dim, bias))
            self.out_dim += image_dim
        if "state" in sizes:
            size = sizes["state"]
            self.parts["state"] = nn.Sequential(*squashed(size, state_dim, bias)) if state_dim else nn.Identity()
            self.out_dim += state_dim or size

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by name [B, ...] to [B, F]."""
        outputs = [part(features[name]) for name, part in self.parts.items()]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)


def image_trunk(sizes: Mapping[str, int], image: EncoderConfig) -> Trunk:
    """A trunk that is as wide as ``image.feature_dim`` throughout and passes the state on as it is."""
    return Trunk(
        sizes,
        image_dim=image.feature_dim,
        state_dim=0,
        image_layers=image.layers,
        hidden_dim=image.feature_dim,
        bias=True,
    )


def squashed(size: int, width: int, bias: bool) -> list[nn.Module]:
    """Linear, LayerNorm, tanh."""
    return [nn.Linear(size, width, bias=bias), nn.LayerNorm(width), nn.Tanh()]
