"""Perception written from the published formulas: float images [C, H, W], view by view, pad and slice."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from zoomrl.nets.config import EncoderConfig
from zoomrl.nets.perception import Perception

# Stride and padding of the four convolutions.
STEPS = {"strided": [(2, 1)] * 4, "drqv2": [(2, 0), (1, 0), (1, 0), (1, 0)]}


class SlowPerception(nn.Module):
    """Has the parameters of a :class:`Perception`, under its names, and none of its arithmetic."""

    def __init__(self, like: Perception, config: EncoderConfig) -> None:
        super().__init__()
        self.config, self.shape = config, like.shape
        self.encoder = copy.deepcopy(like.encoder)
        normalizer = like.normalizer
        self.statistics = (normalizer.mean, normalizer.std) if normalizer is not None and normalizer.active else None

    def sample_noise(self, batch, generator):
        if not (self.shape.views and self.config.shift):
            return None
        return torch.randint(2 * self.config.shift + 1, (2, batch, self.shape.views), generator=generator)

    def forward(self, observation, shifts=None):
        features = {}
        if self.shape.state:
            state = observation["state"]
            if self.statistics is not None:
                mean, std = self.statistics
                state = torch.clamp((state - mean) / torch.clamp(std, min=1e-2), -10, 10)
            features["state"] = state
        if self.encoder is not None:
            rows = []
            for b, frames in enumerate(observation["rgb"]):
                offsets = None if shifts is None else shifts[:, b]
                rows.append(torch.cat([self.view(frames, v, offsets) for v in range(self.shape.views)]))
            features["image"] = torch.stack(rows)
        return features

    def view(self, frames, view, offsets):
        """Features of one view of one sample [F, V, H, W, 3]."""
        net = self.encoder.nets[0 if self.config.share_views else view]
        images = frames[:, view].permute(0, 3, 1, 2)  # oldest first on the channel axis
        x = torch.cat(list(images), 0).to(net.convs[0].weight.dtype)[None]
        if offsets is not None:
            pad, size = self.config.shift, self.shape.size
            row, column = offsets[:, view].tolist()
            x = F.pad(x, (pad,) * 4, mode="replicate")[:, :, row : row + size, column : column + size]
        x = x / 255 - 0.5
        for layer, (stride, padding) in enumerate(STEPS[self.config.kind]):
            conv, norm = net.convs[layer], net.norms[layer]
            x = F.conv2d(x, conv.weight.contiguous(), conv.bias, stride, padding)
            if self.config.norm == "layer":
                over = 1 if self.config.kind == "strided" else (1, 2, 3)
                mean, variance = x.mean(over, keepdim=True), x.var(over, correction=0, keepdim=True)
                x = (x - mean) / torch.sqrt(variance + 1e-5)
                x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
            x = x * torch.sigmoid(x) if self.config.activation == "silu" else torch.clamp(x, min=0)
        # Ordered (row, column, channel), as the weights that read them.
        return x[0].permute(1, 2, 0).flatten()
